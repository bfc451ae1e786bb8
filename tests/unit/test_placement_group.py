"""Placement groups: arguments, lookup, and travelling."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import skate
from skate.util import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from skate.util.placement_group import PlacementGroup


def test_a_group_is_made_found_and_removed(backend: Any) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 2, "GPU": 1}], strategy="SPREAD", name="train")
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}]
    assert group.bundle_count == 2
    assert group.wait(0)
    assert skate.get(group.ready()) == group.id.binary()
    assert get_placement_group("train") == group
    assert placement_group_table(group)["bundles"] == {0: {"CPU": 1.0}, 1: {"CPU": 2.0, "GPU": 1.0}}
    assert list(placement_group_table()) == [group.id.hex()]
    remove_placement_group(group)
    assert placement_group_table() == {}
    assert placement_group_table(group) == {}
    with pytest.raises(ValueError, match="train"):
        get_placement_group("train")


def test_a_group_travels(backend: Any) -> None:
    group = placement_group([{"CPU": 1}])
    assert pickle.loads(pickle.dumps(group)) == group


def test_the_group_one_is_in(backend: Any) -> None:
    assert get_current_placement_group() is None
    group = placement_group([{"CPU": 1}])
    backend.context["placement_group_id"] = group.id.binary()
    here = get_current_placement_group()
    assert here == group
    assert here is not None
    assert here.bundle_specs == [{"CPU": 1.0}]


def test_the_empty_group() -> None:
    assert PlacementGroup.empty().is_empty
    assert PlacementGroup.empty().bundle_count == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"CPU": 1},), r"a list of dicts, such as \[\{\"CPU\": 1\}\]"),
        (([],), "no bundles"),
        (([{}],), "bundle 0 asks for nothing"),
        (([{"CPU": 1}, {"CPU": 0}],), "bundle 1 asks for nothing"),
        (([1],), "bundle 0 must be a dict"),
        (([{"CPU": -1}],), "not negative"),
        (([{"GPU": 1.5}],), "whole above 1"),
        (([{"CPU": 1}], "PAK"), "did you mean 'PACK'"),
        (([{"CPU": 1}], "PACK", "", "forever"), "lifetime='forever'"),
    ],
)
def test_mistakes(backend: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        placement_group(*arguments)
