"""`Series.map` and `apply` with Python functions: what is traced, what is called, and that pandas would have given the same."""

from __future__ import annotations

import datetime
import functools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import skate.pandas as spd
from skate.pandas import ledger

ROWS = 4_100
RATES = {"word1": 1, "word2": 2, "word3": 3}
HALVES = {0: "even", 1: "odd"}
PATTERN = re.compile(r"(\d+)")


pytestmark = pytest.mark.usefixtures("planned_from_a_hundred_rows")


def series(kind: str) -> pd.Series:
    rng = np.random.default_rng(3)
    values: Any = {
        "int": lambda: rng.integers(-1000, 1000, ROWS),
        "int32": lambda: rng.integers(-1000, 1000, ROWS).astype("int32"),
        "large": lambda: rng.integers(2**61, 2**62, ROWS),
        "float": lambda: rng.normal(0, 50, ROWS).round(3),
        "missing": lambda: np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(0, 50, ROWS)),
        "whole": lambda: rng.integers(0, 50, ROWS).astype(float),
        "bool": lambda: rng.random(ROWS) < 0.5,
        "text": lambda: [f" Title {i * 7919 % ROWS} of the " for i in range(ROWS)],
        "words": lambda: rng.choice(["word1", "word2", "word3"], ROWS),
        "gaps": lambda: [None if i % 7 == 0 else f"Title {i}" for i in range(ROWS)],
        "umlauts": lambda: [f"straße {i}" for i in range(ROWS)],
        "times": lambda: pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**6, ROWS), unit="s"),
    }[kind]()
    return pd.Series(values, index=pd.RangeIndex(5, 5 + ROWS), name="x")


def engine_of(plain: pd.Series, func: Callable[..., Any], method: str = "map", **kwargs: Any) -> str:
    """Check that the result is pandas', and say what made it."""
    expected = getattr(plain, method)(func, **kwargs)
    result = getattr(spd.from_pandas(plain), method)(func, **kwargs)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(expected, result.to_pandas(), check_exact=True)
    else:
        pd.testing.assert_series_equal(expected, result.to_pandas(), check_exact=True)
    return next((entry.engine for entry in ledger.entries.values() if entry.what.startswith(("map(", "apply("))), "pandas")


def helper(x: float, scale: float = 2.0) -> float:
    if x > 0:
        y = x * scale
    else:
        y = -x
    return y + 1


def grade(x: float) -> str:
    if x < -20:
        return "low"
    elif x < 20:
        return "middle"
    return "high"


def collatz(n: int) -> int:
    count = 0
    n = abs(n)
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return count


def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)


