"""Ranges of the arena: nothing overlaps, nothing is lost, and memory that is there already is used first."""

from __future__ import annotations

import itertools

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.engine.object_store.allocator import PAGE_BYTES, WARM_KEEP_S, Allocator, pages_of

MB = 1 << 20


def test_the_range_freed_last_is_handed_out_first() -> None:
    allocator = Allocator(16 * MB)
    ranges = [allocator.allocate(MB) for _ in range(6)]
    allocator.free(ranges[0], 1.0)
    allocator.free(ranges[4], 2.0)
    allocator.free(ranges[2], 3.0)

    assert [allocator.allocate(MB) for _ in range(3)] == [ranges[2], ranges[4], ranges[0]]


def test_warm_memory_is_preferred_to_untouched_space() -> None:
    allocator = Allocator(16 * MB)
    first = allocator.allocate(MB)
    allocator.allocate(MB)
    allocator.free(first, 1.0)

    assert allocator.allocate(MB // 2) == first
    assert allocator.allocate(MB // 2) == first + MB // 2


def test_the_smallest_range_that_fits_is_taken() -> None:
    allocator = Allocator(64 * MB)
    large, _, small, _ = [allocator.allocate(size * MB) for size in (8, 1, 2, 1)]
    allocator.free(small, 1.0)
    allocator.free(large, 2.0)

    assert allocator.allocate(2 * MB) == small


def test_neighbours_that_are_free_become_one() -> None:
    allocator = Allocator(16 * MB)
    a, b, c = (allocator.allocate(MB) for _ in range(3))
    allocator.allocate(MB)
    for offset in (a, c, b):
        allocator.free(offset, 1.0)

    assert allocator.allocate(3 * MB) == a


def test_the_capacity_is_the_limit_though_the_span_is_longer() -> None:
    allocator = Allocator(4 * MB)
    assert allocator.allocate(3 * MB) >= 0
    assert allocator.allocate(2 * MB) == -1
    assert allocator.allocate(2 * MB, beyond=True) >= 0
    assert allocator.room_bytes == -MB
    assert allocator.allocate(PAGE_BYTES) == -1


def test_memory_behind_free_ranges_goes_back_after_a_while_and_piece_by_piece() -> None:
    allocator = Allocator(64 * MB)
    allocator.free(allocator.allocate(32 * MB), 10.0)
    assert allocator.next_cooling_s() == 10.0 + WARM_KEEP_S

    allocator.cool(10.0 + WARM_KEEP_S - 0.1, 8 * MB)
    assert allocator.take_discards() == []

    allocator.cool(10.0 + WARM_KEEP_S, 8 * MB)
    assert sum(size for _, size in allocator.take_discards()) == 8 * MB
    allocator.cool(11.0 + WARM_KEEP_S, 64 * MB)
    assert sum(size for _, size in allocator.take_discards()) == 24 * MB
    assert allocator.next_cooling_s() is None


def test_untouched_space_is_handed_out_only_for_memory_that_goes_back() -> None:
    allocator = Allocator(10 * MB)
    kept = allocator.allocate(MB)
    allocator.free(allocator.allocate(6 * MB), 1.0)

    offset = allocator.allocate(7 * MB)  # More than the warm range has.

    discarded = sum(size for _, size in allocator.take_discards())
    assert kept >= 0 and offset >= 0
    assert allocator.allocated_bytes + allocator.warm_bytes <= allocator.capacity_bytes
    assert discarded >= 4 * MB


class Ranges(RuleBasedStateMachine):
    """allocated + free = total; no two ranges overlap; taken and warm memory stay within the capacity."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = Allocator(64 * PAGE_BYTES)
        self.taken: dict[int, int] = {}
        self.touched: set[int] = set()  # Pages with memory behind them.
        self.now_s = 0.0

    @rule(size=st.integers(1, 40 * PAGE_BYTES), beyond=st.booleans())
    def allocate(self, size: int, beyond: bool) -> None:
        room = self.allocator.room_bytes
        offset = self.allocator.allocate(size, beyond=beyond)
        self.forget_discarded()
        if offset >= 0:
            assert offset % PAGE_BYTES == 0
            assert beyond or pages_of(size) <= room
            self.taken[offset] = pages_of(size)
            self.touched.update(range(offset, offset + pages_of(size), PAGE_BYTES))

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.taken)))
        del self.taken[offset]
        self.allocator.free(offset, self.now_s)
        self.forget_discarded()

    @rule(pass_s=st.floats(0, 10), bytes_max=st.integers(1, 30 * PAGE_BYTES))
    def cool(self, pass_s: float, bytes_max: int) -> None:
        self.now_s += pass_s
        self.allocator.cool(self.now_s, bytes_max)
        self.forget_discarded()

    def forget_discarded(self) -> None:
        for offset, size in self.allocator.take_discards():
            pages = set(range(offset, offset + size, PAGE_BYTES))
            assert not any(start <= page < start + length for page in pages for start, length in self.taken.items())
            self.touched -= pages

    @invariant()
    def sums_hold(self) -> None:
        allocator = self.allocator
        assert allocator.allocated_bytes == sum(self.taken.values())
        assert allocator.allocated_bytes + allocator._warm.total_bytes + allocator._cold.total_bytes == allocator.span_bytes
        assert len(self.touched) * PAGE_BYTES == allocator.allocated_bytes + allocator.warm_bytes
        assert allocator.allocated_bytes + allocator.warm_bytes <= max(allocator.capacity_bytes, allocator.allocated_bytes)

    @invariant()
    def nothing_overlaps(self) -> None:
        ranges = [(start, size) for start, size in self.taken.items()]
        for free in (self.allocator._warm, self.allocator._cold):
            inner = sorted((start, entry[0]) for start, entry in free._by_start.items())
            assert all(a + size < b for (a, size), (b, _) in itertools.pairwise(inner)), "free neighbours are merged"
            ranges.extend(inner)
        ranges.sort()
        assert all(a + size == b for (a, size), (b, _) in itertools.pairwise(ranges))
        assert ranges[0][0] == 0 and sum(ranges[-1]) == self.allocator.span_bytes


TestRanges = Ranges.TestCase
TestRanges.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_was_taken_beyond_the_capacity_does_not_stay_warm() -> None:
    allocator = Allocator(64 * PAGE_BYTES)
    first = allocator.allocate(33 * PAGE_BYTES)
    allocator.allocate(32 * PAGE_BYTES, beyond=True)
    allocator.free(first, 0.0)
    assert allocator.allocated_bytes + allocator.warm_bytes <= allocator.capacity_bytes
    assert allocator.take_discards()
