"""The client: one process's connection to the engine. Drivers and workers are both clients.

This module is the hub: it owns the lock, the object table and the link to the node process, and hands everything else to the parts:

    objects       the table's entries                 submission     tasks, leases, queues
    pump          who reads the sockets               actor_calls    actor connections
    streams       generators                          errors         what failed, in words

Reference counting across processes follows one rule (see `spec/messages.py`): whoever hands a reference to another process adds one to
that process's count at the node first; the receiver gives back all its counts when its last local use ends. `publish` makes an object of
ours known to the node, `share` counts it for somebody, `adopt` takes over counts that came with a value.

Locking: one lock. Methods say "lock held" when the caller must hold it; user code (unpickling, callbacks) never runs under it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import msgspec

from skate.config import BLOCKED_AFTER_S, IDLE_TICK_S, INLINE_BYTES_MAX
from skate.engine.client import errors
from skate.engine.client.actor_calls import ActorCalls, Connection
from skate.engine.client.objects import ACTOR, INLINE, PENDING, STORED, Entry, Waiter
from skate.engine.client.pump import Pump
from skate.engine.client.streams import Stream, StreamState, completion_id
from skate.engine.client.submission import Submission
from skate.engine.client.tasks import STREAMING, FunctionToken, MethodToken, Slot, Task
from skate.engine.object_store import serialization
from skate.engine.object_store.serialization import Packed, pack, unpack, unpack_stored
from skate.engine.spec import messages as m
from skate.engine.spec.ids import FIRST_RETURN_INDEX, PUT_INDEX, TASK_ID_BYTES, return_id
from skate.engine.transport.channel import Channel, ChannelClosedError, receive_buffer

_monotonic = time.monotonic
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(m.NODE_TO_CLIENT).decode
_dumps = serialization._dumps
_loads = serialization._loads
_BY_CONTENT = serialization._BY_CONTENT
_NO_ARGS = _dumps(((), {}), 5)


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
        self.pump = Pump(self.lock, self._after_round, self._tick)
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
        self._prefix = welcome.session_tag + welcome.client.to_bytes(4, "big")
        self._counter = count(1)
        self._request_numbers = count(1)
        self._requests: dict[int, Callable[[Any], None]] = {}
        self._returned_counts: list[tuple[bytes, int]] = []
        self._unpins: deque[bytes] = deque()
        self._group_waiters: dict[bytes, list[Callable[[m.PlacementGroupUpdate], None]]] = {}
        self._group_states: dict[bytes, m.PlacementGroupUpdate] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            m.Fetched: self._on_fetched,
            m.LeaseRejected: self.submission.on_rejected,
            m.LeaseRevoked: self.submission.on_revoked,
            m.LeaseLost: self.submission.on_lost,
            m.ActorUpdate: self.actors.on_update,
            m.ObjectLost: self._on_object_lost,
            m.PlacementGroupUpdate: self._on_group_update,
            m.LogLines: lambda message: self.pump.deferred.append(lambda: self.on_log(message)),
            m.Notice: lambda message: self.pump.deferred.append(lambda: self.on_notice(message)),
            m.SessionEnding: lambda message: self._on_node_gone(message.reason),
        }

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
                    waiting = self._requests.pop(message.request, None)
                    if waiting is not None:
                        waiting(message)
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
                self._set_inline(entry, serialization.ERROR, error)
        for group in list(self._group_waiters):
            self._on_group_update(m.PlacementGroupUpdate(group, "REMOVED", reason))
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

    def _after_round(self) -> None:
        if self.dropped or self.dropped_streams:
            self._drain_dropped()
        if self._unpins:
            self._drain_unpins()

    def _tick(self, now_s: float) -> float:
        return min(self.submission.tick(now_s), now_s + IDLE_TICK_S * 4)

    def _drain_dropped(self) -> None:
        dropped = self.dropped
        release = self.release
        while dropped:
            release(dropped.popleft())
        while self.dropped_streams:
            self.close_stream(self.dropped_streams.popleft())
        if self._returned_counts and not self.death:
            self.tell_node(m.DropRefs(self._returned_counts))
            self._returned_counts = []

    def _drain_unpins(self) -> None:
        ids = []
        while self._unpins:
            ids.append(self._unpins.popleft())
        if not self.death:
            self.tell_node(m.Unpin(ids))

    def housekeep(self) -> None:
        """Hand on what was dropped. Lock not held. Cheap when there is nothing."""
        if self.dropped or self.dropped_streams or self._unpins:
            with self.lock:
                self._after_round()

    def flush(self) -> None:
        """Send everything that waits to be sent in batches. Lock not held."""
        with self.lock:
            self.submission.dispatch_all()
            self.actors.send_all()
            self._after_round()

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

    # ================================================================ references (lock held)

    def make_ref(self, object_id: bytes) -> Any:
        entry = self.table.get(object_id)
        if entry is None:
            entry = self._borrow(object_id)
            entry.node_count += 1
            self.tell_node(m.AddRef(object_id, self.client_id))
        entry.local += 1
        return self.ref_class(object_id, self)

    def _borrow(self, object_id: bytes) -> Entry:
        entry = self.table[object_id] = Entry(ACTOR if len(object_id) == TASK_ID_BYTES else PENDING, 0, False)
        return entry

    def rebuild_ref(self, object_id: bytes) -> Any:
        """A ref that came inside a value. Lock not held."""
        with self.lock:
            return self.make_ref(object_id)

    def reduce_ref(self, ref: Any) -> tuple[Any, ...]:
        self.note_travelling(ref._id)
        return rebuild_ref, (ref._id,)

    def note_travelling(self, any_id: bytes) -> None:
        """An id is being pickled. When nobody records it (the user pickles by hand) the object is kept until the session ends."""
        captured = serialization.capture.ids
        if captured is not None:
            captured.append(any_id)
        else:
            with self.lock:
                self.publish(any_id)
                entry = self.table.get(any_id)
                if entry is not None:
                    entry.local += 1

    def retain(self, any_id: bytes) -> None:
        entry = self.table.get(any_id)
        if entry is None:
            entry = self._borrow(any_id)
            entry.node_count += 1
            self.tell_node(m.AddRef(any_id, self.client_id))
        entry.local += 1

    def release(self, any_id: bytes) -> None:
        """One local use ended."""
        table = self.table
        entry = table.get(any_id)
        if entry is None:
            return
        entry.local -= 1
        if entry.local > 0:
            return
        pending = [any_id]
        while pending:
            current = pending.pop()
            entry = table.get(current)
            if entry is None or entry.local > 0:
                continue
            task = entry.task
            if entry.state == PENDING and task is not None and not task.is_done:
                continue  # It goes when its task is done.
            del table[current]
            if entry.state == ACTOR:
                self.actors.forget(current)
            if entry.node_count:
                self._returned_counts.append((current, entry.node_count))
            if entry.is_fetching and not self.death:
                self.tell_node(m.CancelFetch(current))
            inner = entry.contains or []
            if task is not None and entry.state == STORED:
                task.lineage_returns -= 1
                if task.lineage_returns == 0:
                    inner = inner + self._held_by(task)
            for other in inner:
                inner_entry = table.get(other)
                if inner_entry is not None:
                    inner_entry.local -= 1
                    if inner_entry.local <= 0:
                        pending.append(other)

    def adopt(self, ids: list[bytes]) -> None:
        """Take over one count of each id: the value that contains them is ours now."""
        for any_id in ids:
            entry = self.table.get(any_id) or self._borrow(any_id)
            entry.node_count += 1
            entry.local += 1

    def publish(self, object_id: bytes) -> None:
        """Make an object that we own known to the node, so that others may refer to it."""
        entry = self.table.get(object_id)
        if entry is None or not entry.is_owned or entry.is_shared:
            return
        entry.is_shared = True
        entry.node_count += 1
        self.tell_node(m.AddRef(object_id, self.client_id))
        if entry.state == INLINE:
            self._resolve_at_node(object_id, entry)

    def share(self, any_id: bytes, holder: int | bytes) -> None:
        self.publish(any_id)
        self.tell_node(m.AddRef(any_id, holder))

    def _resolve_at_node(self, object_id: bytes, entry: Entry) -> None:
        contains = entry.contains or []
        for inner in contains:
            self.publish(inner)
        self.tell_node(m.Resolve(object_id, m.Value(entry.kind, entry.data), contains))

    # ================================================================ values

    def _set_inline(self, entry: Entry, kind: int, data: bytes) -> None:
        """Lock held. The value is here: wake who waits."""
        entry.kind = kind
        entry.data = data
        entry.state = INLINE
        waiters = entry.waiters
        if waiters is not None:
            entry.waiters = None
            for waiter in waiters:
                waiter(entry)

    def _set_stored(self, entry: Entry) -> None:
        entry.state = STORED
        waiters = entry.waiters
        if waiters is not None:
            entry.waiters = None
            for waiter in waiters:
                waiter(entry)

    def put(self, value: Any) -> Any:
        """Store a value; returns its ref."""
        if type(value) in _BY_CONTENT:
            object_id = self._prefix + next(self._counter).to_bytes(8, "big") + PUT_INDEX
            data = _dumps(value, 5)
            if len(data) > INLINE_BYTES_MAX:
                return self.put_packed(Packed(serialization.VALUE, [data], len(data), []))
            entry = Entry(INLINE, 1, True)
            entry.data = data
            self.table[object_id] = entry
            if self.dropped:
                self.housekeep()
            return self.ref_class(object_id, self)
        return self.put_packed(pack(value))

    def put_packed(self, packed: Packed) -> Any:
        object_id = self._prefix + next(self._counter).to_bytes(8, "big") + PUT_INDEX
        if packed.size <= INLINE_BYTES_MAX:
            entry = Entry(INLINE, 1, True)
            entry.kind = packed.kind
            entry.data = packed.data()
            with self.lock:
                self._hold_contents(entry, packed.contains)
                self.table[object_id] = entry
                self._after_round()
            return self.ref_class(object_id, self)
        self.housekeep()
        self.store(object_id, packed, self.client_id)
        with self.lock:
            entry = Entry(STORED, 1, True)
            entry.is_shared = True
            entry.node_count = 1
            self._hold_contents(entry, packed.contains)
            self.table[object_id] = entry
        return self.ref_class(object_id, self)

    def _hold_contents(self, entry: Entry, contains: list[bytes]) -> None:
        if contains:
            entry.contains = contains
            for inner in contains:
                self.retain(inner)

    def store(self, object_id: bytes, packed: Packed, holder: int | bytes) -> None:
        """Write a value into the arena and seal it. Lock not held.

        Raises:
            ObjectStoreFullError, OutOfDiskError: There is no room and none can be made.
        """
        created = self.ask(m.Create(0, object_id, packed.stored_size()))
        if created.offset < 0:
            raise errors.store_full(created.error)
        try:
            self.arena.write(created.offset, packed.stored_parts())
        except BaseException:
            with self.lock:
                self.tell_node(m.Abort(object_id))
            raise
        with self.lock:
            for inner in packed.contains:
                self.publish(inner)
            self.tell_node(m.Seal(object_id, holder, packed.contains))

    def get(self, refs: Sequence[Any], timeout_s: float | None) -> list[Any]:
        """The values, in order.

        Raises:
            GetTimeoutError, or the first error among the values in the order of `refs`.
        """
        table = self.table
        try:
            entries = [table[ref._id] for ref in refs]
        except KeyError:
            raise errors.foreign_ref() from None
        for entry in entries:
            if entry.state != INLINE:
                return self._get_slowly(refs, entries, timeout_s)
        if self.dropped:
            self.housekeep()
        return [_loads(entry.data) if entry.kind == 0 else self._unpack(entry) for entry in entries]

    def _get_slowly(self, refs: Sequence[Any], entries: list[Entry], timeout_s: float | None) -> list[Any]:
        deadline_s = None if timeout_s is None else _monotonic() + timeout_s
        with self.lock:
            self.submission.dispatch_all()
            self.actors.send_all()
            self._after_round()
        values: list[Any] = []
        # A store smaller than all the values together can still serve them one after another: fetch a few ahead.
        while True:
            waiter = self._fetch_missing(refs, entries)
            if waiter is None:
                break
            left_s = None if deadline_s is None else max(0.0, deadline_s - _monotonic())
            if not self.wait_for(waiter, left_s):
                self._forget_waiter(entries, waiter)
                missing = [ref for ref, entry in zip(refs, entries, strict=True) if not entry.has_value()]
                raise errors.get_timeout(timeout_s, missing, [self.table.get(ref._id) for ref in missing])
            if any(entry.state == INLINE and entry.kind == serialization.ERROR for entry in entries):
                self._forget_waiter(entries, waiter)
                break
        try:
            for entry in entries:
                if entry.has_value():
                    values.append(self._unpack(entry))
                elif entry.state != PENDING or not any(e.state == INLINE and e.kind == serialization.ERROR for e in entries):
                    return self._get_slowly(refs, entries, None if deadline_s is None else max(0.0, deadline_s - _monotonic()))
            return values
        finally:
            for entry in entries:
                entry.let_view_go()

    def _fetch_missing(self, refs: Sequence[Any], entries: list[Entry]) -> Waiter | None:
        """Ask for every value that is not here; a waiter for them, or None when all are here."""
        with self.lock:
            missing = []
            seen: set[int] = set()
            for ref, entry in zip(refs, entries, strict=True):
                if entry.state == INLINE:
                    continue
                view = entry.live_view()
                if view is not None:
                    entry.view = view  # Keep it until it is unpacked.
                    continue
                if id(entry) not in seen:
                    seen.add(id(entry))
                    missing.append((ref, entry))
            if not missing:
                return None
            if self.death:
                error = errors.node_died(self.death)
                for _ref, entry in missing:
                    self._set_inline(entry, serialization.ERROR, error)
                return None
            waiter = Waiter(len(missing), stops_at_error=True)
            for ref, entry in missing:
                if entry.state == STORED or not entry.is_owned:
                    self.fetch(ref._id, entry)
                if entry.waiters is None:
                    entry.waiters = [waiter.notify]
                else:
                    entry.waiters.append(waiter.notify)
            return waiter

    def _forget_waiter(self, entries: list[Entry], waiter: Waiter) -> None:
        with self.lock:
            for entry in entries:
                if entry.waiters is not None and waiter.notify in entry.waiters:
                    entry.waiters.remove(waiter.notify)

    def fetch(self, object_id: bytes, entry: Entry) -> None:
        """Ask the node for a value. Lock held."""
        if not entry.is_fetching:
            entry.is_fetching = True
            self.tell_node(m.Fetch(object_id))

    def _on_fetched(self, message: m.Fetched) -> None:
        entry = self.table.get(message.id)
        if entry is None or (entry.state == INLINE and not entry.is_fetching):
            # Nobody waits any more: give everything back.
            if message.offset >= 0:
                self._unpins.append(message.id)
            self._returned_counts.extend((inner, 1) for inner in message.contains)
            return
        entry.is_fetching = False
        if message.contains:
            if entry.contains is None:
                entry.contains = message.contains
                self.adopt(message.contains)
            else:
                self._returned_counts.extend((inner, 1) for inner in message.contains)
        if message.value is not None:
            self._set_inline(entry, message.value.kind, message.value.data)
        elif message.offset >= 0:
            unpins = self._unpins
            object_id = message.id
            entry.view = self.arena.pin_map(message.offset, message.size, lambda: unpins.append(object_id))
            self._set_stored(entry)
        else:
            self._set_inline(entry, serialization.ERROR, errors.object_lost(message))

    def _unpack(self, entry: Entry) -> Any:
        """The Python value; raises if it is an error. Lock not held."""
        if entry.state == INLINE:
            if entry.kind == serialization.ERROR:
                raise errors.unpack_error(entry.data)
            return unpack(entry.kind, entry.data)
        view = entry.live_view()
        assert view is not None
        if serialization.stored_kind(view) == serialization.ERROR:
            raise errors.unpack_error(serialization.stored_error(view))
        return unpack_stored(view)

    def wait(self, refs: Sequence[Any], num_returns: int, timeout_s: float | None) -> tuple[list[Any], list[Any]]:
        """Split refs into at most `num_returns` ready ones and the rest, both in the order given."""
        table = self.table
        entries = []
        for ref in refs:
            entry = table.get(ref._id)
            if entry is None:
                raise errors.foreign_ref()
            entries.append(entry)
        ready_count = sum(1 for entry in entries if entry.state)
        if ready_count < num_returns:
            self.flush()
            with self.lock:
                ready_count = sum(1 for entry in entries if entry.state)
                waiter = Waiter(num_returns - ready_count)
                if not waiter.is_done:
                    for ref, entry in zip(refs, entries, strict=True):
                        if entry.state == PENDING:
                            if not entry.is_owned and not self.death:
                                self.fetch(ref._id, entry)
                            if entry.waiters is None:
                                entry.waiters = [waiter.notify]
                            else:
                                entry.waiters.append(waiter.notify)
            if not waiter.is_done:
                if timeout_s == 0:
                    self.pump.poll_now()
                else:
                    self.wait_for(waiter, timeout_s)
                self._forget_waiter(entries, waiter)
                for entry in entries:
                    entry.let_view_go()
        elif self.dropped:
            self.housekeep()
        ready: list[Any] = []
        rest: list[Any] = []
        for ref, entry in zip(refs, entries, strict=True):
            (ready if entry.state and len(ready) < num_returns else rest).append(ref)
        return ready, rest

    def add_done_callback(self, ref: Any, callback: Callable[[Any, BaseException | None], None]) -> None:
        """Call back with the value or the error, in whichever thread gets it. Lock not held."""
        object_id = ref._id

        def deliver() -> None:
            entry = self.table.get(object_id)
            if entry is None:
                callback(None, errors.foreign_ref())
                return
            try:
                value = self._unpack(entry)
            except BaseException as error:
                callback(None, error)
            else:
                callback(value, None)
            finally:
                entry.let_view_go()

        def on_news(entry: Entry) -> None:  # Lock held.
            if entry.has_value():
                self.pump.deferred.append(deliver)
            else:
                if entry.waiters is None:
                    entry.waiters = []
                entry.waiters.append(on_news)
                if entry.state == STORED or not entry.is_owned:
                    self.fetch(object_id, entry)

        with self.lock:
            entry = self.table.get(object_id)
            if entry is None:
                raise errors.foreign_ref()
            self.submission.dispatch_all()
            self.actors.send_all()
            self.pump.start_background()
            view = entry.live_view()
            if view is not None:
                entry.view = view
            on_news(entry)
            ready = bool(self.pump.deferred)
        if ready:
            self.pump.run_deferred()

    def call_site(self, ref_id: bytes) -> str:
        return ""

    # ================================================================ calls

    def pack_arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes | Packed, list[bytes] | None, list[bytes] | None]:
        """(packed arguments, top-level references, references inside). Big arguments come as `Packed`. Lock not held."""
        if not args and not kwargs:
            return _NO_ARGS, None, None
        ref_class = self.ref_class
        simple = True
        deps: list[bytes] | None = None
        for value in args:
            kind = type(value)
            if kind not in _BY_CONTENT:
                simple = False
                if kind is ref_class:
                    deps = deps or []
        if kwargs:
            for value in kwargs.values():
                kind = type(value)
                if kind not in _BY_CONTENT:
                    simple = False
                    if kind is ref_class:
                        deps = deps or []
        if simple:
            data = _dumps((args, kwargs), 5)
            return (data if len(data) <= INLINE_BYTES_MAX else pack((args, kwargs))), None, None
        if deps is not None:
            args = tuple([self._slot(value, deps) if type(value) is ref_class else value for value in args])
            kwargs = {name: self._slot(value, deps) if type(value) is ref_class else value for name, value in kwargs.items()}
        packed = pack((args, kwargs))
        if packed.size > INLINE_BYTES_MAX:
            return packed, deps, packed.contains or None
        return packed.data(), deps, packed.contains or None

    def _slot(self, ref: Any, deps: list[bytes]) -> Slot:
        if ref._id not in self.table:
            raise errors.foreign_ref()
        deps.append(ref._id)
        return Slot(len(deps) - 1)

    def submit_task(self, token: FunctionToken, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Submit a call of a remote function; returns one ref, a list, None, or a Stream."""
        data, deps, borrowed = self.pack_arguments(args, kwargs)
        task = Task(self._prefix + next(self._counter).to_bytes(8, "big"), token, b"", token.max_retries)
        if type(data) is bytes:
            task.args = data
        else:
            task.args_id = self._store_arguments(data)
        with self.lock:
            if self.death:
                raise errors.node_died_exception(self.death)
            result = self._register(task, deps, borrowed)
            look = self.submission.enqueue(task) if not task.unresolved and not task.is_done else False
        if look:
            self.pump.poll_now()
            with self.lock:
                self.submission.dispatch(token.queue)
        return result

    def call_actor(self, token: MethodToken, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Submit a call of an actor's method. Raises PendingCallsLimitExceeded."""
        connection: Connection = token.actor
        data, deps, borrowed = self.pack_arguments(args, kwargs)
        task = Task(self._prefix + next(self._counter).to_bytes(8, "big"), token, b"", token.max_task_retries)
        if type(data) is bytes:
            task.args = data
        else:
            task.args_id = self._store_arguments(data)
        with self.lock:
            if self.death:
                raise errors.node_died_exception(self.death)
            if 0 <= connection.max_pending_calls <= self.actors.pending_calls(connection):
                raise errors.too_many_pending_calls(connection)
            self.table[connection.actor_id].local += 1  # The handle may go; the call still has to be answered.
            result = self._register(task, deps, borrowed)
            look = False if task.is_done else self.actors.submit(connection, task)
        if look:
            self.pump.poll_now()
            with self.lock:
                self.actors.send_ready(connection)
        return result

    def _store_arguments(self, packed: Packed) -> bytes:
        """Big arguments become an object of their own, held by the task."""
        ref = self.put_packed(packed)
        object_id: bytes = ref._id
        with self.lock:
            self.table[object_id].local += 1
        return object_id

    def _register(self, task: Task, deps: list[bytes] | None, borrowed: list[bytes] | None) -> Any:
        """Lock held. Enter a task's returns and dependencies; returns what `submit` answers."""
        table = self.table
        task_id = task.task_id
        if self.is_worker:
            task.parent = self.current_task()
        if self.dropped:
            self._drain_dropped()
        self.pump.start_background()
        num_returns = task.token.num_returns
        result: Any
        if num_returns == 1:
            object_id = task_id + FIRST_RETURN_INDEX
            table[object_id] = Entry(PENDING, 1, True, task)
            result = self.ref_class(object_id, self)
        elif num_returns == STREAMING:
            task.stream = StreamState(task)
            table[completion_id(task_id)] = Entry(PENDING, 1, True, task)
            result = Stream(self, task.stream)
        else:
            result = []
            for index in range(num_returns):
                object_id = return_id(task_id, index)
                table[object_id] = Entry(PENDING, 1, True, task)
                result.append(self.ref_class(object_id, self))
            if num_returns == 0:
                result = None
        if borrowed is not None:
            task.borrowed = borrowed
            for inner in borrowed:
                self.retain(inner)
        if deps is not None:
            task.deps = deps
            entries = [table[dep] for dep in deps]
            for entry in entries:
                entry.local += 1
            for dep, entry in zip(deps, entries, strict=True):
                if entry.state == PENDING:
                    task.unresolved += 1
                    if entry.waiters is None:
                        entry.waiters = []
                    entry.waiters.append(lambda entry, task=task: self._on_dependency(task, entry))
                    if not entry.is_owned:
                        self.fetch(dep, entry)
                elif entry.state == INLINE and entry.kind == serialization.ERROR:
                    self.fail_task(task, entry.data)
                    break
        return result

    def _on_dependency(self, task: Task, entry: Entry) -> None:
        """Lock held. One dependency of a task is there."""
        entry.let_view_go()
        task.unresolved -= 1
        if task.is_done:
            return
        if entry.state == INLINE and entry.kind == serialization.ERROR:
            is_actor_call = type(task.token) is MethodToken
            if is_actor_call and task.token.actor.is_concurrent:
                task.token.actor.waiting -= 1
            self.fail_task(task, entry.data)
            if is_actor_call and not task.token.actor.is_concurrent:
                self.actors.send_ready(task.token.actor)
            return
        if task.unresolved == 0:
            if type(task.token) is MethodToken:
                self.actors.on_arguments_ready(task)
            else:
                self.submission.enqueue(task)

    def attach_references(self, call: m.Call, task: Task, worker: int) -> None:
        """Lock held. Put the values of dependencies, and counts for the references that travel, into a call that is about to be sent."""
        shared: list[bytes] = []
        borrowed = list(task.borrowed) if task.borrowed else []
        if task.deps is not None:
            refs: list[m.Value | bytes] = []
            for dep in task.deps:
                entry = self.table[dep]
                if entry.state == INLINE:
                    refs.append(m.Value(entry.kind, entry.data))
                    if entry.contains:
                        borrowed.extend(entry.contains)
                else:
                    shared.append(dep)
                    refs.append(dep)
            call.refs = refs
        if task.args_id:
            call.args_id = task.args_id
            shared.append(task.args_id)
        if borrowed:
            call.borrowed = borrowed
            shared.extend(borrowed)
        for any_id in shared:
            self.share(any_id, worker)
        task.shared = shared

    def unshare_task(self, task: Task, worker: int) -> None:
        """Lock held. A call was taken back: its worker will never count what was meant for it."""
        if task.shared:
            for any_id in task.shared:
                self.tell_node(m.Unshare(any_id, worker))
            task.shared = None

    def _held_by(self, task: Task) -> list[bytes]:
        """What a task keeps alive, each as often as it holds it."""
        held = list(task.deps or ())
        held.extend(task.borrowed or ())
        if task.args_id:
            held.append(task.args_id)
        task.deps = task.borrowed = None
        task.args_id = b""
        return held

    def _release_held(self, task: Task) -> None:
        if task.deps is not None or task.borrowed is not None or task.args_id:
            for any_id in self._held_by(task):
                self.release(any_id)
        if type(task.token) is MethodToken:
            self.release(task.token.actor.actor_id)

    # ---------------------------------------------------------------- ends of calls (lock held)

    def finish_task(self, task: Task, outcome: m.Outcome) -> None:
        """A worker has answered."""
        if task.is_done:
            return
        returns = outcome.returns
        if outcome.status == 0 and returns is None and task.token.num_returns == 1:
            # The common case: one small value.
            task.is_done = True
            object_id = task.task_id + FIRST_RETURN_INDEX
            entry = self.table[object_id]
            entry.task = None
            if outcome.contains:
                entry.contains = outcome.contains[0]
                self.adopt(entry.contains)
            self._set_inline(entry, outcome.kind, outcome.data)
            if entry.is_shared:
                self._resolve_at_node(object_id, entry)
            if entry.local <= 0:
                entry.local = 1
                self.release(object_id)
            self._release_held(task)
            return
        if outcome.status == 1 and outcome.retryable and task.retries_left != 0 and not task.is_cancelled:
            if task.retries_left > 0:
                task.retries_left -= 1
            task.attempt += 1
            if type(task.token) is MethodToken:
                self.actors.requeue(task)
            else:
                self.submission.requeue(task)
            return
        if outcome.status != 0:
            self.fail_task(task, outcome.data)
            return
        task.is_done = True
        if task.stream is not None:
            self._end_stream(task, None)
        else:
            self._settle_returns(task, outcome)
        if task.lineage_returns == 0:
            self._release_held(task)
        elif type(task.token) is MethodToken:  # Actor calls can't be made again: their results depend on the actor's state.
            self._release_held(task)

    def _settle_returns(self, task: Task, outcome: m.Outcome) -> None:
        values = outcome.returns if outcome.returns is not None else [m.Value(outcome.kind, outcome.data)]
        can_remake = type(task.token) is FunctionToken and task.token.max_retries != 0
        stored: list[tuple[bytes, Entry]] = []
        for index, value in enumerate(values):
            object_id = return_id(task.task_id, index)
            entry = self.table.get(object_id)
            contains = outcome.contains[index] if outcome.contains else []
            if entry is None or entry.state != PENDING:  # A task that was run again for another of its returns.
                self._returned_counts.extend((inner, 1) for inner in contains)
                if type(value) is m.Stored:
                    self._returned_counts.append((object_id, 1))
                continue
            entry.task = None
            if contains:
                entry.contains = contains
                self.adopt(contains)
            if type(value) is m.Value:
                self._set_inline(entry, value.kind, value.data)
                if entry.is_shared:
                    self._resolve_at_node(object_id, entry)
            else:
                entry.node_count += 1
                entry.is_shared = True
                if can_remake:
                    entry.task = task
                    task.lineage_returns += 1
                stored.append((object_id, entry))
        for object_id, entry in stored:
            self._set_stored(entry)
            if entry.local <= 0:
                entry.local = 1
                self.release(object_id)
        for index, value in enumerate(values):
            if type(value) is m.Value:
                object_id = return_id(task.task_id, index)
                entry = self.table.get(object_id)
                if entry is not None and entry.local <= 0:
                    entry.local = 1
                    self.release(object_id)

    def fail_task(self, task: Task, error: bytes) -> None:
        """Every return of a task becomes this error."""
        if task.is_done:
            return
        task.is_done = True
        if task.stream is not None:
            self._end_stream(task, error)
        else:
            for index in range(max(task.token.num_returns, 0)):
                object_id = return_id(task.task_id, index)
                entry = self.table.get(object_id)
                if entry is None or entry.state != PENDING:
                    continue
                entry.task = None
                self._set_inline(entry, serialization.ERROR, error)
                if entry.is_shared:
                    self._resolve_at_node(object_id, entry)
                if entry.local <= 0:
                    entry.local = 1
                    self.release(object_id)
        self._release_held(task)

    # ---------------------------------------------------------------- streams (lock held)

    def add_stream_item(self, message: m.GeneratorItem) -> None:
        entry = self.table.get(completion_id(message.task))
        task = entry.task if entry is not None else None
        state = task.stream if task is not None else None
        item = return_id(message.task, message.index)
        if state is None or state.is_closed or message.index != state.received:
            # Nobody wants it, or it came before the generator's worker died and the generator started again.
            self._returned_counts.extend((inner, 1) for inner in message.contains)
            if type(message.value) is m.Stored:
                self._returned_counts.append((item, 1))
            return
        state.received += 1
        value = message.value
        new = Entry(INLINE, 1, True)
        if message.contains:
            new.contains = message.contains
            self.adopt(message.contains)
        if type(value) is m.Value:
            new.kind, new.data = value.kind, value.data
        else:
            new.state = STORED
            new.node_count = 1
            new.is_shared = True
        self.table[item] = new
        state.wake(self.pump.deferred)

    def _end_stream(self, task: Task, error: bytes | None) -> None:
        state = task.stream
        assert state is not None
        completion = completion_id(task.task_id)
        entry = self.table.get(completion)
        if error is not None and not state.is_closed:
            item = Entry(INLINE, 1, True)
            item.kind, item.data = serialization.ERROR, error
            self.table[return_id(task.task_id, state.received)] = item
            state.received += 1
        state.length = state.received
        if entry is not None:
            entry.task = None
            if error is None:
                self._set_inline(entry, 0, _dumps(None, 5))
            else:
                self._set_inline(entry, serialization.ERROR, error)
            if entry.is_shared:
                self._resolve_at_node(completion, entry)
            if entry.local <= 0:
                entry.local = 1
                self.release(completion)
        state.wake(self.pump.deferred)

    def acknowledge_stream(self, state: StreamState) -> None:
        """Tell a generator that waits how far its consumer is; -1 tells it to stop."""
        task = state.task
        channel = getattr(task.lease, "channel", None)
        if channel is None or task.is_done or (task.token.template.backpressure < 0 and not state.is_closed):
            return
        try:
            if not channel.send(_encode(m.GeneratorAck(task.task_id, -1 if state.is_closed else state.taken))):
                self.pump.watch_writable(channel.fd, True)
        except ChannelClosedError:
            pass

    def close_stream(self, state: StreamState) -> None:
        """The consumer is gone."""
        if state.is_closed:
            return
        state.is_closed = True
        for index in range(state.taken, state.received):
            self.release(return_id(state.task.task_id, index))
        state.taken = state.received
        if state.length is None:
            self.acknowledge_stream(state)
        self.release(completion_id(state.task.task_id))

    # ---------------------------------------------------------------- cancel

    def cancel(self, ref: Any, *, force: bool, recursive: bool) -> None:
        with self.lock:
            entry = self.table.get(ref._id)
            task = entry.task if entry is not None else None
            if task is None or task.is_done:
                return
            if type(task.token) is MethodToken and force:
                raise ValueError("force=True is not possible for an actor call: use skate.kill(actor) to end the actor")
            self.cancel_task(task, force=force, recursive=recursive)

    def cancel_task(self, task: Task, *, force: bool, recursive: bool) -> None:
        """Lock held."""
        task.is_cancelled = True
        lease = task.lease
        if lease is None:
            if type(task.token) is MethodToken and task.unresolved and task.token.actor.is_concurrent:
                task.token.actor.waiting -= 1
            # One that is queued already is dropped, and counted out, when its turn comes.
            self.fail_task(task, errors.cancelled(task))
            return
        if force:
            self.submission.kill_worker_of(task)
        else:
            self.tell_node(m.CancelTask(lease.worker, task.task_id, recursive))

    def cancel_children(self, parent: bytes) -> None:
        """Cancel what a task submitted. Lock not held."""
        with self.lock:
            children = {
                id(entry.task): entry.task
                for entry in self.table.values()
                if entry.task is not None and entry.task.parent == parent and not entry.task.is_done
            }
            for task in children.values():
                self.cancel_task(task, force=False, recursive=True)

    # ---------------------------------------------------------------- lineage

    def _on_object_lost(self, message: m.ObjectLost) -> None:
        """The value of an object of ours is gone and somebody wants it: run its task again."""
        entry = self.table.get(message.id)
        if entry is None:
            return
        task = entry.task
        if task is None or task.retries_left == 0:
            error = errors.cannot_remake(message.id, task)
            self.tell_node(m.Resolve(message.id, m.Value(serialization.ERROR, error)))
            self._set_inline(entry, serialization.ERROR, error)
            return
        if entry.state == PENDING:
            return
        if task.retries_left > 0:
            task.retries_left -= 1
        task.attempt += 1
        task.is_done = False
        task.lineage_returns -= 1
        entry.state = PENDING
        entry.node_count -= 1  # The count that comes with the next Seal replaces this one.
        self.tell_node(m.DropRefs([(message.id, 1)]))
        task.unresolved = 0
        for dep in task.deps or ():
            dep_entry = self.table[dep]
            if dep_entry.state == PENDING:
                task.unresolved += 1
                if dep_entry.waiters is None:
                    dep_entry.waiters = []
                dep_entry.waiters.append(lambda entry, task=task: self._on_dependency(task, entry))
        task.lease = None
        if not task.unresolved:
            self.submission.enqueue(task)

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

    def _on_group_update(self, message: m.PlacementGroupUpdate) -> None:
        if message.state == "INFEASIBLE":
            self.pump.deferred.append(lambda: self.on_notice(m.Notice("warning", message.detail)))
            return
        self._group_states[message.group] = message
        for waiting in self._group_waiters.pop(message.group, []):
            waiting(message)

    def on_group(self, group: bytes, callback: Callable[[m.PlacementGroupUpdate], None]) -> None:
        """Lock held. Call back when a placement group is reserved or removed."""
        state = self._group_states.get(group)
        if state is not None:
            callback(state)
        else:
            self._group_waiters.setdefault(group, []).append(callback)

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
                self._set_inline(entry, serialization.ERROR, error)
            else:
                self._set_inline(entry, 0, _dumps(value, 5))
            if entry.is_shared:
                self._resolve_at_node(object_id, entry)
            if entry.local <= 0:
                entry.local = 1
                self.release(object_id)

        return ref, settle

    def new_id(self) -> bytes:
        return self._prefix + next(self._counter).to_bytes(8, "big")

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
                self.tell_node(m.Goodbye(ends_session))
                self._on_node_gone("the session was shut down (skate.shutdown)")
        self.pump.close()
        self.pump.run_deferred()
        self.node.close()


def rebuild_ref(object_id: bytes) -> Any:
    """What a pickled ref calls where it is unpickled."""
    from skate.engine.client import current

    return current.require().rebuild_ref(object_id)
