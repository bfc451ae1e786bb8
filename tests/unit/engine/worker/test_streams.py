"""Streaming generators: items in order, backpressure, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from worker_harness import CALLER, Caller

from skate.engine.spec import messages as m
from skate.engine.spec.ids import return_id


def numbers(n: int) -> Iterator[int]:
    yield from range(n)


async def async_numbers(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


def test_items_come_in_order_and_then_the_end(lease: Caller) -> None:
    assert lease.value(lease.call(numbers, 5, num_returns=-1)) is None
    assert lease.values() == [0, 1, 2, 3, 4]
    assert [item.index for item in lease.items()] == [0, 1, 2, 3, 4]
    assert type(lease.messages[-1]) is m.Done


def test_async_generators_stream_from_a_plain_task(lease: Caller) -> None:
    lease.value(lease.call(async_numbers, 4, num_returns=-1))
    assert lease.values() == [0, 1, 2, 3]


def test_a_generator_waits_for_its_consumer(lease: Caller) -> None:
    seq = lease.call(numbers, 6, num_returns=-1, backpressure=2)
    lease.wait_until(lambda: len(lease.items()) == 2)
    lease.node.wait_message(m.Blocked, lease)
    assert len(lease.items()) == 2
    lease.ack(seq, 1)
    lease.wait_until(lambda: len(lease.items()) == 3)
    lease.ack(seq, 6)
    assert lease.value(seq) is None
    assert lease.values() == list(range(6))


def test_a_consumer_that_leaves_stops_the_generator(lease: Caller, tmp_path: Any) -> None:
    def endless(path: str) -> Iterator[int]:
        try:
            i = 0
            while True:
                yield i
                i += 1
        finally:
            open(path, "w").close()

    seq = lease.call(endless, str(tmp_path / "closed"), num_returns=-1, backpressure=3)
    lease.wait_until(lambda: len(lease.items()) == 3)
    lease.ack(seq, -1)
    assert lease.value(seq) is None
    assert (tmp_path / "closed").exists()


def test_an_error_in_a_generator_comes_after_its_items(lease: Caller) -> None:
    def two_then_fail() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    assert "third" in str(lease.error(lease.call(two_then_fail, num_returns=-1)))
    assert lease.values() == [1, 2]


def test_large_items_go_to_the_arena(lease: Caller) -> None:
    def large() -> Iterator[bytes]:
        yield b"a" * 500_000
        yield b"small"

    seq = lease.call(large, num_returns=-1)
    lease.value(seq)
    object_id = return_id(lease.tasks[seq], 0)
    assert type(lease.items()[0].value) is m.Stored
    assert lease.node.sealed[object_id].holder == CALLER
    assert lease.node.stored_value(object_id) == b"a" * 500_000


def test_a_function_that_is_no_generator_says_so(lease: Caller) -> None:
    assert "write it as a generator" in str(lease.error(lease.call(abs, 3, num_returns=-1)))


def test_calls_sent_while_a_generator_waits_run_after_it(lease: Caller) -> None:
    seq = lease.call(numbers, 2, num_returns=-1, backpressure=1)
    lease.wait_until(lambda: len(lease.items()) == 1)
    later = lease.call(abs, -3)
    lease.ack(seq, 2)
    assert lease.value(later) == 3
    assert lease.order == [seq, later]


def test_cancelling_a_generator_that_waits_ends_it(lease: Caller) -> None:
    seq = lease.call(numbers, 9, num_returns=-1, backpressure=1)
    lease.wait_until(lambda: len(lease.items()) == 1)
    lease.node.order(m.Interrupt(lease.tasks[seq], True))
    assert lease.wait(seq).status == 2


def test_cancelling_an_async_generator_runs_its_finally(lease: Caller, tmp_path: Any) -> None:
    async def sleeper(path: str) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(3600)
        finally:
            open(path, "w").close()

    seq = lease.call(sleeper, str(tmp_path / "closed"), num_returns=-1)
    lease.wait_until(lambda: len(lease.items()) == 1)
    lease.node.order(m.Interrupt(lease.tasks[seq], True))
    assert lease.wait(seq).status == 2
    assert (tmp_path / "closed").exists()
    assert lease.result(abs, -1) == 1


def test_a_consumer_that_does_not_read_holds_the_generator_up(lease: Caller) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 90_000

    seq = lease.call(endless, num_returns=-1)
    lease.node.wait_message(m.Blocked)  # Nobody reads the channel meanwhile.
    assert lease.value(seq) is None
    assert len(lease.items()) == 200
