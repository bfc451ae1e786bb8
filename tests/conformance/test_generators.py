"""Generators: items while the generator runs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from tests.conformance.marks import local_only, processes_only, wait_until

pytestmark = pytest.mark.usefixtures("backend")


@skate.remote
def count(n: int) -> Iterator[int]:
    yield from range(n)


@skate.remote
def fails_after(n: int) -> Iterator[int]:
    yield from range(n)
    raise ValueError("in the middle")


def test_items_come_in_order() -> None:
    assert [skate.get(ref) for ref in count.remote(100)] == list(range(100))
    assert list(count.remote(0)) == []


def test_an_error_is_the_last_item() -> None:
    refs = list(fails_after.remote(2))
    assert skate.get(refs[:2]) == [0, 1]
    assert len(refs) == 3
    with pytest.raises(ValueError, match="in the middle"):
        skate.get(refs[2])


def test_completed() -> None:
    items = count.remote(3)
    assert skate.get(items.completed(), timeout=60) is None
    assert len(list(items)) == 3
    assert items.is_finished()
    items = fails_after.remote(1)
    with pytest.raises(ValueError, match="in the middle"):
        skate.get(items.completed(), timeout=60)


def test_async_iteration() -> None:
    async def collect() -> list[int]:
        return [await ref async for ref in count.remote(5)]

    assert asyncio.run(collect()) == [0, 1, 2, 3, 4]


def test_large_items() -> None:
    @skate.remote
    def arrays(n: int) -> Any:
        for i in range(n):
            yield np.full(100_000, i)

    assert [int(skate.get(ref)[0]) for ref in arrays.remote(4)] == [0, 1, 2, 3]


def test_items_as_arguments() -> None:
    double = skate.remote(lambda x: 2 * x)
    assert skate.get([double.remote(ref) for ref in count.remote(4)]) == [0, 2, 4, 6]


def test_dynamic_gives_all_refs_at_once() -> None:
    with pytest.warns(DeprecationWarning, match="streaming"):

        @skate.remote(num_returns="dynamic")
        def numbers(n: int) -> Any:
            yield from range(n)

    refs = skate.get(numbers.remote(3))
    assert isinstance(refs, skate.DynamicObjectRefGenerator)
    assert [skate.get(ref) for ref in refs] == [0, 1, 2]


def test_async_generators_of_tasks() -> None:
    @skate.remote
    async def later(n: int) -> Any:
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    assert [skate.get(ref) for ref in later.remote(3)] == [0, 1, 2]


@processes_only
def test_items_come_while_the_generator_runs(tmp_path: Path) -> None:
    @skate.remote
    def stepwise(directory: Path) -> Any:
        for i in range(3):
            yield i
            wait_until((directory / str(i)).exists)

    items = stepwise.remote(tmp_path)
    for i in range(3):
        assert skate.get(next(items), timeout=60) == i
        (tmp_path / str(i)).touch()
    assert list(items) == []


@processes_only
def test_backpressure_keeps_the_generator_near_its_consumer(tmp_path: Path) -> None:
    @skate.remote(_generator_backpressure_num_objects=2)
    def eager(log: Path) -> Any:
        for i in range(20):
            with log.open("a") as file:
                file.write("x")
            yield i

    items = eager.remote(tmp_path / "log")
    taken = 0
    for ref in items:
        assert skate.get(ref) == taken
        taken += 1
        assert len((tmp_path / "log").read_text()) <= taken + 3
    assert taken == 20


@local_only
def test_backpressure_of_an_async_actors_generator(tmp_path: Path) -> None:
    """Held back, it still lets the actor's other calls run."""

    @skate.remote
    class Source:
        @skate.method(_generator_backpressure_num_objects=2)
        async def items(self, log: Path) -> Any:
            for i in range(20):
                with log.open("a") as file:
                    file.write("x")
                yield i

        async def ping(self) -> str:
            return "pong"

    source = Source.remote()
    items = source.items.remote(tmp_path / "log")
    wait_until((tmp_path / "log").exists)
    for taken, ref in enumerate(items):
        assert skate.get(ref) == taken
        assert skate.get(source.ping.remote(), timeout=60) == "pong"
        assert len((tmp_path / "log").read_text()) <= taken + 4
    assert taken == 19


@processes_only
def test_a_generator_stops_when_nobody_wants_more(tmp_path: Path) -> None:
    @skate.remote(_generator_backpressure_num_objects=1)
    def endless(log: Path) -> Any:
        try:
            while True:
                yield 1
        finally:
            log.touch()

    items = endless.remote(tmp_path / "closed")
    next(items)
    del items
    gc.collect()
    wait_until((tmp_path / "closed").exists)


@processes_only
def test_cancelling_a_generator(tmp_path: Path) -> None:
    @skate.remote
    def stuck() -> Any:
        yield 1
        import time

        time.sleep(60)

    items = stuck.remote()
    assert skate.get(next(items)) == 1
    skate.cancel(items)
    with pytest.raises(skate.exceptions.TaskCancelledError):
        skate.get(next(items), timeout=60)
