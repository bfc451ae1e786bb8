"""At the end of a program, and in its forked children."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from skate.engine.driver import exit as end


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    before = end._on_exit, end._on_fork
    yield
    end._on_exit, end._on_fork = before


def test_the_end_is_told_until_it_is_forgotten() -> None:
    told: list[str] = []
    end.watch(lambda: told.append("exit"), lambda: told.append("fork"))
    end._run_on_exit()
    assert told == ["exit"]
    end.forget()
    end._run_on_exit()
    end._run_on_fork()
    assert told == ["exit"]


def test_a_forked_child_is_told_once_and_the_parent_never() -> None:
    told: list[str] = []
    end.watch(lambda: told.append("exit"), lambda: told.append("fork"))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        end._run_on_exit()  # The parent's session is not the child's to end.
        os.write(write, ",".join(told).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"fork"
    assert told == []
    os.close(read)
    os.close(write)
