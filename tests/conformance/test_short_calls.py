"""Many short calls of one function: however a backend sends them, each is a call of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.exceptions import GetTimeoutError, TaskCancelledError
from tests.conformance.marks import processes_only

pytestmark = pytest.mark.usefixtures("backend")


@skate.remote
def add(x: int, y: int) -> int:
    return x + y


@skate.remote
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def known_as_short() -> None:
    """Whoever measures how long `nap` takes finds that it takes nothing."""
    for calls in (10, 500):
        assert set(skate.get([nap.remote(0.0) for _ in range(calls)], timeout=120)) == {0.0}


def test_each_call_has_its_own_value_and_error() -> None:
    @skate.remote
    def inverse(x: int) -> float:
        return 1 / x

    refs = [inverse.remote(x) for x in range(-300, 300)]
    with pytest.raises(ZeroDivisionError):
        skate.get(refs[300])
    good = [ref for x, ref in zip(range(-300, 300), refs, strict=True) if x]
    assert skate.get(good) == [1 / x for x in range(-300, 300) if x]
    ready, rest = skate.wait(good, num_returns=7)
    assert (len(ready), len(rest)) == (7, 592)


def test_a_value_is_as_it_was_when_its_call_returned() -> None:
    @skate.remote
    def grow(x: int) -> list[int]:
        _seen.append(x)
        return _seen

    refs = [grow.remote(x) for x in range(300)]
    values = skate.get(refs)
    assert [value[-1] for value in values] == list(range(300))
    values[7].append("changed")
    assert skate.get(refs[7])[-1] == 7


_seen: list[Any] = []


def test_a_value_that_cannot_be_pickled_fails_alone() -> None:
    @skate.remote
    def lock_at_50(x: int) -> Any:
        return threading.Lock() if x == 50 else x

    skate.get([lock_at_50.remote(x) for x in range(10)])
    refs = [lock_at_50.remote(x) for x in range(100)]
    assert skate.get(refs[:50] + refs[51:]) == [x for x in range(100) if x != 50]
    with pytest.raises(Exception, match=r"pickle|lock"):
        skate.get(refs[50])


def test_results_go_on_to_other_calls_and_to_await() -> None:
    skate.get([add.remote(0, 0) for _ in range(10)])
    first = [add.remote(x, 1) for x in range(50)]
    assert skate.get(add.remote(first[10], first[20])) == 32

    async def gather() -> list[int]:
        return list(await asyncio.gather(*[add.remote(x, 2) for x in range(200)]))

    assert asyncio.run(gather()) == list(range(2, 202))


@processes_only
def test_nobody_waits_behind_a_long_call() -> None:
    known_as_short()
    refs = [nap.remote(8.0 if i == 100 else 0.0) for i in range(300)]
    started = time.monotonic()
    skate.get([ref for i, ref in enumerate(refs) if i != 100], timeout=60)
    skate.wait([refs[0], refs[100]], num_returns=1)
    assert time.monotonic() - started < 6
    assert skate.get(refs[100]) == 8.0


@processes_only
def test_calls_may_wait_for_each_other(tmp_path: Path) -> None:
    @skate.remote
    def meet(i: int, directory: str) -> int:
        deadline_s = time.monotonic() + 60
        while i == 20 and not Path(directory, "21").exists():
            assert time.monotonic() < deadline_s, "the next call does not run meanwhile"
            time.sleep(0.001)
        if i == 21:
            Path(directory, "21").touch()
        return i

    assert skate.get([meet.remote(i, str(tmp_path)) for i in range(10)]) == list(range(10))
    assert skate.get([meet.remote(i, str(tmp_path)) for i in range(10, 200)], timeout=90) == list(range(10, 200))


@processes_only
def test_cancelling_one_call_leaves_its_neighbours() -> None:
    known_as_short()
    refs = [nap.remote(2.0 if i == 50 else 0.0) for i in range(200)]
    skate.cancel(refs[50])
    skate.cancel(refs[60])
    others = [ref for i, ref in enumerate(refs) if i not in (50, 60)]
    assert skate.get(others, timeout=60) == [0.0] * 198
    with pytest.raises(TaskCancelledError):
        skate.get(refs[50], timeout=60)


@processes_only
def test_a_timeout_is_kept_while_the_first_calls_run() -> None:
    @skate.remote
    def slow(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    refs = [slow.remote(1.0) for _ in range(8)]  # Twice as many as there are CPUs.
    started = time.monotonic()
    with pytest.raises(GetTimeoutError):
        skate.get(refs[-1], timeout=0.1)
    assert skate.wait(refs[-2:], timeout=0.1) == ([], refs[-2:])
    assert time.monotonic() - started < 0.9
    assert skate.get(refs, timeout=60) == [1.0] * 8


def test_no_thread_for_each_function() -> None:
    before = threading.active_count()
    for _ in range(30):
        function: Any = skate.remote(lambda x: x)
        assert skate.get([function.remote(x) for x in range(3)]) == [0, 1, 2]
    assert threading.active_count() - before < 5
