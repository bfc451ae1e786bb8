"""The client: one process's connection to the engine. Drivers and workers are both clients.

This module is the hub: it owns the lock, the object table and the link to the node process, and hands everything else to the parts:

    objects       the table's entries                 calls          arguments in, results out, lineage
    references    who still needs what                submission     tasks, leases, queues
    values        put, get, wait                      actor_calls    actor connections
    pump          who reads the sockets               streams        generators
    groups        placement groups                    errors         what failed, in words

Locking: one lock. Methods say "lock held" when the caller must hold it; user code (unpickling, callbacks) never runs under it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from skate.config import BLOCKED_AFTER_S, IDLE_TICK_S, WORKER_IDLE_TICK_S
from skate.engine.client import errors
from skate.engine.client.actor_calls import ActorCalls, Connection
from skate.engine.client.calls import Calls
from skate.engine.client.groups import Groups
from skate.engine.client.objects import PENDING, Entry, Waiter
from skate.engine.client.pump import Pump
from skate.engine.client.references import References
from skate.engine.client.streams import Streams, StreamState
from skate.engine.client.submission import Submission
from skate.engine.client.tasks import Task
from skate.engine.client.trail import Trail
from skate.engine.client.values import Values
from skate.engine.object_store import serialization
from skate.engine.spec import messages as m
from skate.engine.spec.ids import PUT_INDEX, TASK_ID_BYTES
from skate.engine.transport.channel import Channel, ChannelClosedError, receive_buffer

_monotonic = time.monotonic
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(m.NODE_TO_CLIENT).decode


class Client:
    """One process's engine. Create, then `start`."""

    def __init__(self, node: Channel, welcome: m.Welcome, arena: Any, ref_class: type, *, is_worker: bool) -> None:
        self.lock = threading.Lock()
        self.client_id = welcome.client
        self.welcome = welcome
        self.arena = arena
        self.is_worker = is_worker
        self.node = node
        self.receive_buffer = receive_buffer()
        self.table: dict[bytes, Entry] = {}
        self.dropped: deque[bytes] = deque()
        self.drop: Callable[[bytes], None] = self.dropped.append
        self.dropped_streams: deque[StreamState] = deque()
        self.ref_class = ref_class
        self.trail = Trail(self)
        self.pump = Pump(self.lock, self.after_round, self._tick, WORKER_IDLE_TICK_S if is_worker else IDLE_TICK_S)
        self.references = References(self)
        self.values = Values(self)
        self.calls = Calls(self)
        self.streams = Streams(self)
        self.groups = Groups(self)
        self.submission = Submission(self)
        self.actors = ActorCalls(self)
        self.death: str = ""  # Why the engine is gone; "" while it lives.
        self.is_closed = False
        self.job = welcome.job
        self.on_notice: Callable[[m.Notice], None] = lambda notice: None
        self.on_log: Callable[[m.LogLines], None] = lambda lines: None
        self.current_task: Callable[[], bytes] = lambda: b""
        self.on_block: Callable[[], None] = lambda: None
        self.on_unblock: Callable[[], None] = lambda: None
        self.prefix = welcome.session_tag + welcome.client.to_bytes(4, "big")
        self.counter = count(1)
        self._request_numbers = count(1)
        self._requests: dict[int, Callable[[Any], None]] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            m.Fetched: self.values.on_fetched,
            m.LeaseRejected: self.submission.on_rejected,
            m.LeaseRevoked: self.submission.on_revoked,
            m.LeaseLost: self.submission.on_lost,
            m.ActorUpdate: self.actors.on_update,
            m.ObjectLost: self.calls.on_object_lost,
            m.PlacementGroupUpdate: self.groups.on_group_update,
            m.LogLines: lambda message: self.pump.deferred.append(lambda: self.on_log(message)),
            m.Notice: lambda message: self.pump.deferred.append(lambda: self.on_notice(message)),
            m.SessionEnding: lambda message: self._on_node_gone(message.reason),
        }
        # What backends and workers call, without a hop.
        self.put, self.put_packed, self.store = self.values.put, self.values.put_packed, self.values.store
        self.get, self.wait, self.fetch = self.values.get, self.values.wait, self.values.fetch
        self.add_done_callback = self.values.add_done_callback
        self.submit_task, self.call_actor, self.cancel = self.calls.submit_task, self.calls.call_actor, self.calls.cancel
        self.pack_arguments, self.cancel_children = self.calls.pack_arguments, self.calls.cancel_children
        self.make_ref, self.rebuild_ref, self.reduce_ref = (
            self.references.make_ref, self.references.rebuild_ref, self.references.reduce_ref,
        )  # fmt: skip
        self.retain, self.release, self.adopt = self.references.retain, self.references.release, self.references.adopt
        self.share, self.publish, self.note_travelling = (
            self.references.share, self.references.publish, self.references.note_travelling,
        )  # fmt: skip
        self.on_group = self.groups.on_group

    def start(self) -> None:
        with self.lock:
            self.pump.add(self.node.fd, self._on_node)

    # ================================================================ the link to the node (lock held)

    def tell_node(self, message: m.Message) -> None:
        try:
            if not self.node.send(_encode(message)):
                self.pump.watch_writable(self.node.fd, True)
        except ChannelClosedError as error:
            self._on_node_gone(f"the node process is gone ({error})")

    def _on_node(self, _events: int) -> None:
        try:
            if self.node.outbox and self.node.flush():
                self.pump.watch_writable(self.node.fd, False)
            while (received := self.node.receive_with_descriptors()) is not None:
                data, descriptors = received
                message = _decode(data)
                handler = self._handlers.get(type(message))
                if handler is not None:
                    handler(message)
                elif type(message) is m.LeaseGranted:
                    self.submission.on_granted(message, descriptors)
                elif type(message) is m.ActorChannel:
                    self.actors.on_channel(message, descriptors)
                else:
                    answer: Any = message  # What is left are answers, and each names its request.
                    waiting = self._requests.pop(answer.request, None)
                    if waiting is not None:
                        waiting(answer)
                if not descriptors and self.death:
                    return
        except ChannelClosedError as error:
            self._on_node_gone(f"the node process is gone ({error})")

    def _on_node_gone(self, reason: str) -> None:
        """Everything that waits for the engine fails now; nothing hangs."""
        if self.death:
            return
        self.death = reason
        self.pump.remove(self.node.fd)
        requests, self._requests = self._requests, {}
        for waiting in requests.values():
            waiting(None)
        error = errors.node_died(reason)
        for entry in list(self.table.values()):
            if entry.state == PENDING or entry.is_fetching:
                entry.is_fetching = False
                self.values.set_inline(entry, serialization.ERROR, error)
        for group in list(self.groups.waiters):
            self.groups.on_group_update(m.PlacementGroupUpdate(group, "REMOVED", reason))
        for state in [e.task.stream for e in self.table.values() if e.task is not None and e.task.stream is not None]:
            if state.length is None:
                state.length = state.received
                state.wake(self.pump.deferred)

    def ask(self, message: Any) -> Any:
        """Send a request (its number is filled in) and wait for the answer. Lock not held.

        Raises:
            NodeDiedError: The node process went away meanwhile.
        """
        waiter = Waiter(1)
        answers: list[Any] = []

        def answered(answer: Any) -> None:
            answers.append(answer)
            waiter.notify()

        number = next(self._request_numbers)
        message.request = number
        with self.lock:
            if self.death:
                raise errors.node_died_exception(self.death)
            self._requests[number] = answered
            self.tell_node(message)
        try:
            self.pump.wait(waiter, None)
        finally:
            self._requests.pop(number, None)
        if answers[0] is None:
            raise errors.node_died_exception(self.death)
        return answers[0]

    # ================================================================ rounds and ticks (lock held)

    def after_round(self) -> None:
        if self.dropped or self.dropped_streams or self.references.returned_counts:
            self.references.drain_dropped()
        if self.values.unpins:
            self.values.drain_unpins()
        if self.trail.others and not self.is_worker:  # A worker's control thread sends its own.
            self.trail.flush_when_due()

    def _tick(self, now_s: float) -> float:
        return min(self.submission.tick(now_s), now_s + WORKER_IDLE_TICK_S)

    def housekeep(self) -> None:
        """Hand on what was dropped. Lock not held. Cheap when there is nothing."""
        if self.dropped or self.dropped_streams or self.values.unpins or self.references.returned_counts:
            with self.lock:
                self.after_round()

    def flush(self) -> None:
        """Send everything that waits to be sent in batches. Lock not held."""
        with self.lock:
            self.submission.dispatch_all()
            self.actors.send_all()
            self.after_round()

    def wait_for(self, waiter: Waiter, timeout_s: float | None) -> bool:
        """Wait in a user's thread; a worker that waits long says so, and its CPUs go to somebody else meanwhile."""
        deadline_s = None if timeout_s is None else _monotonic() + timeout_s
        if not self.is_worker:
            return self.pump.wait(waiter, deadline_s)
        patience_s = _monotonic() + BLOCKED_AFTER_S
        if deadline_s is not None and deadline_s <= patience_s:
            return self.pump.wait(waiter, deadline_s)
        if self.pump.wait(waiter, patience_s):
            return True
        self.on_block()
        try:
            return self.pump.wait(waiter, deadline_s)
        finally:
            self.on_unblock()

    def call_site(self, ref_id: bytes) -> str:
        return ""

    # ================================================================ actors

    def connection(
        self, actor_id: bytes, class_name: str, max_task_retries: int, max_pending_calls: int, *, is_concurrent: bool
    ) -> Connection:
        """Lock held. The connection to an actor, made when it is first needed."""
        connection = self.actors.connections.get(actor_id)
        if connection is None:
            connection = self.actors.connections[actor_id] = Connection(
                actor_id, class_name, max_task_retries, max_pending_calls, is_concurrent=is_concurrent
            )
        return connection

    def on_actor_dead(self, connection: Connection) -> None:
        """Lock held."""

    # ================================================================ placement groups

    def promise(self) -> tuple[Any, Callable[[Any, bytes | None], None]]:
        """Lock held. A ref, and the function (lock held) that settles it with a value or an error."""
        object_id = self.new_id() + PUT_INDEX
        placeholder = Task(object_id[:TASK_ID_BYTES], None, b"", 0)
        entry = self.table[object_id] = Entry(PENDING, 1, True, placeholder)
        ref = self.ref_class(object_id, self)

        def settle(value: Any, error: bytes | None) -> None:
            placeholder.is_done = True
            if entry.state != PENDING:
                return
            entry.task = None
            if error is not None:
                self.values.set_inline(entry, serialization.ERROR, error)
            else:
                self.values.set_inline(entry, 0, serialization._dumps(value, 5))
            if entry.is_shared:
                self.references.resolve_at_node(object_id, entry)
            if entry.local <= 0:
                entry.local = 1
                self.references.release(object_id)

        return ref, settle

    def new_id(self) -> bytes:
        return self.prefix + next(self.counter).to_bytes(8, "big")

    # ================================================================ end

    def close(self, *, ends_session: bool) -> None:
        """Leave. Everything that still waits fails."""
        if self.is_closed:
            return
        self.is_closed = True
        with self.lock:
            self.submission.close()
            self.actors.close()
            if not self.death:
                self.trail.flush_locked()
                self.tell_node(m.Goodbye(ends_session))
                self._on_node_gone("the session was shut down (skate.shutdown)")
        self.pump.close()
        self.pump.run_deferred()
        self.node.close()
        self.arena.close()
