"""db-benchmark's ten group-by questions (https://duckdblabs.github.io/db-benchmark), as its pandas solution puts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(pd: Any, directory: Path) -> dict[str, Any]:
    return {"x": pd.read_parquet(directory / "x.parquet")}


def q1(pd: Any, t: dict[str, Any]) -> Any:
    return t["x"].groupby("id1", as_index=False, sort=False, observed=True, dropna=False).agg({"v1": "sum"})


def q2(pd: Any, t: dict[str, Any]) -> Any:
    return t["x"].groupby(["id1", "id2"], as_index=False, sort=False, observed=True, dropna=False).agg({"v1": "sum"})


def q3(pd: Any, t: dict[str, Any]) -> Any:
    return t["x"].groupby("id3", as_index=False, sort=False, observed=True, dropna=False).agg({"v1": "sum", "v3": "mean"})


def q4(pd: Any, t: dict[str, Any]) -> Any:
    by = t["x"].groupby("id4", as_index=False, sort=False, observed=True, dropna=False)
    return by.agg({"v1": "mean", "v2": "mean", "v3": "mean"})


def q5(pd: Any, t: dict[str, Any]) -> Any:
    by = t["x"].groupby("id6", as_index=False, sort=False, observed=True, dropna=False)
    return by.agg({"v1": "sum", "v2": "sum", "v3": "sum"})


def q6(pd: Any, t: dict[str, Any]) -> Any:
    by = t["x"].groupby(["id4", "id5"], as_index=False, sort=False, observed=True, dropna=False)
    return by.agg({"v3": ["median", "std"]})


def q7(pd: Any, t: dict[str, Any]) -> Any:
    by = t["x"].groupby("id3", as_index=False, sort=False, observed=True, dropna=False)
    return by.agg({"v1": "max", "v2": "min"}).assign(range_v1_v2=lambda x: x["v1"] - x["v2"])[["id3", "range_v1_v2"]]


def q8(pd: Any, t: dict[str, Any]) -> Any:
    rows = t["x"][~t["x"]["v3"].isna()][["id6", "v3"]].sort_values("v3", ascending=False)
    return rows.groupby("id6", as_index=False, sort=False, observed=True, dropna=False).head(2)


def q9(pd: Any, t: dict[str, Any]) -> Any:
    """The square of the correlation of v1 and v2, from sums (db-benchmark's own pandas solution uses apply and takes minutes)."""
    x = t["x"][["id2", "id4", "v1", "v2"]]
    x = x.assign(v12=x.v1 * x.v2, v11=x.v1 * x.v1, v22=x.v2 * x.v2)
    by = x.groupby(["id2", "id4"], as_index=False, sort=False, observed=True, dropna=False)
    s = by.agg(n=("v1", "size"), s1=("v1", "sum"), s2=("v2", "sum"), s12=("v12", "sum"), s11=("v11", "sum"), s22=("v22", "sum"))
    over = s.n * s.s12 - s.s1 * s.s2
    return s.assign(r2=over**2 / ((s.n * s.s11 - s.s1**2) * (s.n * s.s22 - s.s2**2)))[["id2", "id4", "r2"]]


def q10(pd: Any, t: dict[str, Any]) -> Any:
    by = t["x"].groupby(["id1", "id2", "id3", "id4", "id5", "id6"], as_index=False, sort=False, observed=True, dropna=False)
    return by.agg({"v3": "sum", "v1": "size"})


CASES = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q5": q5, "q6": q6, "q7": q7, "q8": q8, "q9": q9, "q10": q10}
