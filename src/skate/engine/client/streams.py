"""The consumer's end of a streaming generator: items arrive as messages, and leave as refs in order.

`StreamState` is the client's record (lives while the task or the consumer does); `Stream` is what the consumer holds, so that letting go of it
is noticed and stops the generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from skate.engine.client.objects import INLINE, STORED, Entry, Waiter
from skate.engine.object_store import serialization
from skate.engine.spec import messages as m
from skate.engine.spec.ids import ObjectId, return_id
from skate.engine.transport.channel import ChannelClosedError

if TYPE_CHECKING:
    from skate.engine.client.client import Client
    from skate.engine.client.tasks import Task

_encode = msgspec.msgpack.Encoder().encode
_NONE = serialization._dumps(None, 5)


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
            ref = client.references.make_ref(item)
            client.references.release(item)  # The stream's own hold passes to the ref.
            client.streams.acknowledge(state)
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
            return self._client.references.make_ref(completion_id(self.task_id))

    def close(self) -> None:
        with self._client.lock:
            self._client.streams.close(self._state)

    def __del__(self) -> None:
        # The collector may run this under the client's lock: only append.
        self._client.dropped_streams.append(self._state)


class Streams:
    """The streams this process consumes. Everything runs under the client's lock."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def add_item(self, message: m.GeneratorItem) -> None:
        entry = self._client.table.get(completion_id(message.task))
        task = entry.task if entry is not None else None
        state = task.stream if task is not None else None
        item = return_id(message.task, message.index)
        if state is None or state.is_closed or message.index != state.received:
            # Nobody wants it, or it came before the generator's worker died and the generator started again.
            self._client.references.returned_counts.extend((inner, 1) for inner in message.contains)
            if type(message.value) is m.Stored:
                self._client.references.returned_counts.append((item, 1))
            return
        state.received += 1
        value = message.value
        new = Entry(INLINE, 1, True)
        if message.contains:
            new.contains = message.contains
            self._client.references.adopt(message.contains)
        if type(value) is m.Value:
            new.kind, new.data = value.kind, value.data
        else:
            new.state = STORED
            new.node_count = 1
            new.is_shared = True
        self._client.table[item] = new
        state.wake(self._client.pump.deferred)

    def end(self, task: Task, error: bytes | None) -> None:
        state = task.stream
        assert state is not None
        completion = completion_id(task.task_id)
        entry = self._client.table.get(completion)
        if error is not None and not state.is_closed:
            item = Entry(INLINE, 1, True)
            item.kind, item.data = serialization.ERROR, error
            self._client.table[return_id(task.task_id, state.received)] = item
            state.received += 1
        state.length = state.received
        task.stream = None
        if entry is not None:
            entry.task = None
            if error is None:
                self._client.values.set_inline(entry, 0, _NONE)
            else:
                self._client.values.set_inline(entry, serialization.ERROR, error)
            if entry.is_shared:
                self._client.references.resolve_at_node(completion, entry)
            if entry.local <= 0:
                entry.local = 1
                self._client.references.release(completion)
        state.wake(self._client.pump.deferred)

    def acknowledge(self, state: StreamState) -> None:
        """Tell a generator that waits how far its consumer is; -1 tells it to stop."""
        task = state.task
        channel = getattr(task.lease, "channel", None)
        if channel is None or task.is_done or (task.token.template.backpressure < 0 and not state.is_closed):
            return
        try:
            if not channel.send(_encode(m.GeneratorAck(task.task_id, -1 if state.is_closed else state.taken))):
                self._client.pump.watch_writable(channel.fd, True)
        except ChannelClosedError:
            pass

    def close(self, state: StreamState) -> None:
        """The consumer is gone."""
        if state.is_closed:
            return
        state.is_closed = True
        for index in range(state.taken, state.received):
            self._client.references.release(return_id(state.task.task_id, index))
        state.taken = state.received
        if state.length is None:
            self.acknowledge(state)
        self._client.references.release(completion_id(state.task.task_id))
