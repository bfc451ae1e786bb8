"""wait."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import skate
from tests.conformance.marks import processes_only, wait_until

pytestmark = pytest.mark.usefixtures("backend")


@skate.remote
def hold(until: Path) -> str:
    wait_until(until.exists)
    return "held"


@skate.remote
def quick(x: int) -> int:
    return x


def test_everything_that_is_there_is_ready_in_order() -> None:
    refs = [skate.put(i) for i in range(5)]
    assert skate.wait(refs, num_returns=5) == (refs, [])
    assert skate.wait(refs, num_returns=2) == (refs[:2], refs[2:])
    assert skate.wait([]) == ([], [])


def test_a_failed_task_is_ready() -> None:
    @skate.remote(max_retries=0)
    def fail() -> None:
        raise ValueError

    ref = fail.remote()
    assert skate.wait([ref], timeout=60) == ([ref], [])


def test_waiting_for_many() -> None:
    refs = [quick.remote(i) for i in range(300)]
    ready, rest = skate.wait(refs, num_returns=300, timeout=30)
    assert (ready, rest) == (refs, [])


@processes_only
def test_what_is_not_ready_stays(tmp_path: Path) -> None:
    slow, fast = hold.remote(tmp_path / "go"), quick.remote(1)
    assert skate.wait([slow, fast], timeout=60) == ([fast], [slow])
    assert skate.wait([slow], timeout=0) == ([], [slow])
    started_s = time.monotonic()
    assert skate.wait([slow, fast], num_returns=2, timeout=0.1) == ([fast], [slow])
    assert time.monotonic() - started_s >= 0.1
    (tmp_path / "go").touch()
    assert skate.wait([slow, fast], num_returns=2, timeout=60) == ([slow, fast], [])


@processes_only
def test_wait_inside_a_task() -> None:
    @skate.remote
    def first_of(refs: list[Any]) -> int:
        ready, _rest = skate.wait(refs)
        return skate.get(ready[0])  # type: ignore[no-any-return]

    assert skate.get(first_of.remote([quick.remote(7)]), timeout=60) == 7


@processes_only
def test_generators_and_refs_together(tmp_path: Path) -> None:
    @skate.remote
    def steps(until: Path) -> Any:
        yield 1
        wait_until(until.exists)
        yield 2

    items, slow = steps.remote(tmp_path / "go"), hold.remote(tmp_path / "go")
    assert skate.wait([slow, items], timeout=60) == ([items], [slow])
    assert skate.get(next(items)) == 1
    assert skate.wait([slow, items], timeout=0.05) == ([], [slow, items])
    (tmp_path / "go").touch()
    assert skate.wait([slow, items], num_returns=2, timeout=60) == ([slow, items], [])


def test_values_of_a_loop_over_wait() -> None:
    waiting: list[Any] = [quick.remote(i) for i in range(20)]
    seen = []
    while waiting:
        ready, waiting = skate.wait(waiting, timeout=60)
        seen += skate.get(ready)
    assert sorted(seen) == list(range(20))