TRACED = [
    ("int", lambda x: x * 2 + 1), ("int", lambda x: x * 2 if x > 0 else 0), ("int", lambda x: x / 4), ("int", lambda x: x // 7),
    ("int", lambda x: x % 7), ("int", lambda x: -x), ("int", lambda x: x**3), ("int", lambda x: abs(x)), ("int", lambda x: x > 5),
    ("int", lambda x: 0 < x <= 10), ("int", lambda x: x > 0 and x < 10), ("int", lambda x: x > 5 or x < -5), ("int", lambda x: not x),
    ("int", lambda x: x in (1, 2, 3)), ("int", lambda x: x not in {1, 2}), ("int", lambda x: HALVES[x % 2]), ("int", lambda x: str(x)),
    ("int", lambda x: f"n{x}!"), ("int", lambda x: float(x)), ("int", lambda x: x and 7), ("int", lambda x: x or 7), ("int", lambda x: x & 3),
    ("int", lambda x: "a" if x > 0 else "b"), ("int", lambda x: x + 0.5 if x > 0 else x), ("int", lambda x: max(x, 0)),
    ("int", lambda x: min(max(x, -10), 10)), ("int", lambda x: math.sqrt(x) if x >= 0 else -1.0), ("int", lambda x: helper(x)),
    ("int", lambda x: helper(x, scale=3)), ("int", lambda x: isinstance(x, int)), ("int", lambda x: 1), ("int", lambda x: x is None),
    ("int", lambda x: 100 / x if x != 0 else 0.0), ("int", lambda x: bool(x)), ("int32", lambda x: x * 2),
    ("float", lambda x: x * 2), ("float", lambda x: x / 3 - 1), ("float", lambda x: "high" if x > 60 else "low"), ("float", grade), ("float", helper),
    ("float", lambda x: int(x)), ("float", lambda x: round(x)), ("float", lambda x: math.floor(x)), ("float", lambda x: abs(x)),
    ("float", lambda x: x // 3), ("float", lambda x: x % 3), ("float", lambda x: max(x, 0)), ("float", lambda x: np.sqrt(abs(x))),
    ("missing", lambda x: x * 2), ("missing", lambda x: 0.0 if pd.isna(x) else x), ("missing", lambda x: x if x == x else -1),
    ("missing", lambda x: math.isnan(x)), ("missing", lambda x: max(x, 0)), ("missing", lambda x: max(0, x)), ("missing", lambda x: x > 0),
    ("whole", lambda x: x.is_integer()), ("bool", lambda x: not x), ("bool", lambda x: 1 if x else 0),
    ("text", lambda s: s.upper()), ("text", lambda s: s.strip().lower()), ("text", lambda s: len(s)), ("text", lambda s: s[:4]),
    ("text", lambda s: s[-3:]), ("text", lambda s: s[2]), ("text", lambda s: s + "!"), ("text", lambda s: "9" in s), ("text", lambda s: s.startswith(" T")),
    ("text", lambda s: s.replace("Title", "t")), ("text", lambda s: s.find("9")), ("text", lambda s: s.count("1")), ("text", lambda s: s == "x"),
    ("text", lambda s: s > " Title 5"), ("text", lambda s: f"<{s}>"), ("text", lambda s: s.lower() if "9" in s else s.upper()),
    ("words", lambda s: RATES[s]), ("words", lambda s: RATES.get(s, 0)), ("words", lambda s: s in ("word1", "word2")),
    ("gaps", lambda s: s.upper() if isinstance(s, str) else "none"), ("gaps", lambda s: s if pd.isna(s) else s[:3]), ("gaps", lambda s: isinstance(s, str)),
    ("umlauts", lambda s: len(s)), ("umlauts", lambda s: s[:5]),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(TRACED)))
def test_simple_functions_are_traced(case: int) -> None:
    kind, func = TRACED[case]
    assert engine_of(series(kind), func) == "traced"


CALLED = [
    ("int", lambda x: factorial(abs(x) % 9)), ("text", lambda s: s.translate(str.maketrans("aeiou", "12345"))), ("int", collatz), ("float", lambda x: round(x, 1)), ("float", lambda x: f"{x:.2f}"), ("float", lambda x: math.sin(x)), ("large", lambda x: x * 4),
    ("float", lambda x: str(x)), ("text", lambda s: s.split()), ("text", lambda s: s.title()), ("text", lambda s: int(PATTERN.search(s).group(1))),  # type: ignore[union-attr]
    ("umlauts", lambda s: s.upper()), ("times", lambda t: t.year), ("times", lambda t: t + datetime.timedelta(days=1)), ("times", lambda t: t.strftime("%d")),
    ("times", lambda t: t.date()), ("int", lambda x: None if x > 0 else x), ("int", lambda x: None if x > 0 else "a"), ("int", lambda x: x > 0 or "no"),
    ("text", lambda s: sorted(s)[1]), ("text", lambda s: "".join(c for c in s if c.isdigit())), ("text", lambda s: {"len": len(s)}),
    ("int", lambda x: sum(i * x for i in range(3))), ("int", lambda x: datetime.date(2020, 1, 1 + abs(x) % 28)), ("int", lambda x: 2**70 if x > 990 else x),
    ("gaps", lambda s: np.nan if s != s else s.split()[0]), ("gaps", lambda s: None if s != s else s), ("bool", lambda x: "yes" if x else None),
    ("int", lambda x: divmod(x, 7)), ("int", functools.partial(helper, scale=3)),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CALLED)))
def test_other_pure_functions_are_called(case: int) -> None:
    kind, func = CALLED[case]
    assert engine_of(series(kind), func) in ("python", "workers", "different values", "traced")


def test_values_that_repeat_are_calculated_once() -> None:
    assert engine_of(series("words"), lambda s: s.title()[::-1]) == "different values"
    assert engine_of(pd.Series([*range(200)] * 40), collatz) == "different values"


