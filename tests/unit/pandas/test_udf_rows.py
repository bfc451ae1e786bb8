"""`DataFrame.apply(function, axis=1)`: traced, with columns as parameters, or with pandas' rows; always with pandas' result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import skate.pandas as spd
from skate.pandas import ledger

ROWS = 400


pytestmark = pytest.mark.usefixtures("planned_from_a_hundred_rows")


def frame(kind: str) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    numbers = {"a": rng.integers(-50, 50, ROWS), "b": rng.normal(0, 10, ROWS)}
    text = {"name": [f"Name {i}" for i in range(ROWS)], "gap": [None if i % 5 == 0 else f"g{i}" for i in range(ROWS)]}
    made = {
        "numbers": numbers,
        "ints": {"a": numbers["a"], "b": rng.integers(1, 9, ROWS)},
        "mixed": {**numbers, **text, "flag": rng.random(ROWS) < 0.5},
        "times": {**numbers, "t": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**6, ROWS), unit="s")},
        "missing": {"a": np.where(rng.random(ROWS) < 0.2, np.nan, 1.5), "b": numbers["b"]},
    }[kind]
    return pd.DataFrame(made, index=pd.Index(np.arange(ROWS) * 2, name="key"))


def engine_of(plain: pd.DataFrame, func: Callable[..., Any], **kwargs: Any) -> str:
    expected = plain.apply(func, axis=1, **kwargs)
    result = spd.from_pandas(plain).apply(func, axis=1, **kwargs)
    test: Any = pd.testing.assert_frame_equal if isinstance(expected, pd.DataFrame) else pd.testing.assert_series_equal
    test(expected, result.to_pandas(), check_exact=True)
    return next((entry.engine for entry in ledger.entries.values() if entry.what.startswith("apply(")), "pandas")


def price(row: Any) -> Any:
    if row["flag"]:
        return row["a"] * 2
    return row["b"] - 1


def norm(a: float, b: float) -> float:
    return abs(a) + abs(b)


def distance(row: Any) -> float:
    total = 0.0
    for step in range(1, 4):
        total += math.sin(row["a"] / step) * math.sqrt(abs(row["b"]) + step)
    return total


TRACED = [
    ("numbers", lambda r: r.a + r.b * 2), ("numbers", lambda r: r["a"] * 2 if r["b"] > 0 else 0), ("numbers", lambda r: r.a > 1 and r.b < 3),
    ("numbers", lambda r: np.sqrt(abs(r.b))), ("numbers", lambda r: max(r.a, r.b)), ("numbers", lambda r: norm(r.a, r["b"])), ("ints", lambda r: r.a * r.b),
    ("ints", lambda r: r.a / r.b), ("ints", lambda r: r.a // r.b + r.a % r.b), ("ints", lambda r: r.a == r.b), ("mixed", price),
    ("mixed", lambda r: r["name"].upper() + ": " + str(r.a)), ("mixed", lambda r: r.a * 2), ("mixed", lambda r: r.b if r.flag else r.a),
    ("mixed", lambda r: r.gap if isinstance(r.gap, str) else r["name"]), ("mixed", lambda r: "x" if pd.isna(r.gap) else "y"),
    ("mixed", lambda r: f"{r['name']}-{r['a']}"), ("missing", lambda r: r.a * r.b), ("missing", lambda r: r.b if np.isnan(r.a) else r.a),
    ("mixed", lambda r: "neg" if r.a < 0 else "pos" if r.b > 0 else "none"), ("mixed", lambda r: len(r["name"]) > 6),
    ("times", lambda r: r.a - r.b),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(TRACED)))
def test_simple_functions_are_traced(case: int) -> None:
    kind, func = TRACED[case]
    assert engine_of(frame(kind), func) == "traced"


CALLED = [
    ("numbers", distance), ("mixed", distance), ("times", lambda r: r.t.year + r.a), ("times", lambda r: r.t), ("mixed", lambda r: r["name"].split()[1]),
    ("numbers", lambda r: r.sum()), ("numbers", lambda r: r), ("mixed", lambda r: r["a":"b"].sum()), ("numbers", lambda r: r.max() - r.min()),  # type: ignore[misc]
    ("numbers", lambda r: [r.a, r.b]), ("numbers", lambda r: {"x": r.a}), ("numbers", lambda r: pd.Series({"x": r.a, "y": r.b * 2})),
    ("numbers", lambda r: (r.a, r.b)), ("mixed", lambda r: None if r.flag else r.a), ("mixed", lambda r: r.get("nope", 3)), ("numbers", lambda r: r.name),
    ("ints", lambda r: r.iloc[0] * 2), ("numbers", lambda r: sum(v for v in r)), ("mixed", lambda r: r.a if r.flag else r["name"]),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CALLED)))
def test_other_functions_are_called(case: int) -> None:
    kind, func = CALLED[case]
    assert engine_of(frame(kind), func) in ("python", "workers", "traced")


def test_arguments_reach_the_function() -> None:
    assert engine_of(frame("numbers"), lambda r, k, m=1: r.a * k + m, args=(3,), m=2) != "pandas"


def test_functions_that_change_their_row_are_left_to_pandas() -> None:
    def change(row: Any) -> Any:
        row["a"] = 0
        return row

    assert engine_of(frame("numbers"), change) == "pandas"


def test_functions_with_effects_are_called_in_order() -> None:
    found: list[Any] = []
    plain = frame("numbers")
    spd.from_pandas(plain).apply(lambda r: found.append(r.a), axis=1)
    assert found == plain.a.to_list()


@pytest.mark.parametrize("func", [lambda r: r.nope, lambda r: r["nope"], lambda r: 1 // int(r.a), lambda r: r["name"] + 1])
def test_exceptions_are_pandas_own(func: Any) -> None:
    plain = frame("mixed")
    with pytest.raises(Exception) as expected:
        plain.apply(func, axis=1)
    with pytest.raises(type(expected.value)) as raised:
        spd.from_pandas(plain).apply(func, axis=1)
    assert str(raised.value) == str(expected.value)


def test_warnings_of_numpy_are_given() -> None:
    plain = frame("ints").assign(b=0)
    with pytest.warns(RuntimeWarning, match="encountered in"):
        spd.from_pandas(plain).apply(lambda r: r.a / r.b, axis=1)


def test_columns_are_planned_too() -> None:
    plain = frame("numbers")
    lazy = spd.from_pandas(plain)
    expected = plain[plain.b > 0].apply(lambda r: r.a * r.b, axis=1)
    result = lazy[lazy.b > 0].apply(lambda r: r.a * r.b, axis=1)
    pd.testing.assert_series_equal(expected, result.to_pandas(), check_exact=True)
