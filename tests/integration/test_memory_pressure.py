"""Too little memory: the newest retriable task is ended first, and whoever asked for it is told why."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from tests.integration.programs import wait_until

LIMIT_BYTES = 600 << 20


@pytest.fixture(autouse=True)
def engine() -> Iterator[None]:
    skate.init(num_cpus=2, _memory_limit_bytes=LIMIT_BYTES)
    yield
    skate.shutdown()


def eat(megabytes: int) -> Any:
    return np.ones(megabytes << 17)


@skate.remote
def hoard(log: Path, megabytes: int) -> int:
    with log.open("a") as file:
        file.write(f"{os.getpid()}\n")
    eaten = eat(megabytes)
    wait_until(log.with_suffix(".go").exists, 60)
    return len(eaten)


def test_a_task_that_eats_everything_is_ended_with_an_error_that_says_so(tmp_path: Path) -> None:
    ref = hoard.options(max_retries=0).remote(tmp_path / "log", 700)
    with pytest.raises(skate.exceptions.OutOfMemoryError, match=r"(?s)hoard.*memory"):
        skate.get(ref, timeout=20)
    (tmp_path / "log.go").touch()
    assert skate.get(skate.remote(lambda: 1).remote(), timeout=20) == 1


def test_the_newest_retriable_task_goes_first_and_runs_again(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    first = hoard.remote(old, 400)
    wait_until(old.exists, 20)
    second = hoard.remote(new, 300)
    wait_until(lambda: new.exists() and len(new.read_text().split()) >= 2, 30, "the newer one was ended and tried again")
    assert len(old.read_text().split()) == 1, "the older one goes on"
    old.with_suffix(".go").touch()
    new.with_suffix(".go").touch()
    assert skate.get([first, second], timeout=30) == [400 << 17, 300 << 17]


@skate.remote
class Hoarder:
    def __init__(self, log: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")

    def eat(self, megabytes: int) -> int:
        self.eaten = eat(megabytes)
        time.sleep(60)
        return len(self.eaten)

    def ping(self) -> str:
        return "pong"


def test_an_actor_that_eats_everything_is_ended_and_restarted(tmp_path: Path) -> None:
    actor = Hoarder.options(max_restarts=1).remote(tmp_path / "log")
    with pytest.raises(skate.exceptions.ActorUnavailableError, match=r"(?s)Hoarder.*memory"):
        skate.get(actor.eat.remote(700), timeout=30)
    assert skate.get(actor.ping.remote(), timeout=20) == "pong"
    assert len(set((tmp_path / "log").read_text().split())) == 2
    with pytest.raises(skate.exceptions.OutOfMemoryError, match=r"(?s)Hoarder.*memory"):
        skate.get(actor.eat.remote(700), timeout=30)
    with pytest.raises(skate.exceptions.OutOfMemoryError, match="1 restarts were used up"):
        skate.get(actor.ping.remote(), timeout=20)
