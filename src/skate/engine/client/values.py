"""Values: put, get, wait, and the way of a value into and out of the arena.

User code (pickling, unpickling, callbacks) never runs under the client's lock; methods that need it say "lock held".
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pickle import PicklingError
from time import time_ns
from typing import TYPE_CHECKING, Any

from skate.config import INLINE_BYTES_MAX
from skate.engine.client import errors
from skate.engine.client.objects import INLINE, PENDING, STORED, Entry, Waiter
from skate.engine.object_store import serialization
from skate.engine.object_store.serialization import Packed, pack, unpack, unpack_stored
from skate.engine.spec import messages as m
from skate.engine.spec.ids import PUT_INDEX

if TYPE_CHECKING:
    from types import FrameType

    from skate.engine.client.client import Client

_monotonic = time.monotonic
_CALL_SITE_FRAMES_MAX = 30
_dumps = serialization._dumps
_loads = serialization._loads
_BY_CONTENT = serialization._BY_CONTENT
_DROPPED_MAX = 256  # Refs that may wait to be given back while a program waits for one result after the other.


class Values:
    """What this process knows of values, and what it asks for."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.unpins: deque[bytes] = deque()  # Pins to give back with the next round; appended by finalizers, in any thread.

    def put(self, value: Any) -> Any:
        """Store a value; returns its ref."""
        if type(value) in _BY_CONTENT:
            object_id = self._client.prefix + next(self._client.counter).to_bytes(8, "big") + PUT_INDEX
            data = _dumps(value, 5)
            if len(data) > INLINE_BYTES_MAX:
                return self.put_packed(Packed(serialization.VALUE, [data], len(data), []))
            entry = Entry(INLINE, 1, True)
            entry.data = data
            self._client.table[object_id] = entry
            if self._client.dropped:
                self._client.housekeep()
            return self._client.ref_class(object_id, self._client)
        try:
            packed = pack(value)
        except (TypeError, PicklingError) as error:
            from skate.engine.object_store.unpicklable import explain_value

            raise type(error)(explain_value(value, error)) from error
        return self.put_packed(packed)

    def put_packed(self, packed: Packed) -> Any:
        object_id = self._client.prefix + next(self._client.counter).to_bytes(8, "big") + PUT_INDEX
        if packed.size <= INLINE_BYTES_MAX:
            entry = Entry(INLINE, 1, True)
            entry.kind = packed.kind
            entry.data = packed.data()
            with self._client.lock:
                self._client.references.hold_contents(entry, packed.contains)
                self._client.table[object_id] = entry
                self._client.after_round()
            return self._client.ref_class(object_id, self._client)
        self._client.housekeep()
        self.store(object_id, packed, self._client.client_id)
        with self._client.lock:
            entry = Entry(STORED, 1, True)
            entry.is_shared = True
            entry.node_count = 1
            self._client.references.hold_contents(entry, packed.contains)
            self._client.table[object_id] = entry
        return self._client.ref_class(object_id, self._client)

    def store(self, object_id: bytes, packed: Packed, holder: int | bytes) -> None:
        """Write a value into the arena and seal it. Lock not held.

        Raises:
            ObjectStoreFullError, OutOfDiskError: There is no room and none can be made.
        """
        start_ns = time_ns()
        created = self._client.ask(m.Create(0, object_id, packed.stored_size()))
        if created.offset < 0:
            raise errors.store_full(created.error)
        try:
            self._client.arena.write(created.offset, packed.stored_parts())
        except BaseException:
            with self._client.lock:
                self._client.tell_node(m.Abort(object_id))
            raise
        with self._client.lock:
            for inner in packed.contains:
                self._client.references.publish(inner)
            self._client.tell_node(m.Seal(object_id, holder, packed.contains))
        site = _call_site()
        self._client.trail.packed(site or "what a task returned", "value" if site else "result", packed.size, start_ns)

    def get(self, refs: Sequence[Any], timeout_s: float | None) -> list[Any]:
        """The values, in order.

        Raises:
            GetTimeoutError, or the first error among the values in the order of `refs`.
        """
        table = self._client.table
        try:
            entries = [table[ref._id] for ref in refs]
        except KeyError:
            raise errors.foreign_ref() from None
        for entry in entries:
            if entry.state != INLINE:
                return self._get_slowly(refs, entries, timeout_s)
        if self._client.dropped:
            self._client.housekeep()
        return [_loads(entry.data) if entry.kind == 0 else self.unpack_entry(entry) for entry in entries]

    def _get_slowly(self, refs: Sequence[Any], entries: list[Entry], timeout_s: float | None) -> list[Any]:
        deadline_s = None if timeout_s is None else _monotonic() + timeout_s
        with self._client.lock:
            self._client.submission.dispatch_all()
            self._client.actors.send_all()
            self._client.after_round()
        values: list[Any] = []
        # A store smaller than all the values together can still serve them one after another: fetch a few ahead.
        while True:
            waiter = self._fetch_missing(refs, entries)
            if waiter is None:
                break
            left_s = None if deadline_s is None else max(0.0, deadline_s - _monotonic())
            if not self._client.wait_for(waiter, left_s):
                self._forget_waiter(entries, waiter.notify)
                missing = [ref for ref, entry in zip(refs, entries, strict=True) if not entry.has_value()]
                raise errors.get_timeout(timeout_s, missing, [self._client.table.get(ref._id) for ref in missing])
            if any(entry.state == INLINE and entry.kind == serialization.ERROR for entry in entries):
                self._forget_waiter(entries, waiter.notify)
                break
        if all(entry.state == INLINE and entry.kind == serialization.VALUE for entry in entries):
            return [_loads(entry.data) for entry in entries]
        try:
            for entry in entries:
                if entry.has_value():
                    values.append(self.unpack_entry(entry))
                elif entry.state != PENDING or not any(e.state == INLINE and e.kind == serialization.ERROR for e in entries):
                    return self._get_slowly(refs, entries, None if deadline_s is None else max(0.0, deadline_s - _monotonic()))
            return values
        finally:
            for entry in entries:
                entry.let_view_go()

    def _fetch_missing(self, refs: Sequence[Any], entries: list[Entry]) -> Waiter | None:
        """Ask for every value that is not here; a waiter for them, or None when all are here."""
        with self._client.lock:
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
            if self._client.death:
                error = errors.node_died(self._client.death)
                for _ref, entry in missing:
                    self.set_inline(entry, serialization.ERROR, error)
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

    def split_ready(self, refs: list[Any], num_returns: int) -> tuple[list[Any], list[Any]] | None:
        """What `wait` answers when enough of the refs are ready at once; None when it has to wait, or to look more closely.

        Looks no further than needed: a loop that takes one of a thousand refs at a time costs microseconds a turn.
        """
        table = self._client.table
        found = []
        try:
            for index, ref in enumerate(refs):
                if table[ref._id].state:
                    found.append(index)
                    if len(found) == num_returns:
                        break
            else:
                return None
        except (KeyError, AttributeError):
            return None
        if len(self._client.dropped) > _DROPPED_MAX:
            self._client.housekeep()
        if found[-1] == num_returns - 1:
            return refs[:num_returns], refs[num_returns:]
        chosen = set(found)
        return [refs[index] for index in found], [ref for index, ref in enumerate(refs) if index not in chosen]

    def wait(self, refs: Sequence[Any], num_returns: int, timeout_s: float | None) -> tuple[list[Any], list[Any]]:
        """Split refs into at most `num_returns` ready ones and the rest, both in the order given."""
        client = self._client
        table = client.table
        try:
            entries = [table[ref._id] for ref in refs]
        except KeyError:
            raise errors.foreign_ref() from None
        if sum(1 for entry in entries if entry.state) < num_returns:
            client.flush()
            waiter = Waiter(num_returns)
            notify = waiter.notify
            with client.lock:
                for ref, entry in zip(refs, entries, strict=True):
                    if entry.state != PENDING:
                        notify()
                        continue
                    if not entry.is_owned and not client.death:
                        self.fetch(ref._id, entry)
                    if entry.waiters is None:
                        entry.waiters = [notify]
                    else:
                        entry.waiters.append(notify)
            if not waiter.is_done:
                if timeout_s == 0:
                    client.pump.poll_now()
                else:
                    client.wait_for(waiter, timeout_s)
            self._forget_waiter(entries, notify)
            for entry in entries:
                if entry.view is not None:
                    entry.let_view_go()
        elif client.dropped:
            client.housekeep()
        ready: list[Any] = []
        rest: list[Any] = []
        for ref, entry in zip(refs, entries, strict=True):
            (ready if entry.state and len(ready) < num_returns else rest).append(ref)
        return ready, rest

    def add_done_callback(self, ref: Any, callback: Callable[[Any, BaseException | None], None]) -> None:
        """Call back with the value or the error, in whichever thread gets it. Lock not held."""
        object_id = ref._id

        def deliver() -> None:
            entry = self._client.table.get(object_id)
            if entry is None:
                callback(None, errors.foreign_ref())
                return
            try:
                value = self.unpack_entry(entry)
            except BaseException as error:
                callback(None, error)
            else:
                callback(value, None)
            finally:
                entry.let_view_go()

        def on_news(entry: Entry) -> None:  # Lock held.
            if entry.has_value():
                self._client.pump.deferred.append(deliver)
            else:
                if entry.waiters is None:
                    entry.waiters = []
                entry.waiters.append(on_news)
                if entry.state == STORED or not entry.is_owned:
                    self.fetch(object_id, entry)

        with self._client.lock:
            entry = self._client.table.get(object_id)
            if entry is None:
                raise errors.foreign_ref()
            self._client.submission.dispatch_all()
            self._client.actors.send_all()
            self._client.pump.start_background()
            view = entry.live_view()
            if view is not None:
                entry.view = view
            on_news(entry)
            ready = bool(self._client.pump.deferred)
        if ready:
            self._client.pump.run_deferred()

    def _forget_waiter(self, entries: list[Entry], notify: Callable[[Entry], Any]) -> None:
        with self._client.lock:
            for entry in entries:
                if entry.waiters is not None and notify in entry.waiters:
                    entry.waiters.remove(notify)

    def fetch(self, object_id: bytes, entry: Entry) -> None:
        """Ask the node for a value. Lock held."""
        if not entry.is_fetching:
            entry.is_fetching = True
            self._client.tell_node(m.Fetch(object_id, entry.contains is not None))

    def on_fetched(self, message: m.Fetched) -> None:
        entry = self._client.table.get(message.id)
        if entry is None or (entry.state == INLINE and not entry.is_fetching):
            # Nobody waits any more: give everything back.
            if message.offset >= 0:
                self.unpins.append(message.id)
            self._client.references.returned_counts.extend((inner, 1) for inner in message.contains)
            return
        entry.is_fetching = False
        if message.contains:
            if entry.contains is None:
                entry.contains = message.contains
                self._client.references.adopt(message.contains)
            else:
                self._client.references.returned_counts.extend((inner, 1) for inner in message.contains)
        if message.value is not None:
            self.set_inline(entry, message.value.kind, message.value.data)
        elif message.offset >= 0:
            unpins = self.unpins
            object_id = message.id
            entry.view = self._client.arena.pin_map(message.offset, message.size, lambda: unpins.append(object_id))
            self.set_stored(entry)
        else:
            self.set_inline(entry, serialization.ERROR, errors.object_lost(message))

    def drain_unpins(self) -> None:
        ids = []
        while self.unpins:
            ids.append(self.unpins.popleft())
        if not self._client.death:
            self._client.tell_node(m.Unpin(ids))

    def unpack_entry(self, entry: Entry) -> Any:
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

    def set_inline(self, entry: Entry, kind: int, data: bytes) -> None:
        """Lock held. The value is here: wake who waits."""
        entry.kind = kind
        entry.data = data
        entry.state = INLINE
        waiters = entry.waiters
        if waiters is not None:
            entry.waiters = None
            for waiter in waiters:
                waiter(entry)

    def set_stored(self, entry: Entry) -> None:
        entry.state = STORED
        waiters = entry.waiters
        if waiters is not None:
            entry.waiters = None
            for waiter in waiters:
                waiter(entry)


def _call_site() -> str:
    """The line of the user's program that is being carried out, as `app.py:12`; "" when there is none on the stack."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_CALL_SITE_FRAMES_MAX):
        if frame is None:
            return ""
        if not errors.is_engine_frame(frame.f_code.co_filename):
            name = os.path.basename(frame.f_code.co_filename)
            return "" if name.startswith(("<frozen", "<string")) or name == "threading.py" else f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
