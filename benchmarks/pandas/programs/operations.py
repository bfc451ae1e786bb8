"""Single operations on 2M rows: the list for "never slower than pandas". `overhead` runs the same ones on 10 rows."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(pd: Any, directory: Path) -> dict[str, Any]:
    events = pd.read_csv(directory / "events.csv")
    return tables(pd, events, pd.read_csv(directory / "users.csv"))


def load_ten(pd: Any, directory: Path) -> dict[str, Any]:
    """Ten rows: here only the price of asking counts."""
    events = pd.read_csv(directory / "events.csv", nrows=10)
    return tables(pd, events, pd.read_csv(directory / "users.csv", nrows=10))


def tables(pd: Any, events: Any, users: Any) -> dict[str, Any]:
    stamped = events.assign(when=pd.to_datetime(events["when"]))
    return {
        "df": events, "users": users, "time": stamped, "numbers": events[["user", "score", "clicks"]],
        "narrow": events[["id", "keyword", "score"]], "series": stamped.set_index("when")["score"].sort_index(),
    }  # fmt: skip


def _to_file(write: Callable[[Any, str], None], pd: Any, t: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/out"
        write(t, path)
        return Path(path).stat().st_size > 0


_GROUPED = {"groupby_" + name: name for name in ("sum", "mean", "min", "max", "count", "std", "median", "first", "nunique")}

CASES: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    # columns and rows
    "column": lambda pd, t: t["df"]["score"],
    "columns": lambda pd, t: t["df"][["id", "score"]],
    "head": lambda pd, t: t["df"].head(100),
    "iloc_slice": lambda pd, t: t["df"].iloc[1:1000:3],
    "loc_rows": lambda pd, t: t["df"].loc[2:8, ["id", "score"]],
    "filter_equals": lambda pd, t: t["df"][t["df"].keyword == "word1"],
    "filter_number": lambda pd, t: t["df"][t["df"].score > 60],
    "filter_and": lambda pd, t: t["df"][(t["df"].score > 60) & (t["df"].clicks < 100)],
    "filter_isin": lambda pd, t: t["df"][t["df"].keyword.isin(["word1", "word7", "word30"])],
    "filter_between": lambda pd, t: t["df"][t["df"].clicks.between(100, 200)],
    "query": lambda pd, t: t["df"].query("score > 60 and clicks < 100"),
    "eval": lambda pd, t: t["df"].eval("score * clicks + 1"),
    "dropna": lambda pd, t: t["df"].dropna(),
    "fillna": lambda pd, t: t["df"].fillna({"score": 0.0}),
    "isna_sum": lambda pd, t: t["df"].isna().sum(),
    "sample": lambda pd, t: t["df"].sample(frac=0.5, random_state=1),
    "assign": lambda pd, t: t["df"].assign(total=lambda d: d.score * d.clicks),
    "arithmetic": lambda pd, t: t["df"].score * 2 + t["df"].clicks,
    "frame_arithmetic": lambda pd, t: t["numbers"] * 2 + 1,
    "compare": lambda pd, t: t["df"].score > 50,
    "where": lambda pd, t: t["df"].score.where(t["df"].score > 0, 0.0),
    "mask": lambda pd, t: t["df"].score.mask(t["df"].clicks > 500),
    "clip": lambda pd, t: t["df"].score.clip(0, 100),
    "round": lambda pd, t: t["df"].score.round(1),
    "astype_float": lambda pd, t: t["df"].clicks.astype("float64"),
    "astype_string": lambda pd, t: t["df"].clicks.astype(str),
    "astype_category": lambda pd, t: t["df"].keyword.astype("category"),
    "rename": lambda pd, t: t["df"].rename(columns={"score": "points"}),
    "drop": lambda pd, t: t["df"].drop(columns=["title"]),
    "set_index": lambda pd, t: t["df"].set_index("id"),
    "reset_index": lambda pd, t: t["df"].reset_index(drop=True),
    "concat": lambda pd, t: pd.concat([t["narrow"], t["narrow"]], ignore_index=True),
    # reductions
    "sum": lambda pd, t: t["df"].score.sum(),
    "mean": lambda pd, t: t["numbers"].mean(),
    "std": lambda pd, t: t["numbers"].std(),
    "median": lambda pd, t: t["df"].score.median(),
    "quantile": lambda pd, t: t["df"].score.quantile([0.1, 0.5, 0.9]),
    "describe": lambda pd, t: t["numbers"].describe(),
    "corr": lambda pd, t: t["numbers"].corr(),
    "nunique": lambda pd, t: t["df"].nunique(),
    "unique": lambda pd, t: t["df"].keyword.unique(),
    "value_counts": lambda pd, t: t["df"].keyword.value_counts(),
    "value_counts_int": lambda pd, t: t["df"].user.value_counts(),
    "duplicated": lambda pd, t: t["df"].duplicated(["keyword", "user"]),
    "drop_duplicates": lambda pd, t: t["df"].drop_duplicates(["keyword", "user"]),
    "cumsum": lambda pd, t: t["df"].clicks.cumsum(),
    "shift": lambda pd, t: t["df"].score.shift(1),
    "diff": lambda pd, t: t["df"].score.diff(),
    # order
    "sort_float": lambda pd, t: t["df"].sort_values("score"),
    "sort_int": lambda pd, t: t["df"].sort_values("user"),
    "sort_string": lambda pd, t: t["narrow"].sort_values("keyword"),
    "sort_two": lambda pd, t: t["narrow"].sort_values(["keyword", "score"], ascending=[True, False]),
    "sort_index": lambda pd, t: t["df"].sort_index(ascending=False),
    "nlargest": lambda pd, t: t["df"].nlargest(10, "score"),
    "sort_head": lambda pd, t: t["df"].sort_values("score", ascending=False).head(10),
    "rank": lambda pd, t: t["df"].score.rank(),
    # groups
    **{case: (lambda pd, t, name=name: getattr(t["df"].groupby("keyword")["score"], name)()) for case, name in _GROUPED.items()},
    "groupby_two": lambda pd, t: t["df"].groupby(["keyword", "clicks"])["score"].mean(),
    "groupby_named": lambda pd, t: (
        t["df"].groupby("keyword").agg(total=("clicks", "sum"), best=("score", "max"), n=("id", "count"))
    ),
    "groupby_int": lambda pd, t: t["df"].groupby("user")["score"].sum(),
    "groupby_size": lambda pd, t: t["df"].groupby("keyword").size(),
    "groupby_transform": lambda pd, t: t["df"].groupby("keyword")["score"].transform("mean"),
    "groupby_cumsum": lambda pd, t: t["df"].groupby("keyword")["clicks"].cumsum(),
    "groupby_rank": lambda pd, t: t["df"].groupby("keyword")["score"].rank(),
    "groupby_shift": lambda pd, t: t["df"].groupby("keyword")["score"].shift(),
    "groupby_head": lambda pd, t: t["df"].groupby("keyword").head(2),
    "pivot_table": lambda pd, t: (
        t["df"].assign(band=t["df"].clicks // 250).pivot_table(index="keyword", columns="band", values="score")
    ),
    "melt": lambda pd, t: t["df"].melt(id_vars="id", value_vars=["score", "clicks"]),
    "crosstab": lambda pd, t: pd.crosstab(t["df"].keyword, t["df"].clicks // 250),
    "cut": lambda pd, t: pd.cut(t["df"].clicks, [-1, 250, 500, 1000]),
    # joins
    "merge_small": lambda pd, t: t["df"].merge(t["users"], on="user"),
    "merge_left": lambda pd, t: t["df"].merge(t["users"], on="user", how="left"),
    "merge_filtered": lambda pd, t: t["df"][t["df"].keyword == "word1"].merge(t["users"], on="user"),
    "map_series": lambda pd, t: t["df"].user.map(t["users"].set_index("user").age),
    "isin_series": lambda pd, t: t["df"].user.isin(t["users"].user.head(1000)),
    # text
    "str_contains": lambda pd, t: t["df"].title.str.contains("paper", regex=False),
    "str_regex": lambda pd, t: t["df"].title.str.contains(r"the.*data|word$"),
    "str_startswith": lambda pd, t: t["df"].keyword.str.startswith("word1"),
    "str_upper": lambda pd, t: t["df"].keyword.str.upper(),
    "str_len": lambda pd, t: t["df"].title.str.len(),
    "str_replace": lambda pd, t: t["df"].title.str.replace("the", "a", regex=False),
    "str_slice": lambda pd, t: t["df"].keyword.str[4:],
    "str_strip": lambda pd, t: t["df"].title.str.strip(),
    "str_add": lambda pd, t: t["df"].keyword + "-" + t["df"].title,
    "str_extract": lambda pd, t: t["df"].keyword.str.extract(r"(\d+)"),
    "str_split": lambda pd, t: t["df"]["when"].str.split(" ", expand=True),
    # time
    "to_datetime": lambda pd, t: pd.to_datetime(t["df"]["when"]),
    "to_datetime_format": lambda pd, t: pd.to_datetime(t["df"]["when"], format="%Y-%m-%d %H:%M:%S"),
    "dt_hour": lambda pd, t: t["time"]["when"].dt.hour,
    "dt_floor": lambda pd, t: t["time"]["when"].dt.floor("D"),
    "dt_strftime_month": lambda pd, t: t["time"]["when"].dt.month_name(),
    "filter_time": lambda pd, t: t["time"][t["time"]["when"] >= "2018-07-01"],
    "groupby_day": lambda pd, t: (
        t["time"].groupby(t["time"]["when"].dt.date)["score"].mean()
        if len(t["df"]) < 100
        else t["time"].groupby(t["time"]["when"].dt.dayofyear)["score"].mean()
    ),
    "resample": lambda pd, t: t["series"].resample("D").mean(),
    "rolling_mean": lambda pd, t: t["df"].score.rolling(7).mean(),
    "expanding_max": lambda pd, t: t["df"].score.expanding().max(),
    "ewm": lambda pd, t: t["df"].score.ewm(span=10).mean(),
    # files
    "to_csv": functools.partial(_to_file, lambda t, path: t["df"].head(500_000).to_csv(path, index=False)),
    "to_parquet": functools.partial(_to_file, lambda t, path: t["df"].to_parquet(path)),
    # chains
    "chain_filter_sort": lambda pd, t: t["df"][t["df"].score > 60].sort_values("clicks").head(100),
    "chain_filter_group": lambda pd, t: t["df"][t["df"].keyword != "word1"].groupby("user")["score"].max().nlargest(5),
    "chain_assign_group": lambda pd, t: (
        t["df"].assign(v=t["df"].score * t["df"].clicks).groupby("keyword")["v"].sum().sort_values()
    ),
    "chain_merge_group": lambda pd, t: t["df"].merge(t["users"], on="user").query("age > 40").groupby("country")["score"].mean(),
}
