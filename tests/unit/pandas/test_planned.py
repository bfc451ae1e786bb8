"""Planned operations: each is planned at all, and the check mode compares what Polars makes of it with pandas, dtypes and index included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

import skate.pandas as pd
from skate.pandas import lazy


@pytest.fixture(autouse=True)
def _checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pd.settings, "check", True)
    monkeypatch.setattr(pd.settings, "rows_min", 1)
    yield


def some_frame(rows: int = 1000, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "k": rng.integers(0, 20, rows),
        "v": np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows)),
        "s": rng.choice(np.array(["a", "bb", "ccc", None], dtype=object), rows),
        "d": pandas.Timestamp("2020-01-01") + pandas.to_timedelta(rng.integers(0, 900, rows), unit="D"),
        "b": rng.random(rows) < 0.5,
    })  # fmt: skip


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "filter": lambda df: df[df.k > 3],
    "filter by several": lambda df: df[(df.k > 3) & (df.s == "a") | ~df.b],
    "not equal keeps what is missing": lambda df: df[df.s != "a"],
    "equal drops what is missing": lambda df: df[df.s == "a"],
    "filter and select": lambda df: df[df.v < 0.5][["k", "v"]],
    "arithmetic": lambda df: df.k + df.v * 2 - 1 / df.v,
    "division by zero": lambda df: df.v / df.k,
    "zero by zero": lambda df: (df.k - df.k) / (df.k - df.k) > 0,
    "infinity is not missing": lambda df: (1 / (df.k * 0)).isna(),
    "integers divided": lambda df: df.k / 3,
    "scalar first": lambda df: 2 - df.k,
    "date text": lambda df: df[df.d >= "2021-01-01"],
    "date": lambda df: df[df.d < pandas.Timestamp("2021-05-05")],
    "isin": lambda df: df[df.s.isin(["a", "ccc"])],
    "isin a planned series": lambda df: df[df.k.isin(df[df.v > 0.9].k)],
    "contains": lambda df: df[df.s.str.contains("b")],
    "contains a pattern": lambda df: df[df.s.str.contains("b.*b|a")],
    "startswith": lambda df: df[df.s.str.startswith("c")],
    "endswith": lambda df: df[df.s.str.endswith(("c", "b"))],
    "slice of text": lambda df: df.s.str.slice(0, 2),
    "sort": lambda df: df.sort_values("v"),
    "sort by several": lambda df: df.sort_values(["k", "v"], ascending=[False, True]),
    "sort with missing first": lambda df: df.sort_values("s", kind="stable", na_position="first"),
    "sort downwards": lambda df: df.sort_values("s", kind="stable", ascending=False),
    "drop_duplicates": lambda df: df.drop_duplicates("k"),
    "drop_duplicates last": lambda df: df.drop_duplicates(["k", "s"], keep="last"),
    "groupby sum": lambda df: df.groupby("k")[["v"]].sum(),
    "groupby mean": lambda df: df.groupby("k").v.mean(),
    "groupby size": lambda df: df.groupby(["k", "s"]).size(),
    "groupby as columns": lambda df: df.groupby("s", as_index=False).v.sum(),
    "groupby in order of appearance": lambda df: df.groupby("s", sort=False).agg({"v": "mean", "k": "max"}),
    "groupby named": lambda df: df.groupby("s").agg(x=("v", "sum"), y=("d", "max"), z=("b", "count")),
    "groupby several": lambda df: df.groupby("k").agg({"v": ["mean", "std"]}),
    "groupby list": lambda df: df.groupby("k").v.agg(["min", "max"]),
    "groupby first": lambda df: df.groupby("s").first(),
    "groupby with missing keys": lambda df: df.groupby("s", dropna=False).nunique(),
    "groupby median": lambda df: df.groupby("s", dropna=False).v.median(),
    "groupby a series": lambda df: df.groupby(df.d.dt.year.rename("y")).v.sum(),
    "groupby bool": lambda df: df.groupby("b").v.var(),
    "merge": lambda df: df.merge(df.drop_duplicates("k")[["k", "v"]], on="k"),
    "merge with missing keys": lambda df: df.merge(df[df.k > 17][["s", "v"]], on="s"),
    "left merge": lambda df: df.merge(df[["k", "b"]].drop_duplicates("k").rename(columns={"k": "kk"}), left_on="k", right_on="kk", how="left"),
    "left merge without a match": lambda df: df[df.k < 5].merge(
        df[df.k > 3][["k", "v", "d"]].drop_duplicates("k"), on="k", how="left", suffixes=("", "_r")
    ),
    "left merge that widens integers": lambda df: df.merge(df[df.k > 9].drop_duplicates("k")[["k", "d"]].assign(q=1), on="k", how="left"),
    "reset_index": lambda df: df[df.k > 3].reset_index(),
    "reset_index drop": lambda df: df[df.k > 3].reset_index(drop=True),
    "reset_index of groups": lambda df: df.groupby(["k", "s"]).v.sum().reset_index(),
    "set_index": lambda df: df[df.k > 2].set_index("s"),
    "assign": lambda df: df.assign(z=lambda x: x.v * 2, w=1, t="q"),
    "query": lambda df: df.query("k > 3 and s == 'a' or not b"),
    "query in": lambda df: df.query("s in ['a', 'bb'] and 0.1 < v <= 0.7"),
    "dropna of what was filtered": lambda df: df[df.k > 2].dropna(subset=["v"]),
    "fillna": lambda df: df.v.fillna(0),
    "isna": lambda df: df.v.isna(),
    "notna": lambda df: df.s.notna(),
    "astype": lambda df: df.k.astype(float),
    "loc": lambda df: df.loc[df.k > 3, ["k", "s"]],
    "loc one column": lambda df: df.loc[df.k > 3, "s"],
    "head": lambda df: df[df.v > 0.2].head(7),
    "month": lambda df: df.d.dt.month,
    "day_of_week": lambda df: df.d.dt.day_of_week,
    "between": lambda df: df[df.k > 4].k.between(5, 7),
    "nothing left": lambda df: df[df.k == 99],
    "groups of nothing": lambda df: df[df.k == 99].groupby("s").v.sum(),
    "merge of nothing": lambda df: df[df.k == 99].merge(df, on="k"),
    "a series by a mask": lambda df: df.v[df.k > 3],
    "negative": lambda df: -df.v,
    "drop": lambda df: df[df.k > 3].drop(columns=["s", "d"]),
    "rename": lambda df: df[df.k > 3].rename(columns={"k": "key"}),
    "a filter of a filter": lambda df: df[df.k > 3][lambda x: x.v > 0.5],
    "sort of groups": lambda df: df.groupby(["k", "b"], as_index=False).v.sum().sort_values(["v", "k"], ascending=[False, True]),
    "merge, filter, groupby": lambda df: df.merge(df[df.v > 0.9][["k", "d"]], on="k").query("b").groupby("s", as_index=False).agg(n=("v", "count")),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name: str) -> None:
    made = OPERATIONS[name](some_frame())
    assert lazy.planned(made) is not None, "it was not planned"
    plain = OPERATIONS[name](some_frame().to_pandas())
    assert list(made.columns if made.ndim == 2 else [made.name]) == list(plain.columns if plain.ndim == 2 else [plain.name])
    assert made.shape == plain.shape
    made._mgr


@pytest.mark.parametrize("name", ["sum", "mean", "min", "max", "count", "nunique", "std", "var", "median"])
@pytest.mark.parametrize("column", ["k", "v"])
def test_reduction(name: str, column: str) -> None:
    frame = some_frame()
    planned = getattr(frame[frame.k > 2][column], name)()
    plain = frame.to_pandas()
    expected = getattr(plain[plain.k > 2][column], name)()
    assert type(planned) is type(expected)
    assert planned == pytest.approx(expected)


_COLUMNS = {
    "k": st.integers(-3, 3),
    "v": st.one_of(st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, -0.0]), st.floats(-100, 100)),
    "s": st.sampled_from(["a", "bb", "ccc", "", "é", None]),
    "d": st.sampled_from([pandas.Timestamp("2020-01-01"), pandas.Timestamp("1969-07-20"), pandas.NaT]),
    "b": st.booleans(),
}
_PICKED = sorted(set(OPERATIONS) - {"month", "day_of_week", "groupby a series", "query", "dropna of what was filtered", "groupby several",
                                    "groupby bool", "groupby mean"})  # fmt: skip


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.fixed_dictionaries(_COLUMNS), min_size=1, max_size=8),
    st.sampled_from(_PICKED),
    st.sampled_from([None, "filter", "sort", "index"]),
)
def test_made_up_frames(rows: list[dict[str, Any]], name: str, before: str | None) -> None:
    frame = pd.DataFrame({
        "k": np.array([row["k"] for row in rows], dtype="int64"),
        "v": np.array([row["v"] for row in rows], dtype="float64"),
        "s": pandas.array([row["s"] for row in rows], dtype="str"),
        "d": pandas.Series([row["d"] for row in rows], dtype="datetime64[ns]"),
        "b": np.array([row["b"] for row in rows], dtype=bool),
    })  # fmt: skip
    if before == "filter":
        frame = frame[frame.k != 0]
    elif before == "sort":
        frame = frame.sort_values(["k", "s"])
    elif before == "index":
        frame.index = pandas.Index(np.arange(len(frame)) * 7)
    with np.errstate(all="ignore"):
        made = OPERATIONS[name](frame)
        made._mgr


def test_a_mistake_of_an_accelerated_operation_is_found() -> None:
    frame = some_frame()
    made = frame[frame.k > 3]
    lazy.planned(made).replay = lambda: frame.to_pandas().iloc[:5]  # type: ignore[union-attr]
    with pytest.raises(pd.CheckError, match="filter differs from pandas"):
        made._mgr


def test_later_changes_do_not_reach_a_plan() -> None:
    frame = some_frame()
    wanted = frame.to_pandas()[frame.to_pandas().k > 3].copy()
    made = frame[frame.k > 3]
    frame.loc[:, "v"] = 0.0
    frame["k"] = 0
    frame.iloc[0, 0] = 99
    pandas.testing.assert_frame_equal(made.to_pandas(), wanted)


def test_changes_of_a_frame_are_seen_by_later_plans() -> None:
    frame = some_frame()
    assert len(frame[frame.k > 100]) == 0
    frame.loc[3, "k"] = 1000
    assert frame[frame.k > 100].index.tolist() == [3]
    frame.index = frame.index + 5
    assert frame[frame.k > 100].index.tolist() == [8]
    frame.columns = list("vwxyz")
    assert frame[frame.v > 100].columns.tolist() == list("vwxyz")


def test_a_result_can_be_changed_without_reaching_what_it_came_from() -> None:
    frame = some_frame()
    made = frame[frame.k >= 0]
    copy = made.copy()
    made.loc[0, "v"] = 77.0
    made["new"] = 1
    assert frame.v[0] != 77.0
    assert copy.v[0] != 77.0
    assert "new" not in copy


def test_missing_columns_raise_as_in_pandas() -> None:
    frame = some_frame()
    made = frame[frame.k > 3]
    with pytest.raises(KeyError, match="nope"):
        made["nope"]
    with pytest.raises(KeyError, match="nope"):
        made.groupby("nope")
    with pytest.raises(KeyError, match="nope"):
        made.merge(frame, on="nope")
    with pytest.raises(AttributeError, match="nope"):
        _ = made.nope
    with pytest.raises(TypeError):
        _ = made.k > "x"


def test_strict_mode_refuses_to_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.settings, "fallback_is_error", True)
    frame = some_frame()
    with pytest.raises(pd.FallbackError, match="merge how='outer'"):
        frame[frame.k > 3].merge(frame, on="k", how="outer")


def test_small_frames_are_never_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.settings, "rows_min", 50_000)
    frame = some_frame(10)
    for made in (frame[frame.k > 3], frame.k + 1, frame.groupby("k").v.sum(), frame.merge(frame, on="k")):
        assert lazy.planned(made) is None
