"""Runtime environments in one form."""

from __future__ import annotations

from skate.backends.environments import canonical, merge


def test_variables_are_merged_one_by_one_and_the_rest_key_by_key() -> None:
    outer = {"env_vars": {"A": "1", "B": "1"}, "working_dir": "/a", "pip": ["x"]}
    inner = {"env_vars": {"B": "2"}, "working_dir": "/b"}
    assert merge(outer, inner) == {"env_vars": {"A": "1", "B": "2"}, "working_dir": "/b", "pip": ["x"]}
    assert merge(outer, {}) == outer
    assert merge({}, inner) == inner


def test_equal_environments_have_equal_texts() -> None:
    assert canonical({"b": [1], "a": {"y": 1, "x": 2}}) == canonical({"a": {"x": 2, "y": 1}, "b": [1]})
    assert canonical({}) == canonical({"env_vars": {}, "pip": []}) == ""
