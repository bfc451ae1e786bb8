"""Which place a key belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from skate.blocks.partition import KEY_GROUPS, Partitioner, place_of


@given(
    keys=st.lists(st.one_of(st.text(), st.integers(), st.none(), st.text(st.characters(codec=None)))),
    places=st.integers(1, KEY_GROUPS),
)
def test_many_keys_at_once_have_the_places_that_each_has(keys: list[Any], places: int) -> None:
    expected = [place_of(key, places) for key in keys]
    assert Partitioner(places).places_of(keys) == expected
    assert [Partitioner(places)[key] for key in keys] == expected
    strings = [key for key in keys if type(key) is str]
    assert Partitioner(places).places_of(strings) == [place_of(key, places) for key in strings]


def test_strings_are_not_remembered_where_many_are_asked_for_once() -> None:
    partitioner = Partitioner(2)
    assert set(partitioner.places_of([str(number) for number in range(100)])) == {0, 1}
    assert not partitioner


def test_a_lone_surrogate_has_a_place() -> None:
    assert Partitioner(7).places_of(["a", "\ud800"]) == [place_of("a", 7), place_of("\ud800", 7)]


def test_keys_without_a_stable_hash_are_refused() -> None:
    with pytest.raises(TypeError, match="no hash that is the same in every process"):
        Partitioner(2).places_of(["a", object()])
