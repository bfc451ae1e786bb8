"""Graphs of calls."""

from __future__ import annotations

from typing import Any

import pytest

import skate
from skate.dag import InputNode, MultiOutputNode


@skate.remote
def add(a: int, b: int = 0) -> int:
    return a + b


@skate.remote
class Counter:
    def __init__(self, start: int) -> None:
        self.n = start

    def grow(self, by: int) -> int:
        self.n += by
        return self.n


def test_a_graph_runs_with_its_input(backend: Any) -> None:
    with InputNode() as number:
        graph = add.bind(add.bind(number, 1), b=add.bind(number, 2))
    assert skate.get(graph.execute(10)) == 23
    assert skate.get(graph.execute(0)) == 3


def test_a_node_that_is_used_twice_runs_once(backend: Any) -> None:
    once = add.bind(1, 2)
    graph = add.bind(once, once)
    assert skate.get(graph.execute()) == 6
    assert len(backend.calls) == 2


def test_parts_of_the_input(backend: Any) -> None:
    with InputNode() as given:
        graph = add.bind(given[0], given.more)
    assert skate.get(graph.execute(1, more=2)) == 3
    with InputNode() as given:
        graph = add.bind(given["x"])
    assert skate.get(graph.execute({"x": 7})) == 7
    with InputNode() as given:
        graph = add.bind(given)
    with pytest.raises(ValueError, match="use the parts of its InputNode"):
        graph.execute(1, 2)


def test_actors_are_made_for_each_execution(backend: Any) -> None:
    counter = Counter.bind(10)
    graph = counter.grow.bind(add.bind(1, 1))
    assert [skate.get(graph.execute()) for _ in range(2)] == [12, 12]
    with pytest.raises(AttributeError, match="did you mean 'grow'"):
        _ = counter.grew


def test_methods_of_living_actors(backend: Any) -> None:
    counter = Counter.remote(10)
    graph = counter.grow.bind(1)
    assert [skate.get(graph.execute()) for _ in range(2)] == [11, 12]


def test_several_outputs(backend: Any) -> None:
    graph = MultiOutputNode([add.bind(1, 1), add.bind(2, 2)])
    assert skate.get(graph.execute()) == [2, 4]


def test_wrong_arguments_fail_at_bind() -> None:
    with pytest.raises(TypeError, match=r"add\.bind\(\): missing a required argument: 'a'"):
        add.bind()


def test_a_long_chain_needs_no_recursion(backend: Any) -> None:
    node: Any = add.bind(0)
    for _ in range(5000):
        node = add.bind(node, 1)
    assert skate.get(node.execute()) == 5000
