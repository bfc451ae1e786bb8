"""The object table of one process: what it knows of every object (and actor handle) it refers to.

    PENDING ──────► INLINE   the value (or error) is here, in `data`
       └──────────► STORED   the value lies in the arena; `view` while it is mapped here, the node tells the place on Fetch

An entry lives while `local` is above zero: handles of user code, plus one for each unfinished task that needs the object and for each value
here that contains it. `node_count` is what the node has counted for this process; it is given back when the entry goes.
Everything here runs under the client's lock.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from skate.engine.client.tasks import Task

PENDING, INLINE, STORED, ACTOR = 0, 1, 2, 3


# A Struct that the garbage collector does not track: a million queued tasks make two million of these, and no cycle leads through them.
# Construction takes 0.19 µs instead of 0.45 (measured beside the same class with slots), and no collection walks over them.
class Entry(msgspec.Struct, gc=False, eq=False):
    """One object. `waiters` are called once, under the lock, when the entry leaves PENDING or its fetch is answered."""

    state: int
    local: int
    is_owned: bool
    task: Task | None = None  # What makes it, or can make it again (lineage).
    node_count: int = 0
    is_shared: bool = False  # Owned entries: the node knows of it.
    kind: int = 0
    data: bytes = b""
    contains: list[bytes] | None = None
    waiters: list[Callable[[Entry], Any]] | None = None
    is_fetching: bool = False
    view: memoryview | None = None  # Strong only between the fetch and the readers' unpacking.
    mapping: weakref.ref[Any] | None = None  # The mapping that user values still look at.

    def has_value(self) -> bool:
        return self.state == INLINE or self.live_view() is not None

    def live_view(self) -> memoryview | None:
        if self.view is not None:
            return self.view
        if self.mapping is not None and (mapping := self.mapping()) is not None:
            return memoryview(mapping).toreadonly()
        return None

    def let_view_go(self) -> None:
        """Keep the mapping only as long as somebody's arrays do."""
        if self.view is not None:
            self.mapping = weakref.ref(self.view.obj) if not isinstance(self.view.obj, bytes) else None
            self.view = None


class Waiter:
    """Counts down to the moment a waiting thread may go on."""

    __slots__ = ("is_done", "leads", "lock", "needed", "stops_at_error")

    def __init__(self, needed: int, *, stops_at_error: bool = False) -> None:
        self.needed = needed
        self.is_done = needed <= 0
        self.stops_at_error = stops_at_error
        self.lock: Any = None  # A held lock, when the thread waits for another one that reads the sockets.
        self.leads = False  # Its thread is the one that reads the sockets.

    def notify(self, entry: Entry | None = None) -> None:
        self.needed -= 1
        if self.needed <= 0 or (self.stops_at_error and entry is not None and entry.state == INLINE and entry.kind == 2):
            self.finish()

    def finish(self) -> None:
        if not self.is_done:
            self.is_done = True
            if self.lock is not None and self.lock.locked():  # Unlocked: it was just promoted, and wakes anyway.
                self.lock.release()
