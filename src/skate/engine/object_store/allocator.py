"""The allocator: which ranges of the arena are taken, which are free, and which of the free ones still have memory behind them.

First-touch page faults, not copying, are what makes a store slow, so a freed range stays *warm* (its pages are kept) for `WARM_KEEP_S` and is handed out
before *cold* space: best fit, and of equal sizes the one freed last. Warm and taken bytes together stay within the capacity: cold space
is only handed out after as much warm memory went back to the machine. Neighbouring free ranges of the same warmth are merged.

The span of offsets is larger than the capacity (see `span_of`): address space costs nothing in a sparse file, holes between objects matter less, and
a value can come back from disk while the disk is full and the store too (`beyond=True`).

Pure: no I/O and no clock. Sizes and offsets are bytes, multiples of PAGE_BYTES.
"""

from __future__ import annotations

from bisect import bisect_left, insort

PAGE_BYTES = 4096
WARM_KEEP_S = 5.0
_SPAN_FACTOR = 2


def span_of(capacity_bytes: int) -> int:
    """How long an arena of this capacity is."""
    return _SPAN_FACTOR * pages_of(capacity_bytes)


def pages_of(size_bytes: int) -> int:
    """Rounded up to whole pages, at least one."""
    return max(PAGE_BYTES, -(-size_bytes // PAGE_BYTES) * PAGE_BYTES)


class Allocator:
    """Ranges of one arena."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes // PAGE_BYTES * PAGE_BYTES
        self.span_bytes = span_of(capacity_bytes)
        self.allocated_bytes = 0
        self._taken: dict[int, int] = {}  # offset → size
        self._warm = FreeRanges()
        self._cold = FreeRanges()
        self._cold.add(0, self.span_bytes, 0.0)
        self.discards: list[tuple[int, int]] = []  # Their memory has to be given back now.

    @property
    def room_bytes(self) -> int:
        """What may still be taken; below zero after allocations beyond the capacity."""
        return self.capacity_bytes - self.allocated_bytes

    @property
    def warm_bytes(self) -> int:
        return self._warm.total_bytes

    def allocate(self, size_bytes: int, *, beyond: bool = False) -> int:
        """The offset of a range that is now taken; -1 when there is no room. `beyond`: the capacity does not count, only the span."""
        size = pages_of(size_bytes)
        if size > self.room_bytes and not beyond:
            return -1
        offset = self._warm.take(size)
        if offset < 0:
            offset = self._take_cold(size)
            if offset < 0:
                return -1
        self._taken[offset] = size
        self.allocated_bytes += size
        self._trim_warm()
        return offset

    def free(self, offset: int, now_s: float) -> None:
        size = self._taken.pop(offset)
        self.allocated_bytes -= size
        self._warm.add(offset, size, now_s)
        self._trim_warm()  # Only what was taken beyond the capacity can be too much.

    def take_discards(self) -> list[tuple[int, int]]:
        """`discards` since the last call. They must be carried out before a range that was allocated since is used."""
        discards, self.discards = self.discards, []
        return discards

    def cool(self, now_s: float, bytes_max: int) -> None:
        """Give up warm ranges that nobody took for WARM_KEEP_S, at most about `bytes_max` at once: punching holes takes time."""
        while bytes_max > 0 and (due_s := self.next_cooling_s()) is not None and due_s <= now_s:
            bytes_max -= self._discard_oldest(bytes_max)

    def next_cooling_s(self) -> float | None:
        oldest_s = self._warm.oldest_s()
        return None if oldest_s is None else oldest_s + WARM_KEEP_S

    def _trim_warm(self) -> None:
        """Taken and warm memory together stay within the capacity."""
        while self._warm.total_bytes > max(0, self.room_bytes):
            self._discard_oldest(self._warm.total_bytes - max(0, self.room_bytes))

    def _take_cold(self, size: int) -> int:
        while (offset := self._cold.take(size)) < 0:
            if not self._warm.total_bytes:
                return -1
            self._discard_oldest(self._warm.total_bytes)
        return offset

    def _discard_oldest(self, bytes_max: int) -> int:
        """Let the oldest warm range, or a part of it, go cold; returns its bytes."""
        offset, size = self._warm.take_oldest(pages_of(bytes_max))
        self._cold.add(offset, size, 0.0)
        self.discards.append((offset, size))
        return size


class FreeRanges:
    """Free ranges that never touch each other: found by size (smallest that fits, then youngest), by place (to merge) and by age."""

    def __init__(self) -> None:
        self._by_start: dict[int, tuple[int, int, float]] = {}  # start → (size, stamp, freed_s); in the order of stamps
        self._by_end: dict[int, int] = {}  # end → start
        self._by_size: list[tuple[int, int, int]] = []  # (size, -stamp, start), sorted
        self._stamp = 0
        self.total_bytes = 0

    def __len__(self) -> int:
        return len(self._by_start)

    def add(self, start: int, size: int, freed_s: float) -> None:
        end = start + size
        self.total_bytes += size
        before = self._by_end.get(start)
        if before is not None:
            start = before
            size += self._remove(before)[0]
        if end in self._by_start:
            size += self._remove(end)[0]
        self._stamp += 1
        self._insert(start, size, self._stamp, freed_s)

    def take(self, size: int) -> int:
        """Take `size` bytes out of the best range; -1 when none is large enough."""
        index = bisect_left(self._by_size, (size,))
        if index == len(self._by_size):
            return -1
        _size, stamp, start = self._by_size[index]
        found, _stamp, freed_s = self._remove(start)
        if found > size:
            self._insert(start + size, found - size, -stamp, freed_s)
        self.total_bytes -= size
        return start

    def take_oldest(self, bytes_max: int) -> tuple[int, int]:
        """(start, size) of the oldest range, or of its first `bytes_max` bytes."""
        start = next(iter(self._by_start))
        size, stamp, freed_s = self._remove(start)
        if size > bytes_max:
            self._insert(start + bytes_max, size - bytes_max, stamp, freed_s)
            size = bytes_max
        self.total_bytes -= size
        return start, size

    def oldest_s(self) -> float | None:
        for _size, _stamp, freed_s in self._by_start.values():
            return freed_s
        return None

    def _insert(self, start: int, size: int, stamp: int, freed_s: float) -> None:
        self._by_start[start] = (size, stamp, freed_s)
        self._by_end[start + size] = start
        insort(self._by_size, (size, -stamp, start))

    def _remove(self, start: int) -> tuple[int, int, float]:
        size, stamp, freed_s = self._by_start.pop(start)
        del self._by_end[start + size]
        del self._by_size[bisect_left(self._by_size, (size, -stamp, start))]
        return size, stamp, freed_s
