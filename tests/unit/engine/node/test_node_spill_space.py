"""Which ranges of the spill file are free."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from skate.engine.node.spill import SpillSpace

PAGE = 4096


def test_a_deleted_value_makes_room_for_the_next() -> None:
    space = SpillSpace(-1)
    first = space.allocate(10 * PAGE)
    space.allocate(PAGE)

    space.free(first, 10 * PAGE)

    assert space.allocate(6 * PAGE) == first
    assert space.allocate(4 * PAGE) == first + 6 * PAGE


def test_neighbouring_holes_become_one() -> None:
    space = SpillSpace(-1)
    places = [space.allocate(PAGE) for _ in range(4)]

    for index in (0, 2, 1):
        space.free(places[index], PAGE)

    assert space.allocate(3 * PAGE) == places[0]


def test_the_limit_says_what_is_used() -> None:
    space = SpillSpace(3 * PAGE)
    space.allocate(2 * PAGE)

    with pytest.raises(OSError, match="8,192 bytes are spilled"):
        space.allocate(2 * PAGE)


@given(st.lists(st.tuples(st.integers(1, 5 * PAGE), st.booleans(), st.integers(0, 100)), max_size=60))
def test_ranges_never_overlap_and_all_come_back(steps: list[tuple[int, bool, int]]) -> None:
    space = SpillSpace(-1)
    taken: list[tuple[int, int]] = []
    for size, is_free, choice in steps:
        if is_free and taken:
            offset, old = taken.pop(choice % len(taken))
            space.free(offset, old)
        else:
            taken.append((space.allocate(size), size))
        ends = sorted((offset, offset + size) for offset, size in taken)
        assert all(before[1] <= after[0] for before, after in pairwise(ends))
    for offset, size in taken:
        space.free(offset, size)
    assert space.used_bytes == 0
    assert space.allocate(100 * PAGE) == 0