def test_results_that_can_be_changed_are_not_shared() -> None:
    result = spd.from_pandas(series("words")).map(lambda s: [s])
    result.iloc[0].append(1)
    assert sum(len(one) for one in result.to_list()) == ROWS + 1


def test_missing_values_are_passed_on_if_asked() -> None:
    for kind in ("gaps", "missing", "int"):
        engine_of(series(kind), lambda x: 1 if x == x else 2, na_action="ignore")


def test_arguments_reach_the_function() -> None:
    assert engine_of(series("float"), helper, method="apply", scale=5) != "pandas"


def test_apply_that_returns_series_makes_a_frame() -> None:
    engine_of(series("int").head(300), lambda x: pd.Series({"a": x, "b": -x}), method="apply")


def test_ufuncs_are_applied_to_the_whole() -> None:
    assert engine_of(series("whole"), np.sqrt, method="apply") == "pandas"


seen: list[Any] = []
total = 0
state = {"calls": 0}


def counts(x: int) -> int:
    global total
    total += x
    return total


def remembers(x: int) -> int:
    state["calls"] += 1
    return state["calls"]


def collects(x: int) -> int:
    seen.append(x)
    return x


def throws_dice(x: int) -> float:
    return float(np.random.random() * x)


def prints(x: int) -> int:
    if x > 990:
        print(x)
    return x


def with_default(x: int, cache: dict[int, int] = {}) -> int:
    return cache.setdefault(x, len(cache))


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: int) -> int:
        self.calls += 1
        return self.calls


@pytest.mark.parametrize(
    "func", [counts, remembers, collects, throws_dice, prints, with_default, lambda x: seen.append(x), Counter()]
)
def test_functions_with_effects_are_called_in_order_by_pandas(func: Any) -> None:
    before = len(ledger.entries)
    spd.from_pandas(series("int")).map(func)
    (entry,) = list(ledger.entries.values())[before:]
    assert entry.engine == "pandas"
    assert entry.reason


def test_a_generator_in_a_closure_is_used_in_order() -> None:
    numbers = iter(range(ROWS))
    result = spd.from_pandas(series("int")).map(lambda x: next(numbers))
    assert result.to_list() == list(range(ROWS))


def test_a_list_in_a_closure_is_filled_once_in_order() -> None:
    found: list[int] = []
    plain = series("int")
    spd.from_pandas(plain).map(lambda x: found.append(x))
    assert found == plain.to_list()


@pytest.mark.parametrize(
    "kind, func",
    [("int", lambda x: 1 // x), ("text", lambda s: s.nope()), ("int", lambda x: RATES[x]), ("gaps", lambda s: s + "a" + 1)],
)
def test_exceptions_are_pandas_own(kind: str, func: Any) -> None:
    plain = series(kind)
    with pytest.raises(Exception) as expected:
        plain.map(func)
    with pytest.raises(type(expected.value)) as raised:
        spd.from_pandas(plain).map(func)
    assert type(raised.value) is type(expected.value)
    assert str(raised.value) == str(expected.value)


def test_the_value_of_a_global_is_that_of_the_call() -> None:
    global RATE
    plain = series("int")
    for RATE in (2, 3):
        pd.testing.assert_series_equal(plain * RATE, spd.from_pandas(plain).map(lambda x: x * RATE).to_pandas())


RATE = 1


def test_frame_map_is_column_by_column() -> None:
    plain = pd.DataFrame({"a": series("int"), "b": series("float"), "c": series("words")})
    for func in (lambda x: x * 2, lambda x: str(x)[:3], lambda x: x if isinstance(x, str) else -x):
        expected, result = plain.map(func), spd.from_pandas(plain).map(func)
        pd.testing.assert_frame_equal(expected, result.to_pandas(), check_exact=True)


def test_check_mode_runs_pandas_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spd.settings, "check", True)
    assert spd.from_pandas(series("int")).map(lambda x: x + 1).iloc[0] == series("int").iloc[0] + 1


def test_short_columns_are_read_only_where_the_function_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spd.settings, "rows_min", 50_000)
    assert engine_of(series("int"), lambda x: x * 2) == "pandas"
    assert engine_of(series("int"), collatz) != "pandas"
