"""Search spaces: what a `param_space` may contain, and how a configuration is drawn from it.

Names as in Ray Tune. A domain knows how to draw from itself with given dice; `grid_search` values are taken in turn instead. A space
may be nested in dicts; a path like "optimizer/lr" names a place in it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any


class Domain:
    """Values to draw from."""

    def sample(self, dice: random.Random) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Float(Domain):
    """Between `lower` and `upper`; log: evenly in orders of magnitude; q: rounded to multiples."""

    lower: float
    upper: float
    log: bool = False
    q: float | None = None

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"a range needs lower < upper, not {self.lower!r}, {self.upper!r}")
        if self.log and self.lower <= 0:
            raise ValueError(f"loguniform({self.lower!r}, {self.upper!r}): the lower end must be above 0")

    def sample(self, dice: random.Random) -> float:
        value = (
            math.exp(dice.uniform(math.log(self.lower), math.log(self.upper)))
            if self.log
            else dice.uniform(self.lower, self.upper)
        )
        if self.q is not None:
            value = round(value / self.q) * self.q
        return min(max(value, self.lower), self.upper)


@dataclass(frozen=True)
class Integer(Domain):
    """lower … upper-1."""

    lower: int
    upper: int
    log: bool = False
    q: int = 1

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"a range needs lower < upper, not {self.lower!r}, {self.upper!r}")
        if self.log and self.lower < 1:
            raise ValueError(f"lograndint({self.lower!r}, {self.upper!r}): the lower end must be at least 1")

    def sample(self, dice: random.Random) -> int:
        if self.log:
            value = int(math.exp(dice.uniform(math.log(self.lower), math.log(self.upper))))
        else:
            value = dice.randrange(self.lower, self.upper)
        return min(max(round(value / self.q) * self.q, self.lower), self.upper - 1 if self.q == 1 else self.upper)


@dataclass(frozen=True)
class Choice(Domain):
    """One of them."""

    categories: Sequence[Any]

    def __post_init__(self) -> None:
        if not self.categories:
            raise ValueError("choice([]): there is nothing to choose from")

    def sample(self, dice: random.Random) -> Any:
        return dice.choice(list(self.categories))


@dataclass(frozen=True)
class Normal(Domain):
    mean: float
    sd: float

    def sample(self, dice: random.Random) -> float:
        return dice.gauss(self.mean, self.sd)


@dataclass(frozen=True)
class Computed(Domain):
    """By a function; of the configuration drawn so far, when it takes an argument."""

    function: Callable[..., Any]

    def sample(self, dice: random.Random) -> Any:
        return self.function


@dataclass(frozen=True)
class Grid:
    """Each of the values in turn."""

    values: Sequence[Any]


def uniform(lower: float, upper: float) -> Float:
    return Float(lower, upper)


def quniform(lower: float, upper: float, q: float) -> Float:
    return Float(lower, upper, q=q)


def loguniform(lower: float, upper: float, base: float = 10) -> Float:
    return Float(lower, upper, log=True)


def qloguniform(lower: float, upper: float, q: float, base: float = 10) -> Float:
    return Float(lower, upper, log=True, q=q)


def randint(lower: int, upper: int) -> Integer:
    """lower … upper-1."""
    return Integer(lower, upper)


def qrandint(lower: int, upper: int, q: int = 1) -> Integer:
    return Integer(lower, upper, q=q)


def lograndint(lower: int, upper: int, base: float = 10) -> Integer:
    return Integer(lower, upper, log=True)


def randn(mean: float = 0.0, sd: float = 1.0) -> Normal:
    return Normal(mean, sd)


def choice(categories: Sequence[Any]) -> Choice:
    return Choice(_as_list("choice", categories))


def sample_from(function: Callable[..., Any]) -> Computed:
    return Computed(function)


def grid_search(values: Sequence[Any]) -> Grid:
    """Every value, with every combination of the other grids."""
    found = _as_list("grid_search", values)
    if not found:
        raise ValueError("grid_search([]): there is nothing to search")
    return Grid(found)


def _as_list(function: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise TypeError(f"{function}() takes a list of values, such as {function}([1, 2]), not {values!r}")
    return list(values)


# ---------------------------------------------------------------- drawing


def walk(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) of a nested space."""
    for name, value in space.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and set(value) == {"grid_search"}:  # Ray's old form.
            yield path, Grid(list(value["grid_search"]))
        elif isinstance(value, Mapping):
            yield from walk(value, f"{path}/")
        else:
            yield path, value


def place(config: dict[str, Any], path: str, value: Any) -> None:
    """Set config["a"]["b"] for "a/b"."""
    *parents, name = path.split("/")
    for parent in parents:
        config = config.setdefault(parent, {})
    config[name] = value


def grid_points(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """path → value for each combination of the grids; one empty dict without grids."""
    grids = [(path, leaf.values) for path, leaf in walk(space) if isinstance(leaf, Grid)]
    return [dict(zip([path for path, _ in grids], values, strict=True)) for values in product(*(values for _, values in grids))]


def draw(space: Mapping[str, Any], dice: random.Random, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """One configuration.

    Args:
        fixed: path → value: what is not to be drawn.
    """
    config: dict[str, Any] = {}
    computed: list[tuple[str, Any]] = []
    for path, leaf in walk(space):
        if path in fixed:
            place(config, path, fixed[path])
        elif isinstance(leaf, Computed):
            computed.append((path, leaf.function))
        else:
            place(config, path, leaf.sample(dice) if isinstance(leaf, Domain) else leaf)
    for path, function in computed:
        place(config, path, _call(function, config))
    return config


def _call(function: Callable[..., Any], config: dict[str, Any]) -> Any:
    import inspect

    if not inspect.signature(function).parameters:
        return function()
    return function(_Spec(config))


class _Spec(dict[str, Any]):
    """What Ray gives to `sample_from`: `spec.config.lr`; also `spec["lr"]`."""

    @property
    def config(self) -> _Spec:
        return self

    def __getattr__(self, name: str) -> Any:
        value = self[name]
        return _Spec(value) if isinstance(value, dict) else value
