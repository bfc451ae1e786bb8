from __future__ import annotations

import io
import threading
from typing import Any

from skate.util import inspect_serializability


class Model:
    def __init__(self) -> None:
        self.weights = [1, 2]
        self.lock = threading.Lock()


def inspect(obj: Any, **options: Any) -> tuple[bool, set[Any], str]:
    text = io.StringIO()
    is_fine, culprits = inspect_serializability(obj, print_file=text, **options)
    return is_fine, culprits, text.getvalue()


def test_a_value_that_travels_is_fine() -> None:
    assert inspect([1, 2])[:2] == (True, set())


def test_the_culprit_in_an_attribute_of_a_closure_variable_is_found() -> None:
    model = Model()

    def train() -> Any:
        return model.weights

    is_fine, culprits, text = inspect(train)

    assert not is_fine
    (culprit,) = culprits
    assert culprit.obj is model.lock and culprit.parent is model
    assert culprit.path[1:] == ("model", "lock")
    assert "closure variable model" in text and "attribute lock" in text


def test_containers_and_bound_methods_are_entered() -> None:
    _, (culprit,), _ = inspect({"a": [1, threading.Lock()]}, name="config")
    assert culprit.path == ("config", "['a']", "[1]")

    _, (culprit,), _ = inspect(Model().__init__)
    assert culprit.name == "lock"


def test_depth_ends_the_search_early_and_cycles_end_it_too() -> None:
    nested = [[[threading.Lock()]]]
    _, (culprit,), _ = inspect(nested, depth=1)
    assert culprit.obj is nested[0]

    cycle: list[Any] = [threading.Lock()]
    cycle.append(cycle)
    _, (culprit,), _ = inspect(cycle)
    assert culprit.obj is cycle[0]
