"""The object directory: what exists, who needs it, where it is.

    handle(client, message or event, now_s) ─► commands

It keeps the reference counts (`counts`), one `Entry` for each object with a value, a waiting fetch or a mapping (`entries`), and gives out the arena's
space (`room`, `allocator`, `eviction`). It does no I/O, reads no clock and never raises on what a client says: unknown ids, repeated messages and
messages of clients that are gone are ignored.

Three rules:

    a value lives while its id is held; its range lives on while somebody has it mapped
    a fetch is answered: with the value, or, when it can't be had, with the reason; it waits only while somebody lives who can make the value
    what a dead client held, mapped, waited for or was writing is let go
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.engine.object_store.allocator import pages_of
from skate.engine.object_store.counts import Counts
from skate.engine.object_store.entries import (
    ABSENT,
    INLINE,
    LOST,
    RESTORING,
    SEALED,
    SPILLED,
    SPILLING,
    STATE_NAMES,
    Entry,
)
from skate.engine.object_store.room import CAPACITY_HINT, Request, Room
from skate.engine.spec import events as e, messages as m
from skate.engine.spec.ids import OBJECT_ID_BYTES, TASK_ID_BYTES, owner_of

_DISCARD_BYTES_PER_TICK = 64 << 20  # 6 ms of the node's time.
_DISCARD_PAUSE_S = 0.02


class Directory:
    """The state of all objects of one session."""

    def __init__(self, arena_bytes: int) -> None:
        self._counts = Counts()
        self._entries: dict[bytes, Entry] = {}
        self._room = Room(arena_bytes)
        self._creations: dict[bytes, dict[int, tuple[int, int]]] = {}  # id → {client that writes it: (offset, size)}
        self._requests: dict[tuple[bytes, int], Request] = {}  # Creations that wait for room, by (id, client).
        self._pins: dict[int, dict[bytes, int]] = {}  # client → {id: pins}
        self._waiting: dict[bytes, Entry] = {}  # Entries with waiters.
        self._unsealed: set[bytes] = set()  # Their writer died: the entry is LOST, and stays although nobody may hold it.
        self._moves: dict[bytes, _Move] = {}  # Being spilled or restored, by id.
        self._gone = bytearray()  # 1 for each client number that has ended.
        self._commands: list[e.Command] = []
        self._now_s = 0.0
        self._next_cooling_s = 0.0
        self._handlers: dict[type, Callable[[int, Any], None]] = {
            m.AddRef: self._on_add_ref,
            m.DropRefs: self._on_drop_refs,
            m.Unshare: self._on_unshare,
            m.Resolve: self._on_resolve,
            m.Create: self._on_create,
            m.Seal: self._on_seal,
            m.Abort: self._on_abort,
            m.Fetch: self._on_fetch,
            m.Unpin: self._on_unpin,
            m.CancelFetch: self._on_cancel_fetch,
            m.Free: self._on_free,
            e.AddHolder: self._on_add_ref,
            e.DropHolder: lambda _client, event: self._let_go_all(self._counts.drop_holder(event.holder)),
            e.ClientGone: lambda _client, event: self._on_gone(event.client),
            e.WorkerExited: lambda _client, event: self._on_gone(event.worker),
            e.SpillDone: self._on_spill_done,
            e.RestoreDone: self._on_restore_done,
            e.Tick: lambda _client, _event: None,
        }

    def handle(self, client: int, event: Any, now_s: float) -> list[e.Command]:
        """Take in one message of `client`, or one event, and say what to do."""
        self._now_s = now_s
        if client < len(self._gone) and self._gone[client]:
            return []
        handler = self._handlers.get(type(event))
        if handler is None:
            return []
        handler(client, event)
        room = self._room
        if room.queue:
            room.serve(now_s)
        if room.outcomes or room.spills or room.allocator.discards:
            self._carry_out_room()
        if now_s >= self._next_cooling_s and room.allocator.warm_bytes:
            self._cool()
        commands = self._commands
        if commands:
            self._commands = []
        return commands

    def next_deadline_s(self) -> float | None:
        """When to call `handle` with Tick at the latest."""
        deadline_s = self._room.next_deadline_s()
        cooling_s = self._room.allocator.next_cooling_s()
        if cooling_s is not None:
            cooling_s = max(cooling_s, self._next_cooling_s)
            return cooling_s if deadline_s is None else min(deadline_s, cooling_s)
        return deadline_s

    # ------------------------------------------------------------ references

    def _on_add_ref(self, _client: int, message: m.AddRef | e.AddHolder) -> None:
        holder = message.holder
        if type(holder) is int and holder < len(self._gone) and (holder < 0 or self._gone[holder]):
            return
        self._counts.add(message.id, holder)

    def _on_drop_refs(self, client: int, message: m.DropRefs) -> None:
        take = self._counts.take
        gone = []
        for any_id, count in message.refs:
            if count <= 0 or (self._unsealed and any_id in self._unsealed and self._never_came(any_id, client)):
                continue
            if take(any_id, client, count):
                gone.append(any_id)
        if gone:
            self._let_go_all(gone)

    def _never_came(self, object_id: bytes, client: int) -> bool:
        """An owner that makes a value again first gives back the count which came with the old one. When the writer died before it
        sealed the old one, that count never came."""
        return self._entries[object_id].is_asked and owner_of(object_id) == client

    def _on_unshare(self, _client: int, message: m.Unshare) -> None:
        holder = message.holder
        if type(holder) is int and self._is_gone(holder):
            return
        if self._counts.take(message.id, holder):
            self._let_go_all([message.id])

    def _let_go_all(self, ids: list[bytes]) -> None:
        """These ids are not held any more. What only their values held goes with them."""
        pending = ids
        while pending:
            any_id = pending.pop()
            if self._counts.is_held(any_id):
                continue
            if len(any_id) == TASK_ID_BYTES:
                self._commands.append(e.ActorUnreferenced(any_id))
                continue
            entry = self._entries.get(any_id)
            if entry is not None:
                if entry.state == LOST and (entry.waiters is not None or any_id in self._unsealed):
                    continue  # It is being made again, or may have to be.
                self._drop_value(entry)
                entry.state = ABSENT
                self._forget_if_empty(entry)
            pending.extend(self._counts.drop_holder(any_id))

    def _drop_value(self, entry: Entry) -> None:
        """The value goes; its range as soon as nobody looks at it."""
        state = entry.state
        if state == SEALED:
            self._room.keep(entry)
            if entry.pins:
                if entry.stale_offsets is None:
                    entry.stale_offsets = []
                entry.stale_offsets.append(entry.offset)
            else:
                self._room.free(entry.offset, self._now_s)
        elif state == SPILLING:
            self._moves[entry.id].is_abandoned = True
            if entry.pins:
                self._moves[entry.id].stays_mapped = True
        elif state == RESTORING:
            move = self._moves[entry.id]
            move.is_abandoned = True
            if move.request is not None:  # Still waits for room.
                move.request.is_withdrawn = True
                del self._moves[entry.id]
                self._commands.append(e.DeleteSpill(entry.id))
        elif state == SPILLED:
            self._commands.append(e.DeleteSpill(entry.id))
        entry.value = None
        entry.offset = -1
        entry.contains = []

    def _forget_if_empty(self, entry: Entry) -> None:
        if entry.state == ABSENT and entry.waiters is None and not entry.pins:
            self._entries.pop(entry.id, None)

    # ------------------------------------------------------------ values come

    def _entry(self, object_id: bytes) -> Entry:
        entry = self._entries.get(object_id)
        if entry is None:
            entry = self._entries[object_id] = Entry(object_id)
        return entry

    def _on_resolve(self, _client: int, message: m.Resolve) -> None:
        if len(message.id) != OBJECT_ID_BYTES:
            return
        entry = self._entries.get(message.id)
        if entry is not None and entry.state not in (ABSENT, LOST):
            return
        if entry is None:
            if not self._counts.is_held(message.id):
                return
            entry = self._entry(message.id)
        entry.state = INLINE
        entry.value = message.value
        self._on_value(entry, message.contains)

    def _on_create(self, client: int, message: m.Create) -> None:
        if message.size < 0 or len(message.id) != OBJECT_ID_BYTES:
            self._send(client, m.Created(message.request, -1, f"store_full: {message.size} is not the size of an object"))
            return
        capacity = self._room.allocator.capacity_bytes
        if pages_of(message.size) > capacity:
            self._send(client, m.Created(
                message.request, -1,
                f"store_full: an object of {message.size:,} bytes can never fit in an object store of {capacity:,} bytes; {CAPACITY_HINT}",
            ))  # fmt: skip
            return
        self._abandon_creation(client, message.id)
        request = self._requests[message.id, client] = Request(
            client, message.request, message.id, message.size, None, self._now_s
        )
        self._room.ask(request, self._now_s)

    def _on_abort(self, client: int, message: m.Abort) -> None:
        self._abandon_creation(client, message.id)

    def _abandon_creation(self, client: int, object_id: bytes) -> bool:
        """A client won't seal what it asked room for. True when it had begun to write."""
        request = self._requests.pop((object_id, client), None)
        if request is not None:
            request.is_withdrawn = True
        creation = self._take_creation(client, object_id)
        if creation is None:
            return False
        self._room.free(creation[0], self._now_s)
        return True

    def _take_creation(self, client: int, object_id: bytes) -> tuple[int, int] | None:
        writers = self._creations.get(object_id)
        creation = writers.pop(client, None) if writers is not None else None
        if writers is not None and not writers:
            del self._creations[object_id]
        return creation

    def _on_seal(self, client: int, message: m.Seal) -> None:
        creation = self._take_creation(client, message.id)
        if creation is None:
            return
        offset, size = creation
        holder = message.holder
        if not (type(holder) is int and self._is_gone(holder)):
            self._counts.add(message.id, holder)
        entry = self._entry(message.id)
        if entry.state not in (ABSENT, LOST):
            self._room.free(offset, self._now_s)  # A task that ran twice: the first value counts.
            return
        entry.state = SEALED
        entry.offset = offset
        entry.size = size
        entry.arena_bytes = pages_of(size)
        self._on_value(entry, message.contains)

    def _on_value(self, entry: Entry, contains: list[bytes]) -> None:
        """An object has a value (again): tell who waits."""
        entry.is_asked = False
        entry.lost = ""
        self._unsealed.discard(entry.id)
        if contains:
            entry.contains = contains
            add = self._counts.add
            for inner in contains:
                add(inner, entry.id)
        self._answer_waiters(entry)
        if not self._counts.is_held(entry.id):
            self._let_go_all([entry.id])
        elif entry.state == SEALED and not entry.pins:
            self._make_cold(entry)

    def _make_cold(self, entry: Entry) -> None:
        if entry.id not in self._moves:
            self._room.may_spill(entry)

    # ------------------------------------------------------------ fetching

    def _on_fetch(self, client: int, message: m.Fetch) -> None:
        entry = self._entries.get(message.id)
        if entry is not None:
            state = entry.state
            if state in (INLINE, SEALED, SPILLING):
                self._deliver(entry, client, holds_contents=message.holds_contents)
                return
        else:
            if len(message.id) != OBJECT_ID_BYTES:
                self._send(client, m.Fetched(message.id, None, -1, 0, "lost", f"{message.id.hex()} is not the id of an object"))
                return
            entry = self._entry(message.id)
        if entry.waiters is None:
            entry.waiters = [client]
            self._waiting[entry.id] = entry
        else:
            entry.waiters.append(client)
        if entry.state == SPILLED:
            self._begin_restore(entry)
        else:
            self._look_after(entry)

    def _deliver(self, entry: Entry, client: int, *, holds_contents: bool = False) -> None:
        contains: list[bytes] = [] if holds_contents else entry.contains
        if contains:
            add = self._counts.add
            for inner in contains:
                add(inner, client)
        if entry.state == INLINE:
            self._send(client, m.Fetched(entry.id, entry.value, -1, 0, "", "", contains))
            return
        pins = self._pins.get(client)
        if pins is None:
            pins = self._pins[client] = {}
        pins[entry.id] = pins.get(entry.id, 0) + 1
        if entry.pins == 0:
            self._room.keep(entry)
        entry.pins += 1
        self._send(client, m.Fetched(entry.id, None, entry.offset, entry.size, "", "", contains))

    def _answer_waiters(self, entry: Entry) -> None:
        waiters = entry.waiters
        if waiters is not None:
            self._forget_waiters(entry)
            for client in waiters:
                self._deliver(entry, client)

    def _forget_waiters(self, entry: Entry) -> None:
        entry.waiters = None
        del self._waiting[entry.id]

    def _look_after(self, entry: Entry) -> None:
        """Somebody waits for a value that is not here: it is on its way, or its owner makes it again, or it can't be had."""
        if entry.state not in (ABSENT, LOST) or entry.waiters is None:
            return
        owner = owner_of(entry.id)
        if self._is_gone(owner):
            text = f"the process that owned it (client {owner}) has ended, and its value is not in the object store"
            self._refuse_waiters(entry, "owner_died", f"{text}: {entry.lost}" if entry.lost else text)
        elif entry.state == LOST and not entry.is_asked:
            entry.is_asked = True
            self._send(owner, m.ObjectLost(entry.id))

    def _refuse_waiters(self, entry: Entry, kind: str, text: str) -> None:
        waiters = entry.waiters or []
        self._forget_waiters(entry)
        for client in waiters:
            self._send(client, m.Fetched(entry.id, None, -1, 0, kind, text))
        self._forget_loss(entry)

    def _forget_loss(self, entry: Entry) -> None:
        if entry.state == LOST and entry.id not in self._unsealed and not self._counts.is_held(entry.id):
            entry.state = ABSENT
        self._forget_if_empty(entry)

    def _on_cancel_fetch(self, client: int, message: m.CancelFetch) -> None:
        entry = self._waiting.get(message.id)
        if entry is not None and entry.waiters is not None and client in entry.waiters:
            entry.waiters.remove(client)
            self._on_fewer_waiters(entry)

    def _on_fewer_waiters(self, entry: Entry) -> None:
        if entry.waiters:
            return
        self._forget_waiters(entry)
        if entry.state == RESTORING:
            move = self._moves[entry.id]
            if move.request is not None:  # Nobody wants it back any more.
                move.request.is_withdrawn = True
                del self._moves[entry.id]
                entry.state = SPILLED
        self._forget_loss(entry)

    def _on_unpin(self, client: int, message: m.Unpin) -> None:
        pins = self._pins.get(client)
        if pins is None:
            return
        for object_id in message.ids:
            count = pins.get(object_id, 0)
            if count > 1:
                pins[object_id] = count - 1
            elif count == 1:
                del pins[object_id]
            else:
                continue
            self._unpin(object_id, 1)

    def _unpin(self, object_id: bytes, count: int) -> None:
        entry = self._entries[object_id]
        entry.pins -= count
        if entry.pins:
            return
        self._room.note_movement(self._now_s)
        if entry.stale_offsets is not None:
            for offset in entry.stale_offsets:
                self._room.free(offset, self._now_s)
            entry.stale_offsets = None
        move = self._moves.get(object_id)
        if move is not None:
            move.stays_mapped = False
        if entry.state == SEALED:
            self._make_cold(entry)
        else:
            self._forget_if_empty(entry)

    # ------------------------------------------------------------ values go

    def _on_free(self, _client: int, message: m.Free) -> None:
        for object_id in message.ids:
            entry = self._entries.get(object_id)
            if entry is not None and entry.state not in (ABSENT, LOST):
                self._lose(entry, "it was freed on purpose (internal.free)")

    def _lose(self, entry: Entry, text: str) -> None:
        self._drop_value(entry)
        entry.state = LOST
        entry.lost = text
        self._let_go_all(self._counts.drop_holder(entry.id))
        self._look_after(entry)

    def _on_gone(self, client: int) -> None:
        """A client has ended: let go of everything it had."""
        if client <= 0 or self._is_gone(client):
            return
        if client >= len(self._gone):
            self._gone.extend(bytes(client + 1 - len(self._gone)))
        self._gone[client] = 1
        for object_id in [key[0] for key in self._requests if key[1] == client]:
            self._abandon_creation(client, object_id)
        for object_id in [object_id for object_id, writers in self._creations.items() if client in writers]:
            self._abandon_creation(client, object_id)
            self._note_unsealed(object_id, client)
        for object_id, count in self._pins.pop(client, {}).items():
            self._unpin(object_id, count)
        for entry in list(self._waiting.values()):
            if entry.waiters is not None and client in entry.waiters:
                entry.waiters = [waiter for waiter in entry.waiters if waiter != client]
                self._on_fewer_waiters(entry)
            if owner_of(entry.id) == client:
                self._look_after(entry)
        for object_id in [object_id for object_id in self._unsealed if owner_of(object_id) == client]:
            self._unsealed.discard(object_id)
            if not self._counts.is_held(object_id):
                self._entries[object_id].state = ABSENT
                self._forget_if_empty(self._entries[object_id])
        self._let_go_all(self._counts.drop_holder(client))

    def _note_unsealed(self, object_id: bytes, writer: int) -> None:
        """The writer of a value died. Its owner may have been told already that the value is there, and then has to make it again when somebody
        asks; otherwise it runs the task again by itself."""
        if self._is_gone(owner_of(object_id)):
            return
        entry = self._entry(object_id)
        if entry.state == ABSENT:
            entry.state = LOST
            self._unsealed.add(object_id)
            entry.lost = f"the process that wrote it (client {writer}) died before it was done"
            self._look_after(entry)

    # ------------------------------------------------------------ room, spilling

    def _carry_out_room(self) -> None:
        room = self._room
        self._discard()  # First: one of these ranges may be given out again below.
        outcomes, room.outcomes = room.outcomes, []
        for request, offset, error in outcomes:
            if request.entry is not None:
                self._restore(request.entry, offset, error)
                continue
            del self._requests[request.id, request.client]
            if offset >= 0:
                self._creations.setdefault(request.id, {})[request.client] = (offset, request.size)
            self._send(request.client, m.Created(request.number, offset, error))
        spills, room.spills = room.spills, []
        for entry in spills:
            entry.state = SPILLING
            self._moves[entry.id] = _Move(entry, entry.offset, entry.size, None)
            self._commands.append(e.SpillObject(entry.id, entry.offset, entry.size))

    def _on_spill_done(self, _client: int, event: e.SpillDone) -> None:
        move = self._moves.get(event.id)
        if move is None or move.is_restore:
            return
        del self._moves[event.id]
        entry = move.entry
        self._room.spill_ended(pages_of(move.size), event.error, self._now_s)
        if move.is_abandoned:
            if not event.error:
                self._commands.append(e.DeleteSpill(event.id))
            if move.stays_mapped:
                if entry.stale_offsets is None:
                    entry.stale_offsets = []
                entry.stale_offsets.append(move.offset)
            else:
                self._room.free(move.offset, self._now_s)
            self._after_move(entry)
        elif event.error or entry.pins:
            if not event.error:
                self._commands.append(e.DeleteSpill(event.id))  # Somebody mapped it meanwhile: it stays.
            entry.state = SEALED
            if not entry.pins:
                self._make_cold(entry)
        else:
            entry.state = SPILLED
            entry.offset = -1
            self._room.free(move.offset, self._now_s)

    def _begin_restore(self, entry: Entry) -> None:
        entry.state = RESTORING
        request = Request(0, 0, entry.id, entry.size, entry, self._now_s)
        self._moves[entry.id] = _Move(entry, -1, entry.size, request)
        self._room.ask(request, self._now_s)

    def _restore(self, entry: Entry, offset: int, error: str) -> None:
        if offset < 0:  # It stays on disk; whoever asks again waits again.
            del self._moves[entry.id]
            entry.state = SPILLED
            self._refuse_waiters(entry, "lost", error)
            return
        move = self._moves[entry.id]
        move.request = None
        move.offset = offset
        self._commands.append(e.RestoreObject(entry.id, offset, entry.size))

    def _on_restore_done(self, _client: int, event: e.RestoreDone) -> None:
        move = self._moves.get(event.id)
        if move is None or not move.is_restore or move.request is not None:
            return
        del self._moves[event.id]
        self._commands.append(e.DeleteSpill(event.id))
        entry = move.entry
        if move.is_abandoned:
            self._room.free(move.offset, self._now_s)
            self._after_move(entry)
        elif event.error:
            self._room.free(move.offset, self._now_s)
            entry.state = LOST  # Before `_lose`: there is neither a range nor a file to drop.
            self._lose(entry, f"it was spilled to disk and could not be read back: {event.error}")
        else:
            entry.state = SEALED
            entry.offset = move.offset
            self._answer_waiters(entry)
            if not entry.pins:
                self._make_cold(entry)

    def _after_move(self, entry: Entry) -> None:
        """What an entry could not do while an old copy of it was moving."""
        current = self._entries.get(entry.id)
        if current is not None and current.state == SEALED and not current.pins:
            self._make_cold(current)

    def _cool(self) -> None:
        allocator = self._room.allocator
        allocator.cool(self._now_s, _DISCARD_BYTES_PER_TICK)
        self._next_cooling_s = self._now_s + _DISCARD_PAUSE_S
        self._discard()

    def _discard(self) -> None:
        allocator = self._room.allocator
        for offset, size in allocator.take_discards():
            self._commands.append(e.DiscardRange(offset, size))

    # ------------------------------------------------------------ small things

    def _send(self, client: int, message: m.Message) -> None:
        self._commands.append(e.Send(client, message))

    def _is_gone(self, client: int) -> bool:
        return client < 0 or (client < len(self._gone) and bool(self._gone[client]))

    # ------------------------------------------------------------ state, for people

    def describe(self, what: str) -> Any:
        """ "objects": one row for each that is held or has a value. "summary": totals."""
        return self._describe_objects() if what == "objects" else self._describe_summary()

    def _describe_objects(self) -> list[dict[str, Any]]:
        rows = []
        held = self._counts.holders()
        for object_id in dict.fromkeys([*held, *self._entries]):
            if len(object_id) != OBJECT_ID_BYTES:
                continue
            entry = self._entries.get(object_id) or Entry(object_id)
            holders = held.get(object_id, {})
            rows.append({
                "object_id": object_id.hex(),
                "size_bytes": len(entry.value.data) if entry.value is not None else entry.size,
                "state": STATE_NAMES[entry.state],
                "owner": owner_of(object_id),
                "reference_count": sum(count for count in holders.values() if count > 0),
                "holders": [holder if isinstance(holder, int) else holder.hex() for holder, n in holders.items() if n > 0],
                "pins": entry.pins,
                "is_spilled": entry.state in (SPILLED, RESTORING),
            })  # fmt: skip
        return rows

    def _describe_summary(self) -> dict[str, Any]:
        entries = self._entries.values()
        allocator = self._room.allocator
        spilled = [entry.size for entry in entries if entry.state in (SPILLED, RESTORING)]
        return {
            "objects": sum(1 for entry in entries if entry.state not in (ABSENT, LOST)),
            "ids_held": len(self._counts),
            "capacity_bytes": allocator.capacity_bytes,
            "used_bytes": allocator.allocated_bytes,
            "warm_bytes": allocator.warm_bytes,
            "pinned_bytes": sum(entry.size for entry in entries if entry.pins),
            "inline_bytes": sum(len(entry.value.data) for entry in entries if entry.value is not None),
            "spilled_objects": len(spilled),
            "spilled_bytes": sum(spilled),
            "waiting_fetches": sum(len(entry.waiters or ()) for entry in self._waiting.values()),
            "waiting_creations": len(self._requests),
        }


class _Move:
    """One object on its way to disk or back. `request`: it still waits for room to come back to."""

    __slots__ = ("entry", "is_abandoned", "is_restore", "offset", "request", "size", "stays_mapped")

    def __init__(self, entry: Entry, offset: int, size: int, request: Request | None) -> None:
        self.entry = entry
        self.offset = offset
        self.size = size
        self.request = request
        self.is_restore = request is not None
        self.is_abandoned = False  # The value was dropped meanwhile: free the range when the move ends.
        self.stays_mapped = False  # … but only when the mappings of it have gone.
