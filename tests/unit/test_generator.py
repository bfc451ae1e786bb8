"""ObjectRefGenerator on a stream that the test feeds."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest

import skate


@pytest.fixture
def stream(backend: Any) -> Any:
    return backend.new_stream()


@pytest.fixture
def refs(stream: Any, backend: Any) -> Any:
    return skate.ObjectRefGenerator(stream, backend)


def test_items_come_in_order_and_end(stream: Any, refs: Any) -> None:
    stream.deliver(1)
    stream.deliver(2)
    stream.end()
    assert [skate.get(ref) for ref in refs] == [1, 2]
    with pytest.raises(StopIteration):
        next(refs)
    assert refs.is_finished()


def test_async_iteration_waits_for_each_item(stream: Any, refs: Any) -> None:
    async def consume() -> list[Any]:
        feeder = threading.Timer(0.01, lambda: (stream.deliver(1), stream.deliver(2), stream.end()))
        feeder.start()
        return [skate.get(ref) async for ref in refs]

    assert asyncio.run(consume()) == [1, 2]


def test_next_ready_tells_of_items_and_of_the_end(stream: Any, refs: Any) -> None:
    assert not refs.next_ready()
    stream.deliver(1)
    assert refs.next_ready()
    next(refs)
    assert not refs.next_ready()
    stream.end()
    assert refs.next_ready()


def test_wait_takes_generators(stream: Any, refs: Any, backend: Any) -> None:
    pending, ready = backend.pending_ref(), skate.put(1)
    assert skate.wait([refs], timeout=0) == ([], [refs])
    assert skate.wait([refs, pending, ready]) == ([ready], [refs, pending])
    stream.deliver(1)
    assert skate.wait([refs, pending, ready], num_returns=2, timeout=0) == ([refs, ready], [pending])
    assert skate.get(next(refs)) == 1, "wait took nothing out"


def test_wait_wakes_when_an_item_comes(stream: Any, refs: Any) -> None:
    threading.Timer(0.01, stream.end).start()
    assert skate.wait([refs], timeout=10) == ([refs], [])


def test_wait_on_generators_checks_as_on_refs(refs: Any) -> None:
    with pytest.raises(ValueError, match="unique refs"):
        skate.wait([refs, refs])
    with pytest.raises(ValueError, match="num_returns=2"):
        skate.wait([refs], num_returns=2)
    with pytest.raises(TypeError, match=r"write skate\.wait\(\[ref\]\)"):
        skate.wait(refs)


def test_a_generator_stays_where_it_is(refs: Any) -> None:
    with pytest.raises(TypeError, match="pass its refs"):
        pickle.dumps(refs)
    with pytest.raises(TypeError, match="can't be stored"):
        skate.put(refs)
    assert skate.get(refs) is refs


def test_close_stops_the_remote_end(stream: Any, refs: Any) -> None:
    refs.close()
    assert stream.is_closed


def test_a_dynamic_generator_is_a_list_of_refs(backend: Any) -> None:
    refs = [skate.put(i) for i in range(3)]
    dynamic = skate.DynamicObjectRefGenerator(refs)
    assert [skate.get(ref) for ref in dynamic] == [0, 1, 2]
    assert len(dynamic) == 3
    assert next(dynamic) == refs[0]
