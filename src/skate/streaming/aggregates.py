"""Aggregates: how values of one key become one value. A new one is a subclass with `add`, `merge` and `result`.

An aggregate works on an accumulator: `start()`, `add(accumulator, value)`, `merge(a, b)` of two accumulators (so that senders can
aggregate before the exchange), `result(accumulator)`. Accumulators may be changed in place.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable
from itertools import repeat
from typing import Any

from skate.streaming.operators.base import name_of


class Aggregate:
    name = "aggregate"
    is_mergeable = True

    def start(self) -> Any:
        raise NotImplementedError

    def add(self, accumulator: Any, value: Any) -> Any:
        raise NotImplementedError

    def merge(self, a: Any, b: Any) -> Any:
        raise NotImplementedError

    def result(self, accumulator: Any) -> Any:
        return accumulator

    def adder(self) -> Callable[[Any, Any], Any]:
        """`add`, or the function behind it: hot loops call that."""
        return self.add

    def functions(self) -> dict[str, Any]:
        return {}


def add_counts(state: dict[Any, int], counts: dict[Any, int]) -> None:
    """Add counts to counts, without a Python step for each: this is what a reducer of counts spends its time on."""
    # dict.update: a Counter's own would count the pairs.
    if state:
        dict.update(state, zip(counts, map(operator.add, map(state.get, counts, repeat(0)), counts.values()), strict=True))
    else:
        dict.update(state, counts)


class Count(Aggregate):
    """How many records."""

    name = "count"

    def start(self) -> int:
        return 0

    def add(self, accumulator: int, value: Any) -> int:
        return accumulator + 1

    def merge(self, a: int, b: int) -> int:
        return a + b


class Sum(Aggregate):
    """The sum of the values (floats: in the order they come in)."""

    name = "sum"

    def __init__(self, of: Callable[[Any], Any] | None = None) -> None:
        self.of = of

    def start(self) -> Any:
        return 0

    def add(self, accumulator: Any, value: Any) -> Any:
        return accumulator + (value if self.of is None else self.of(value))

    def merge(self, a: Any, b: Any) -> Any:
        return a + b

    def functions(self) -> dict[str, Any]:
        return {} if self.of is None else {"of": self.of}


class _Extreme(Aggregate):
    choose: Callable[..., Any]

    def __init__(self, of: Callable[[Any], Any] | None = None) -> None:
        self.of = of

    def start(self) -> Any:
        return None

    def add(self, accumulator: Any, value: Any) -> Any:
        value = value if self.of is None else self.of(value)
        return value if accumulator is None else type(self).choose(accumulator, value)

    def merge(self, a: Any, b: Any) -> Any:
        return a if b is None else b if a is None else type(self).choose(a, b)

    def functions(self) -> dict[str, Any]:
        return {} if self.of is None else {"of": self.of}


class Min(_Extreme):
    """The smallest value."""

    name = "min"
    choose = min


class Max(_Extreme):
    """The largest value."""

    name = "max"
    choose = max


class Mean(Aggregate):
    """The arithmetic mean."""

    name = "mean"

    def __init__(self, of: Callable[[Any], Any] | None = None) -> None:
        self.of = of

    def start(self) -> tuple[float, int]:
        return 0, 0

    def add(self, accumulator: tuple[float, int], value: Any) -> tuple[float, int]:
        return accumulator[0] + (value if self.of is None else self.of(value)), accumulator[1] + 1

    def merge(self, a: tuple[float, int], b: tuple[float, int]) -> tuple[float, int]:
        return a[0] + b[0], a[1] + b[1]

    def result(self, accumulator: tuple[float, int]) -> float:
        return accumulator[0] / accumulator[1]

    def functions(self) -> dict[str, Any]:
        return {} if self.of is None else {"of": self.of}


class Reducing(Aggregate):
    """A function of two values gives one of the same kind; it must be associative."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function
        self.name = f"reduce {name_of(function)}"

    def start(self) -> Any:
        return _Nothing

    def add(self, accumulator: Any, value: Any) -> Any:
        return value if accumulator is _Nothing else self.function(accumulator, value)

    def merge(self, a: Any, b: Any) -> Any:
        return b if a is _Nothing else a if b is _Nothing else self.function(a, b)

    def functions(self) -> dict[str, Any]:
        return {"function": self.function}


class _Nothing:
    """Before the first value. The class itself is the mark: it stays the same object through a pickle."""


class Folding(Aggregate):
    """`add(accumulator, value)` from `initial()`; with `merge`, senders aggregate before the exchange."""

    def __init__(
        self,
        initial: Callable[[], Any],
        add: Callable[[Any, Any], Any],
        merge: Callable[[Any, Any], Any] | None,
        result: Callable[[Any], Any] | None,
    ) -> None:
        self.initial = initial
        self.adding = add
        self.merging = merge
        self.giving = result
        self.is_mergeable = merge is not None
        self.name = f"aggregate {name_of(add)}"

    def start(self) -> Any:
        return self.initial()

    def add(self, accumulator: Any, value: Any) -> Any:
        return self.adding(accumulator, value)

    def adder(self) -> Callable[[Any, Any], Any]:
        return self.adding

    def merge(self, a: Any, b: Any) -> Any:
        assert self.merging is not None
        return self.merging(a, b)

    def result(self, accumulator: Any) -> Any:
        return accumulator if self.giving is None else self.giving(accumulator)

    def functions(self) -> dict[str, Any]:
        return {"initial": self.initial, "add": self.adding, "merge": self.merging}


class Collect(Aggregate):
    """All values, as a list, in the order they come in."""

    name = "collect"

    def start(self) -> list[Any]:
        return []

    def add(self, accumulator: list[Any], value: Any) -> list[Any]:
        accumulator.append(value)
        return accumulator

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        return a + b


class TopK(Aggregate):
    """The k largest values, largest first; ties by the value itself, so that the choice is the same in every run."""

    def __init__(self, k: int, by: Callable[[Any], Any] | None = None) -> None:
        if k < 1:
            raise ValueError(f"k={k}: at least 1")
        self.k = k
        self.by = by
        self.name = f"top_k {k}"

    def _rank(self, value: Any) -> Any:
        return (value,) if self.by is None else (self.by(value), value)

    def start(self) -> list[Any]:
        return []

    def add(self, accumulator: list[Any], value: Any) -> list[Any]:
        accumulator.append(value)
        return self._cut(accumulator) if len(accumulator) > 8 * self.k + 64 else accumulator

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        return self._cut(a + b)

    def _cut(self, values: list[Any]) -> list[Any]:
        return heapq.nlargest(self.k, values, key=self._rank)

    def result(self, accumulator: list[Any]) -> list[Any]:
        return self._cut(accumulator)

    def functions(self) -> dict[str, Any]:
        return {} if self.by is None else {"by": self.by}
