"""Who still needs what: the counts of references of one process.

One rule (see `spec/messages.py`): whoever hands a reference to another process adds one to that process's count at the node first; the receiver
gives back all its counts when its last local use ends. `publish` makes an object of ours known to the node, `share` counts it for somebody,
`adopt` takes over counts that came with a value. Everything runs under the client's lock unless it says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skate.engine.client import current
from skate.engine.client.objects import ACTOR, INLINE, PENDING, STORED, Entry
from skate.engine.object_store import serialization
from skate.engine.spec import messages as m
from skate.engine.spec.ids import TASK_ID_BYTES

if TYPE_CHECKING:
    from skate.engine.client.client import Client


class References:
    """Counts of every id this process refers to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.returned_counts: list[tuple[bytes, int]] = []  # Counts to give back with the next round.

    def make_ref(self, object_id: bytes) -> Any:
        entry = self._client.table.get(object_id)
        if entry is None:
            entry = self.borrow(object_id)
            entry.node_count += 1
            self._client.tell_node(m.AddRef(object_id, self._client.client_id))
        entry.local += 1
        return self._client.ref_class(object_id, self._client)

    def borrow(self, object_id: bytes) -> Entry:
        entry = self._client.table[object_id] = Entry(ACTOR if len(object_id) == TASK_ID_BYTES else PENDING, 0, False)
        return entry

    def rebuild_ref(self, object_id: bytes) -> Any:
        """A ref that came inside a value. Lock not held. An object may hold ten thousand: 1.4 µs each, its end included."""
        client = self._client
        with client.lock:
            entry = client.table.get(object_id)
            if entry is None:
                return self.make_ref(object_id)
            entry.local += 1
        return client.ref_class(object_id, client)

    def reduce_ref(self, ref: Any) -> tuple[Any, ...]:
        self.note_travelling(ref._id)
        return rebuild_ref, (ref._id,)

    def note_travelling(self, any_id: bytes) -> None:
        """An id is being pickled. When nobody records it (the user pickles by hand) the object is kept until the session ends."""
        captured = serialization.capture.ids
        if captured is not None:
            captured.append(any_id)
        else:
            with self._client.lock:
                self.publish(any_id)
                entry = self._client.table.get(any_id)
                if entry is not None:
                    entry.local += 1

    def retain(self, any_id: bytes) -> None:
        entry = self._client.table.get(any_id)
        if entry is None:
            entry = self.borrow(any_id)
            entry.node_count += 1
            self._client.tell_node(m.AddRef(any_id, self._client.client_id))
        entry.local += 1

    def release(self, any_id: bytes) -> None:
        """One local use ended."""
        table = self._client.table
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
                self._client.actors.forget(current)
            if entry.node_count:
                self.returned_counts.append((current, entry.node_count))
            if entry.is_fetching and not self._client.death:
                self._client.tell_node(m.CancelFetch(current))
            inner = entry.contains or []
            if task is not None and entry.state == STORED:
                task.lineage_returns -= 1
                if task.lineage_returns == 0:
                    inner = inner + self._client.calls.held_by(task)
            for other in inner:
                inner_entry = table.get(other)
                if inner_entry is not None:
                    inner_entry.local -= 1
                    if inner_entry.local <= 0:
                        pending.append(other)

    def adopt(self, ids: list[bytes]) -> None:
        """Take over one count of each id: the value that contains them is ours now."""
        for any_id in ids:
            entry = self._client.table.get(any_id) or self.borrow(any_id)
            entry.node_count += 1
            entry.local += 1

    def hold_contents(self, entry: Entry, contains: list[bytes]) -> None:
        if contains:
            entry.contains = contains
            for inner in contains:
                self.retain(inner)

    def publish(self, object_id: bytes) -> None:
        """Make an object that we own known to the node, so that others may refer to it."""
        entry = self._client.table.get(object_id)
        if entry is None or not entry.is_owned or entry.is_shared:
            return
        entry.is_shared = True
        entry.node_count += 1
        self._client.tell_node(m.AddRef(object_id, self._client.client_id))
        if entry.state == INLINE:
            self.resolve_at_node(object_id, entry)

    def share(self, any_id: bytes, holder: int | bytes) -> None:
        self.publish(any_id)
        self._client.tell_node(m.AddRef(any_id, holder))

    def resolve_at_node(self, object_id: bytes, entry: Entry) -> None:
        contains = entry.contains or []
        for inner in contains:
            self.publish(inner)
        self._client.tell_node(m.Resolve(object_id, m.Value(entry.kind, entry.data), contains))

    def drain_dropped(self) -> None:
        dropped, table = self._client.dropped, self._client.table
        while dropped:
            any_id = dropped.popleft()
            entry = table.get(any_id)
            if entry is None:
                continue
            if entry.local > 1:
                entry.local -= 1
            elif (
                entry.state == INLINE
                and not entry.node_count
                and entry.contains is None
                and entry.task is None
                and not entry.is_fetching
            ):
                del table[any_id]  # A small value that nobody else knows of: the most common end.
            else:
                self.release(any_id)
        while self._client.dropped_streams:
            self._client.streams.close(self._client.dropped_streams.popleft())
        if self.returned_counts and not self._client.death:
            self._client.tell_node(m.DropRefs(self.returned_counts))
            self.returned_counts = []


def rebuild_ref(object_id: bytes) -> Any:
    """What a pickled ref calls where it is unpickled."""
    client = current._client or current.require()
    return client.references.rebuild_ref(object_id)
