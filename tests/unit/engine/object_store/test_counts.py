"""Reference counts: signed, per holder."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, strategies as st

from skate.engine.object_store.counts import Counts

A, B = b"a" * 20, b"b" * 20


def test_an_id_is_held_while_any_holder_has_it() -> None:
    counts = Counts()
    counts.add(A, 1)
    counts.add(A, 2)
    assert not counts.take(A, 1)
    assert counts.is_held(A)
    assert counts.take(A, 2)
    assert not counts.is_held(A)


def test_giving_back_may_come_before_handing_over() -> None:
    counts = Counts()
    counts.add(A, 1)
    assert not counts.take(A, 2)  # Client 2 is done with it before the node hears that client 1 shared it.
    counts.add(A, 2)
    assert counts.is_held(A)
    assert counts.take(A, 1)
    assert counts.count_of(A, 2) == 0


def test_a_negative_count_holds_nothing() -> None:
    counts = Counts()
    counts.add(A, 1)
    counts.take(A, 2, 5)
    assert counts.take(A, 1)


def test_a_holder_that_goes_lets_everything_go() -> None:
    counts = Counts()
    counts.add(A, B)
    counts.add(A, 1)
    counts.add(b"x" * 20, B)
    assert counts.drop_holder(B) == [b"x" * 20]
    assert counts.drop_holder(1) == [A]
    assert len(counts) == 0


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.sampled_from([1, 2, A]), st.integers(-3, 3).filter(bool))))
def test_held_is_what_adding_up_says(steps: list[tuple[bytes, int | bytes, int]]) -> None:
    counts = Counts()
    totals: Counter[tuple[bytes, int | bytes]] = Counter()
    for any_id, holder, change in steps:
        was_held = counts.is_held(any_id)
        if change > 0:
            counts.add(any_id, holder, change)
            fell = False
        else:
            fell = counts.take(any_id, holder, -change)
        totals[any_id, holder] += change
        held = any(count > 0 for (other, _), count in totals.items() if other == any_id)
        assert counts.is_held(any_id) == held
        assert fell == (was_held and not held)
    for holder in (1, 2, A):
        counts.drop_holder(holder)
    assert len(counts) == 0 and not counts._by_holder
