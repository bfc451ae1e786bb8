"""Lists, iterators, generators, sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from skate.streaming import Stream, StreamError
from skate.streaming.sources.iterators import IteratorSource
from skate.streaming.sources.memory import MemorySource
from tests.unit.streaming.reading import read_all


@pytest.mark.parametrize("interrupt_after", [None, 1, 2])
@pytest.mark.parametrize("parallelism", [1, 3])
def test_a_list(parallelism: int, interrupt_after: int | None) -> None:
    source = MemorySource(range(1000), splits=7, batch_records=30)
    assert sorted(read_all(source, parallelism, interrupt_after=interrupt_after)) == list(range(1000))


def test_an_empty_list_ends() -> None:
    assert Stream.from_list([]).to_list().run(in_process=True) == []


def numbers() -> Iterator[int]:
    yield from range(10_000)


async def numbers_later() -> AsyncIterator[int]:
    for i in range(10_000):
        yield i


@pytest.mark.parametrize("make", [numbers, numbers_later, range(10_000)])
@pytest.mark.parametrize("interrupt_after", [None, 1])
def test_iterators_are_made_again_and_passed_over(make: object, interrupt_after: int | None) -> None:
    assert read_all(IteratorSource(make), interrupt_after=interrupt_after) == list(range(10_000))  # type: ignore[arg-type]


def test_an_iterator_that_exists_already_asks_for_allow_loss() -> None:
    with pytest.raises(ValueError, match=r"can't be read a second time.*allow_loss=True"):
        Stream.from_iterator(iter([1, 2]))
    assert Stream.from_iterator(iter([1, 2]), allow_loss=True).to_list().run(in_process=True) == [1, 2]


def test_a_generator_that_raises_stops_the_stream() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("the line went dead")

    with pytest.raises((StreamError, OSError), match="the line went dead"):
        Stream.from_iterator(failing).to_list().run(in_process=True)


def test_a_function_that_gives_no_iterable_is_named() -> None:
    with pytest.raises((StreamError, TypeError), match="gave a int; a source needs something to iterate over"):
        Stream.from_iterator(lambda: 3).to_list().run(in_process=True)  # type: ignore[arg-type, return-value]


def test_lines_of_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                for piece in (b"one\ntw", b"o\nthr\xc3", b"\xa9e\r\nlast"):
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ValueError, match="allow_loss=True"):
            Stream.from_socket("127.0.0.1", port)
        lines = Stream.from_socket("127.0.0.1", port, allow_loss=True).to_list().run(in_process=True)
        thread.join()
    assert lines == ["one", "two", "thrée", "last"]


def test_records_of_an_iterator_are_sent_on_soon_though_more_keep_coming() -> None:
    from skate.streaming.graph import make_plan
    from skate.streaming.host import Host

    go_on = threading.Event()

    def steady() -> Iterator[int]:
        number = 0
        while not go_on.wait(0.001):
            yield number
            number += 1

    plan = make_plan(Stream.from_iterator(steady).count_by(emit="updates").to_list()._sinks, 1)
    host = Host(plan, 0, 0, plan.stages[0].source.splits(), lambda number, data: None)  # type: ignore[union-attr]
    host.begin(None, None)
    sent = 0
    for _ in range(200):
        sent += len(host.step()[1])
    go_on.set()
    host.close()
    assert sent > 2  # Without this they would wait for the end of the epoch.
