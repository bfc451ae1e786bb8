"""The consumer's end of a streaming generator: items arrive as messages, and leave as refs in order.

`StreamState` is the client's record (lives while the task or the consumer does); `Stream` is what the consumer holds, so that letting go of it
is noticed and stops the generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from skate.engine.client.objects import Waiter
from skate.engine.spec.ids import ObjectId, return_id

if TYPE_CHECKING:
    from skate.engine.client.client import Client
    from skate.engine.client.tasks import Task


class StreamState:
    """Counts of one stream. All under the client's lock."""

    __slots__ = ("callbacks", "is_closed", "length", "received", "taken", "task", "waiters")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.received = 0  # Items that have arrived, in order from 0.
        self.taken = 0  # Items handed out.
        self.length: int | None = None  # Known when the generator has ended; an error counts as one item.
        self.is_closed = False
        self.callbacks: list[Callable[[], None]] = []
        self.waiters: list[Waiter] = []

    def has_news(self) -> bool:
        return self.taken < self.received or self.length is not None

    def wake(self, deferred: Any) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.finish()
        deferred.extend(self.callbacks)
        self.callbacks = []


def completion_id(task_id: bytes) -> ObjectId:
    """The object that says that a stream has ended: None, or the error."""
    return return_id(task_id, -1)


class Stream:
    """Implements `backends.base.StreamHandle`."""

    def __init__(self, client: Client, state: StreamState) -> None:
        self._client = client
        self._state = state
        self.task_id = state.task.task_id

    def next_ref(self, timeout_s: float | None) -> Any:
        client, state = self._client, self._state
        waiter = None
        with client.lock:
            if not state.has_news():
                waiter = Waiter(1)
                state.waiters.append(waiter)
        if waiter is not None:
            client.flush()
            if not client.wait_for(waiter, timeout_s):
                from skate.exceptions import GetTimeoutError

                with client.lock:
                    if waiter in state.waiters:
                        state.waiters.remove(waiter)
                raise GetTimeoutError(f"{state.task.token.name} did not yield its next item within {timeout_s} s")
        with client.lock:
            if state.taken >= state.received:
                return None
            item = return_id(self.task_id, state.taken)
            state.taken += 1
            ref = client.make_ref(item)
            client.release(item)  # The stream's own hold passes to the ref.
            client.acknowledge_stream(state)
        return ref

    def add_next_callback(self, callback: Callable[[], None]) -> None:
        client = self._client
        with client.lock:
            client.pump.start_background()
            if not self._state.has_news():
                self._state.callbacks.append(callback)
                return
        callback()

    def is_finished(self) -> bool:
        return self._state.length is not None and self._state.taken >= self._state.received

    def completed_ref(self) -> Any:
        with self._client.lock:
            return self._client.make_ref(completion_id(self.task_id))

    def close(self) -> None:
        with self._client.lock:
            self._client.close_stream(self._state)

    def __del__(self) -> None:
        # The collector may run this under the client's lock: only append.
        self._client.dropped_streams.append(self._state)
