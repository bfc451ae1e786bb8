"""Room: who gets space in the arena when, and which objects go to disk for it.

    ask ─► queue ─► granted                     the head of the queue gets the next room; objects nobody has mapped are spilled for it
              └───► refused                     nothing moved for long, or the disk is full

First come, first served, except that a request that fits may pass one that does not, while that one is new (OVERTAKE_WITHIN_S) or nothing else
moves: the one behind may be what the mappings in front wait for. A value that comes back from disk goes beyond the capacity of the
store (see `allocator`) rather than be refused.

Pure. Answers are collected in `outcomes` and `spills`; the directory takes them and does the rest. Sizes are bytes.
"""

from __future__ import annotations

from collections import deque

from skate.engine.object_store.allocator import Allocator, pages_of
from skate.engine.object_store.entries import Entry
from skate.engine.object_store.eviction import choose_victims

OVERTAKE_WITHIN_S = 1.0
CREATE_PATIENCE_S = 10.0  # A creation fails after this long without any movement in the store …
CREATE_WAIT_MAX_S = 60.0  # … and after this long in any case, unless something is being spilled.
RESTORE_PATIENCE_S = 1.0  # After this long without movement a value comes back beyond the capacity.
CAPACITY_HINT = "raise object_store_memory in init(), or drop ObjectRefs and arrays no longer needed"


class Request:
    """Somebody wants room: a client for a new object, or (`entry`) the store for one that comes back."""

    __slots__ = ("asked_s", "client", "entry", "id", "is_withdrawn", "number", "size")

    def __init__(self, client: int, number: int, object_id: bytes, size: int, entry: Entry | None, asked_s: float) -> None:
        self.client = client
        self.number = number
        self.id = object_id
        self.size = size
        self.entry = entry
        self.asked_s = asked_s
        self.is_withdrawn = False


