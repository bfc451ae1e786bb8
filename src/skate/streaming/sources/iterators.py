"""Iterators and generators, async ones, too. A position is a number of records: to go on, it is made again and that many are passed over."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.operators.base import name_of
from skate.streaming.sources.base import BATCH_RECORDS, Reader, Source, Split

WAIT_S = 0.005


class IteratorSource(Source):
    """One subtask reads it. Endless ones are read by a thread of their own, so that a record that is late holds up no snapshot."""

    kind = "iterator"
    parallelism_max = 1
    is_live = True

    def __init__(self, make: Callable[[], Any] | Iterable[Any], *, bounded: bool = True) -> None:
        self.make = make
        self.is_bounded = bounded
        self.is_replayable = callable(make) or isinstance(make, list | tuple | range)
        self.label = name_of(make) if callable(make) else type(make).__name__

    def splits(self) -> list[Split]:
        return [Split("iterator")]

    def open(self, split: Split, position: Any) -> Reader:
        made = self.make() if callable(self.make) else self.make
        return _IteratorReader(made, self.label, position or 0)


class _IteratorReader(Reader):
    """A thread runs the iterator into a queue that holds a few batches."""

    def __init__(self, made: Any, label: str, position: int) -> None:
        self.position: int = position
        self.label = label
        self.queue: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=2 * BATCH_RECORDS)
        self.is_closed = False
        if not isinstance(made, AsyncIterable) and not isinstance(made, Iterable):
            raise TypeError(f"{label} gave a {type(made).__name__}; a source needs something to iterate over")
        target = self._run_async if isinstance(made, AsyncIterable) else self._run
        threading.Thread(target=target, args=(made, position), daemon=True, name="skate-stream-source").start()

    def _run(self, made: Iterable[Any], skip: int) -> None:
        try:
            records: Iterator[Any] = islice(iter(made), skip, None)
            for record in records:
                self._put("record", record)
                if self.is_closed:
                    return
            self._put("end", None)
        except Exception as error:
            self._put("error", error)

    def _run_async(self, made: AsyncIterable[Any], skip: int) -> None:
        async def iterate() -> None:
            passed = 0
            async for record in made:
                if passed < skip:
                    passed += 1
                    continue
                self._put("record", record)
                if self.is_closed:
                    return

        try:
            asyncio.run(iterate())
            self._put("end", None)
        except Exception as error:
            self._put("error", error)

    def _put(self, what: str, value: Any) -> None:
        while not self.is_closed:
            try:
                self.queue.put((what, value), timeout=1.0)
                return
            except queue.Full:
                continue

    def read(self) -> Batch | None:
        values: list[Any] = []
        start = self.position
        try:
            what, value = self.queue.get(timeout=WAIT_S)
            while True:
                if what == "record":
                    values.append(value)
                elif what == "end":
                    self.is_done = True
                    break
                else:
                    raise value
                if len(values) >= BATCH_RECORDS:
                    break
                what, value = self.queue.get_nowait()
        except queue.Empty:
            pass
        self.position += len(values)
        return Batch(values, None, None, f"{self.label}, from record {start:,}") if values else None

    def close(self) -> None:
        self.is_closed = True
