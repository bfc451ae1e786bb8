"""The producer's end of a streaming generator: items leave one by one, and the generator waits when it is too far ahead.

    index    next item's number            consumed    items its consumer has taken (GeneratorAck)
    the generator goes on while index - consumed < backpressure; -1 from the consumer stops it

A `Gate` counts for one generator. Who waits at it differs: the main thread reads the link itself meanwhile, a pool thread waits
for the main thread to read it, an asyncio task awaits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Gate:
    """How far one generator may run ahead. `acknowledge` may come from any thread."""

    __slots__ = ("_limit", "_wake", "consumed", "is_closed")

    def __init__(self, backpressure: int, wake: Callable[[], None]) -> None:
        self._limit = backpressure if backpressure != 0 else 1
        self._wake = wake
        self.consumed = 0
        self.is_closed = False  # Nobody wants more.

    def acknowledge(self, consumed: int) -> None:
        if consumed < 0:
            self.is_closed = True
        elif consumed > self.consumed:
            self.consumed = consumed
        self._wake()

    def is_shut(self, index: int) -> bool:
        """Whether item number `index` has to wait."""
        return 0 <= self._limit <= index - self.consumed and not self.is_closed


class ThreadGate(Gate):
    """For a generator in a pool thread."""

    __slots__ = ("_condition",)

    def __init__(self, backpressure: int) -> None:
        self._condition = threading.Condition()
        super().__init__(backpressure, self._notify)

    def _notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def wait_at(self, index: int) -> None:
        with self._condition:
            while self.is_shut(index):
                self._condition.wait()


def is_sync_generator(value: Any) -> bool:
    return hasattr(value, "__next__")


def is_async_generator(value: Any) -> bool:
    return hasattr(value, "__anext__")


class AsyncSteps:
    """Drives an async generator from a thread that has no event loop: one `next()` at a time, in a loop of its own."""

    def __init__(self, generator: Any) -> None:
        import asyncio

        self._generator = generator
        self._loop = asyncio.new_event_loop()
        self._step: Any = None  # The task of the step that runs, or was interrupted.

    def __iter__(self) -> AsyncSteps:
        return self

    def __next__(self) -> Any:
        try:
            self._step = self._loop.create_task(awaiting(self._generator.__anext__()))
            return self._loop.run_until_complete(self._step)
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Run the generator's `finally` blocks, and end the loop."""
        try:
            if self._step is not None and not self._step.done():
                self._step.cancel()
                self._loop.run_until_complete(_until_done(self._step))
            aclose = getattr(self._generator, "aclose", None)
            if aclose is not None:
                self._loop.run_until_complete(aclose())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


async def awaiting(awaitable: Any) -> Any:
    return await awaitable


async def _until_done(task: Any) -> None:
    import asyncio

    await asyncio.wait([task])