class Room:
    """The space of one arena."""

    def __init__(self, capacity_bytes: int) -> None:
        self.allocator = Allocator(capacity_bytes)
        self._cold: dict[bytes, Entry] = {}  # Sealed, in the arena, mapped by nobody, not moving; coldest first.
        self._cold_bytes = 0
        self.queue: deque[Request] = deque()
        self.outcomes: list[tuple[Request, int, str]] = []  # (request, offset, "") or (request, -1, why not)
        self.spills: list[Entry] = []  # To be copied to disk; `spill_ended` for each.
        self.spilling_bytes = 0
        self._spill_error = ""  # Of the last spill; "" after it was told to somebody.
        self._moved_s = 0.0  # When something last moved: a range was freed, a mapping went, a spill ended.
        self._overtaken_s = 0.0  # When overtaking was last tried.
        self._tried_beyond_s = -1.0  # When a value that wants to come back last found no room beyond the capacity either.

    def ask(self, request: Request, now_s: float) -> None:
        self.queue.append(request)
        self.serve(now_s)

    def free(self, offset: int, now_s: float) -> None:
        self._moved_s = now_s
        self.allocator.free(offset, now_s)

    def note_movement(self, now_s: float) -> None:
        self._moved_s = now_s

    def may_spill(self, entry: Entry) -> None:
        """Nobody has it mapped: it may go to disk when room is needed."""
        if entry.id not in self._cold:
            self._cold[entry.id] = entry
            self._cold_bytes += entry.arena_bytes

    def keep(self, entry: Entry) -> None:
        """It may not: somebody maps it, or it goes."""
        if self._cold.pop(entry.id, None) is not None:
            self._cold_bytes -= entry.arena_bytes

    def spill_ended(self, arena_bytes: int, error: str, now_s: float) -> None:
        """A spill is over; the caller frees the range, or calls `may_spill` again."""
        self.spilling_bytes -= arena_bytes
        self._moved_s = now_s
        if error:
            self._spill_error = error

    # ------------------------------------------------------------ serving

    def serve(self, now_s: float) -> None:
        """Give room to whoever can have it; start spilling for the first that cannot."""
        queue = self.queue
        while queue:
            head = queue[0]
            if head.is_withdrawn:
                queue.popleft()
                continue
            offset = self.allocator.allocate(head.size)
            if offset >= 0:
                queue.popleft()
                self._spill_error = ""
                self.outcomes.append((head, offset, ""))
                continue
            why = ""
            if self.spilling_bytes == 0 and self._spill_error:
                why, self._spill_error = f"out_of_disk: {self._spill_error}", ""
            elif not self._spill_for(head) and self.spilling_bytes == 0 and now_s >= self._patience_ends(head):
                why = self._why_full(head, now_s)
            if not why or not self._give_up(head, why, now_s):
                break
        self._let_others_pass(now_s)

    def next_deadline_s(self) -> float | None:
        if not self.queue:
            return None
        head = self.queue[0]
        if self.spilling_bytes:
            return None  # Its end is an event.
        deadline_s = self._patience_ends(head)
        if deadline_s <= self._tried_beyond_s:
            deadline_s = self._last_call_of(head)
        if len(self.queue) > 1 and self.allocator.room_bytes > 0:
            overtake_s = max(head.asked_s, self._moved_s) + OVERTAKE_WITHIN_S
            if overtake_s > self._overtaken_s:
                return min(deadline_s, overtake_s)
        return deadline_s

    def _let_others_pass(self, now_s: float) -> None:
        queue = self.queue
        if len(queue) < 2 or self.allocator.room_bytes <= 0:
            return
        head = queue[0]
        if now_s >= head.asked_s + OVERTAKE_WITHIN_S and now_s < self._moved_s + OVERTAKE_WITHIN_S:
            return  # Things move: the head has waited long enough for its turn.
        self._overtaken_s = now_s
        passed: list[Request] = []
        for request in list(queue)[1:]:
            if request.is_withdrawn:
                passed.append(request)
            elif pages_of(request.size) <= self.allocator.room_bytes:
                offset = self.allocator.allocate(request.size)
                if offset >= 0:
                    self.outcomes.append((request, offset, ""))
                    passed.append(request)
        if passed:
            gone = set(map(id, passed))
            self.queue = deque(request for request in queue if id(request) not in gone)

    def _spill_for(self, head: Request) -> bool:
        """Start spilling what `head` lacks. False when nothing is on its way to help it."""
        lacking = pages_of(head.size) - self.allocator.room_bytes - self.spilling_bytes
        if lacking <= 0:
            if self.spilling_bytes:
                return True
            lacking = pages_of(head.size)  # There is room enough, but not in one piece.
        victims = choose_victims(self._cold.values(), lacking) if self._cold_bytes >= lacking else []
        for victim in victims:
            self.keep(victim)
            self.spilling_bytes += victim.arena_bytes
            self.spills.append(victim)
        return bool(victims)

    # ------------------------------------------------------------ giving up

    def _patience_ends(self, request: Request) -> float:
        """When to stop waiting for room within the capacity."""
        if request.entry is None:
            return self._last_call_of(request)
        since_s = max(request.asked_s, self._moved_s)
        return min(since_s + RESTORE_PATIENCE_S, request.asked_s + CREATE_PATIENCE_S)

    def _last_call_of(self, request: Request) -> float:
        """When to refuse it."""
        return min(max(request.asked_s, self._moved_s) + CREATE_PATIENCE_S, request.asked_s + CREATE_WAIT_MAX_S)

    def _give_up(self, head: Request, error: str, now_s: float) -> bool:
        """Refuse a creation; let a value come back beyond the capacity. False when even that is full and it has to wait on."""
        offset = -1
        if head.entry is not None:
            offset = self.allocator.allocate(head.size, beyond=True)
            if offset < 0 and now_s < self._last_call_of(head):
                self._tried_beyond_s = now_s
                return False
        self.queue.popleft()
        self.outcomes.append((head, offset, "" if offset >= 0 else error))
        return True

    def _why_full(self, head: Request, now_s: float) -> str:
        allocator = self.allocator
        in_use = allocator.allocated_bytes - self._cold_bytes
        return (
            f"store_full: cannot make room for {head.size:,} bytes within {now_s - head.asked_s:.0f} s: {in_use:,} of "
            f"{allocator.capacity_bytes:,} bytes are pinned by arrays in use or being written, and {self._cold_bytes:,} bytes could be spilled; "
            f"{CAPACITY_HINT}"
        )
