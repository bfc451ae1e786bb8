from __future__ import annotations

import asyncio
import queue as stdlib_queue
from typing import Any

import pytest

import skate
from skate.util.queue import Empty, Full, Queue


@skate.remote
def put_all(queue: Queue, items: list[int]) -> None:
    for item in items:
        queue.put(item)


@skate.remote
def take(queue: Queue, count: int) -> list[Any]:
    return [queue.get(timeout=10) for _ in range(count)]


def test_items_come_out_in_order(session: str) -> None:
    queue = Queue()
    for item in range(5):
        queue.put(item)

    assert len(queue) == queue.qsize() == 5
    assert [queue.get() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert queue.empty()


def test_a_full_queue_refuses(session: str) -> None:
    queue = Queue(maxsize=2)
    queue.put_nowait(1)
    queue.put(2, block=False)

    assert queue.full()
    with pytest.raises(Full):
        queue.put_nowait(3)
    with pytest.raises(stdlib_queue.Full):
        queue.put_nowait(3)


def test_an_empty_queue_refuses(session: str) -> None:
    queue = Queue()

    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.get(block=False)
    with pytest.raises(ValueError, match="negative"):
        queue.get(timeout=-1)
    with pytest.raises(ValueError, match="negative"):
        queue.put(1, timeout=-1)


def test_batches_go_in_and_out_whole(session: str) -> None:
    queue = Queue(maxsize=3)
    queue.put_nowait_batch([1, 2])
    with pytest.raises(Full, match="cannot add 2"):
        queue.put_nowait_batch([3, 4])
    with pytest.raises(Empty, match="cannot get 3"):
        queue.get_nowait_batch(3)

    assert queue.get_nowait_batch(2) == [1, 2]
    with pytest.raises(TypeError):
        queue.put_nowait_batch(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        queue.get_nowait_batch(-1)


def test_a_queue_travels_to_tasks(session: str) -> None:
    queue = Queue()
    skate.get(put_all.remote(queue, [1, 2, 3]))

    assert skate.get(take.remote(queue, 3)) == [1, 2, 3]


def test_async_put_and_get(session: str) -> None:
    queue = Queue()

    async def pass_through() -> Any:
        await queue.put_async("item")
        return await queue.get_async()

    assert asyncio.run(pass_through()) == "item"


def test_get_waits_for_an_item(process_session: str) -> None:
    queue = Queue()
    taken = take.remote(queue, 2)
    queue.put("a")
    queue.put("b")

    assert skate.get(taken) == ["a", "b"]


def test_put_waits_for_room(process_session: str) -> None:
    queue = Queue(maxsize=1)
    filling = put_all.remote(queue, [1, 2, 3])

    assert skate.get(take.remote(queue, 3)) == [1, 2, 3]
    skate.get(filling)


def test_waiting_ends_in_time(process_session: str) -> None:
    queue = Queue(maxsize=1)
    with pytest.raises(Empty):
        queue.get(timeout=0.05)
    queue.put(1)
    with pytest.raises(Full):
        queue.put(2, timeout=0.05)

    assert queue.get() == 1
    assert queue.empty()


def test_a_queue_that_was_shut_down_says_so(session: str) -> None:
    queue = Queue()
    queue.shutdown()

    with pytest.raises(RuntimeError, match="shut down"):
        queue.put(1)
