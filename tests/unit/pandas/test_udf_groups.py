"""`groupby(…).apply`, `.transform` and `.agg` with Python functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import skate.pandas as spd
from skate.pandas import ledger

ROWS = 1_200


pytestmark = pytest.mark.usefixtures("planned_from_a_hundred_rows")


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "key": rng.integers(0, 100, ROWS), "word": rng.choice([f"w{i:02}" for i in range(80)], ROWS), "a": rng.integers(0, 50, ROWS),
            "b": np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(0, 10, ROWS)), "text": [f"t{i}" for i in range(ROWS)],
        },
        index=pd.Index(np.arange(ROWS) * 3, name="id"),
    )  # fmt: skip


def spread(group: Any) -> float:
    values = sorted(v for v in group["b"].tolist() if v == v)
    return values[-1] - values[0] if values else 0.0


def check(make: Any) -> str:
    """Both results are the same; the last digits may differ where it was traced. Returns the engine."""
    plain = frame()
    expected, result = make(plain), make(spd.from_pandas(plain))
    engine = next((entry.engine for entry in ledger.entries.values() if entry.what.startswith("groupby")), "pandas")
    test: Any = pd.testing.assert_frame_equal if isinstance(expected, pd.DataFrame) else pd.testing.assert_series_equal
    test(expected, result.to_pandas(), **({"rtol": 1e-9} if engine == "traced" else {"check_exact": True}))
    return engine


TRACED = [
    lambda df: df.groupby("key")["b"].transform(lambda s: (s - s.mean()) / (s.std() + 1)),
    lambda df: df.groupby("key")["a"].transform(lambda s: s - s.min()),
    lambda df: df.groupby("word")["b"].transform(lambda s: s.fillna(s.mean())),
    lambda df: df.groupby("word")["a"].transform(lambda s: s.max()),
    lambda df: df.groupby("word")["a"].transform(lambda s: s.cumsum() / s.sum()),
    lambda df: df.groupby("key")["b"].agg(lambda s: s.max() - s.min()),
    lambda df: df.groupby("key")["a"].apply(lambda s: s.max() - s.min()),
    lambda df: df.groupby(["key"])["a"].apply(lambda s: len(s)),
    lambda df: df.groupby("key")[["a", "b"]].apply(lambda g: (g.a * g["b"]).sum() / g["a"].sum()),
    lambda df: df.groupby("key", sort=False)["b"].apply(lambda s: s.mean() * 2),
]  # fmt: skip
CALLED = [
    lambda df: df.groupby("key")[["a", "b"]].apply(spread),
    lambda df: df.groupby("word")[["a", "b"]].apply(lambda g: g.name),
    lambda df: df.groupby("word", sort=False)[["a", "b"]].apply(lambda g: len(set(g["a"].tolist()))),
    lambda df: df.groupby("key").apply(lambda g: ",".join(g["text"].tolist())),
    lambda df: df.groupby("key")["a"].agg(lambda s: int(s.iloc[0])),
    lambda df: df.groupby("key")["b"].transform(lambda s: s.rank(pct=True)),
    lambda df: df.groupby("key")["a"].transform(lambda s: 1),
    lambda df: df.groupby("key")["a"].apply(lambda s, k: s.sum() + k, 5),
]  # fmt: skip
PANDAS = [
    lambda df: df.groupby("key")[["a", "b"]].apply(lambda g: g.head(1)),
    lambda df: df.groupby("key")[["a", "b"]].apply(lambda g: pd.Series({"x": g.a.sum(), "y": 1})),
    lambda df: df.groupby("key", as_index=False)["a"].agg(lambda s: s.max()),
    lambda df: df.groupby("b")["a"].transform(lambda s: s.max()),
    lambda df: df.groupby("key")[["a", "b"]].transform(lambda s: s - s.mean()),
    lambda df: df.groupby("key")["a"].apply(lambda s: None if s.sum() > 300 else 1),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(TRACED)))
def test_reductions_and_arithmetic_are_done_for_all_groups_at_once(case: int) -> None:
    assert check(TRACED[case]) == "traced"


@pytest.mark.parametrize("case", range(len(CALLED)))
def test_other_pure_functions_are_called_for_each_group(case: int) -> None:
    assert check(CALLED[case]) in ("python", "workers")


@pytest.mark.parametrize("case", range(len(PANDAS)))
def test_what_only_pandas_puts_together_is_pandas(case: int) -> None:
    assert check(PANDAS[case]) == "pandas"


def test_functions_with_effects_see_each_group_once_in_order() -> None:
    seen: list[Any] = []
    plain = frame()
    spd.from_pandas(plain).groupby("key")[["a"]].apply(lambda g: seen.append(g.name))
    assert seen == sorted(plain.key.unique())


def test_exceptions_are_pandas_own() -> None:
    plain = frame()

    def fails(group: Any) -> float:
        if group.name == 50:
            raise ValueError("no fifty")
        return 1.0

    with pytest.raises(ValueError, match="no fifty"):
        spd.from_pandas(plain).groupby("key")[["a"]].apply(fails)
