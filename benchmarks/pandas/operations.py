"""Is any operation slower than pandas, at any size? Each single operation at several sizes, pandas and skate.pandas by turns in one process.

`python -m benchmarks.pandas.operations [--rows 10,10000,300000,2000000] [--cases sort*,str_len] [--json FILE]`. Each call gets a frame of its
own (a shallow copy), whose result is computed at once: nothing is converted before the clock starts, which is the hardest case for a library
that plans. A ratio is pandas' time over ours; below 0.95 is marked. On 10 rows the extra time of a call counts, in microseconds.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas

import skate.pandas
from benchmarks.pandas.measure import disagreement, finish, summary
from benchmarks.pandas.programs.operations import CASES, tables

# What the list for two million rows of the brief's data has not: other dtypes.
MORE: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "filter_small_result": lambda pd, t: t["df"][t["df"].user == 17],
    "filter_string_and": lambda pd, t: t["df"][(t["df"].keyword == "word1") & (t["df"].score > 50)],
    "filter_numbers_only": lambda pd, t: t["numbers"][t["numbers"].score > 50],
    "filter_series": lambda pd, t: t["df"].score[t["df"].clicks > 500],
    "loc_mask": lambda pd, t: t["df"].loc[t["df"].clicks > 500, ["id", "score"]],
    "logical": lambda pd, t: (t["df"].score > 10) & (t["df"].clicks > 500),
    "add": lambda pd, t: t["df"].score + t["df"].clicks,
    "divide_int": lambda pd, t: t["df"].user / 7,
    "compare_string": lambda pd, t: t["df"].keyword == "word1",
    "isna_string": lambda pd, t: t["df"].title.isna(),
    "fillna_series": lambda pd, t: t["df"].score.fillna(0.0),
    "isin_int": lambda pd, t: t["df"].user.isin(list(range(100))),
    "reset_index_of_filter": lambda pd, t: t["df"][t["df"].clicks > 900].reset_index(drop=True),
    "set_index_string": lambda pd, t: t["df"].set_index("keyword"),
    "sort_int8": lambda pd, t: t["df"].assign(small=(t["df"].clicks % 100).astype("int8")).sort_values("small"),
    "sort_float_only": lambda pd, t: t["numbers"].sort_values("score"),
    "sort_series": lambda pd, t: t["df"].score.sort_values(),
    "sort_time": lambda pd, t: t["time"].sort_values("when"),
    "sort_stable": lambda pd, t: t["numbers"].sort_values("user", kind="stable"),
    "drop_duplicates_one": lambda pd, t: t["df"].drop_duplicates("user"),
    "drop_duplicates_string": lambda pd, t: t["narrow"].drop_duplicates("keyword"),
    "nunique_int": lambda pd, t: t["df"].user.nunique(),
    "nunique_string": lambda pd, t: t["df"].title.nunique(),
    "groupby_all_sum": lambda pd, t: t["numbers"].groupby("user").sum(),
    "groupby_many": lambda pd, t: t["df"].groupby("id")["score"].sum(),
    "groupby_unsorted": lambda pd, t: t["df"].groupby("keyword", sort=False)["score"].sum(),
    "groupby_columns": lambda pd, t: t["df"].groupby("user", as_index=False)["score"].sum(),
    "groupby_time_max": lambda pd, t: t["time"].groupby("keyword")["when"].max(),
    "groupby_var": lambda pd, t: t["df"].groupby("user")["score"].var(),
    "groupby_transform_sum": lambda pd, t: t["df"].groupby("user")["clicks"].transform("sum"),
    "groupby_cumcount": lambda pd, t: t["df"].groupby("user").cumcount(),
    "merge_outer": lambda pd, t: t["numbers"].merge(t["users"], on="user", how="outer"),
    "merge_right": lambda pd, t: t["numbers"].merge(t["users"], on="user", how="right"),
    "merge_index": lambda pd, t: t["numbers"].merge(t["users"].set_index("user"), left_on="user", right_index=True),
    "merge_itself": lambda pd, t: t["narrow"].merge(t["df"][["id", "clicks"]], on="id"),
    "merge_string": lambda pd, t: t["narrow"].merge(t["narrow"].drop_duplicates("keyword")[["keyword", "id"]], on="keyword"),
    "join_index": lambda pd, t: t["numbers"].join(t["users"].set_index("user"), on="user"),
    "dt_year": lambda pd, t: t["time"]["when"].dt.year,
    "dt_date": lambda pd, t: t["time"]["when"].dt.normalize(),
    "str_endswith": lambda pd, t: t["df"].title.str.endswith("data"),
    "str_lower": lambda pd, t: t["df"].title.str.lower(),
    "str_contains_case": lambda pd, t: t["df"].title.str.contains("PAPER", case=False),
    "concat_numbers": lambda pd, t: pd.concat([t["numbers"], t["numbers"]]),
    "rank_int": lambda pd, t: t["df"].clicks.rank(method="dense"),
    "sum_int": lambda pd, t: t["df"].clicks.sum(),
    "chain_masks": lambda pd, t: t["df"][(t["df"].score > 10) & (t["df"].clicks > 500) & (t["df"].user < 9000)][["id", "score"]],
    "chain_group_reset": lambda pd, t: t["df"].groupby(["keyword", "user"])["score"].mean().reset_index(),
    "to_numpy": lambda pd, t: t["df"].score.to_numpy(),
    "len": lambda pd, t: len(t["df"]),
}  # fmt: skip
ALL = {**{name: case for name, case in CASES.items() if not name.startswith("to_")}, **MORE, "to_datetime": CASES["to_datetime"]}
BAR = 0.95
BAR_TEN_ROWS_US = 15.0


def made_up(rows: int) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """The brief's events and users, with so many rows."""
    dice = np.random.default_rng(2018)
    weights = 1 / np.arange(1, 1001)
    words = np.array(["the", "of", "and", "to", "in", "for", "is", "data", "model", "paper", "word", "with", "from", "this"])
    titles = np.array([" ".join(line) for line in words[dice.integers(0, len(words), size=(min(rows, 50_000), 6))]])
    users = min(rows, 50_000)
    score = np.round(dice.normal(50, 20, size=rows), 4)
    score[::97] = np.nan
    when = np.datetime64("2018-01-01T00:00:00", "s") + dice.integers(0, 86_400 * 365, size=rows)
    events = pandas.DataFrame({
        "id": np.arange(rows),
        "keyword": np.array([f"word{i}" for i in range(1000)])[dice.choice(1000, size=rows, p=weights / weights.sum())],
        "title": titles[dice.integers(0, len(titles), size=rows)],
        "user": dice.integers(0, users, size=rows),
        "score": score,
        "clicks": dice.integers(0, 1000, size=rows),
        "when": pandas.Series(when).dt.strftime("%Y-%m-%d %H:%M:%S"),
    })  # fmt: skip
    people = pandas.DataFrame({
        "user": dice.permutation(users),
        "country": np.array(["NL", "DE", "FR", "US", "JP", "IN", "BR", "ZA"])[dice.integers(0, 8, size=users)],
        "age": dice.integers(18, 90, size=users),
    })  # fmt: skip
    return events, people


def copies(frames: dict[str, Any]) -> dict[str, Any]:
    """Shallow ones: nobody has planned anything over them, or converted a column."""
    return {name: frame.copy(deep=False) for name, frame in frames.items()}


def measure(
    case: Callable[[Any, Any], Any], mine: dict[str, Any], theirs: dict[str, Any], calls: int, budget_s: float
) -> tuple[float, float]:
    """The best time of a call in seconds, (pandas', ours), by turns."""
    best = [math.inf, math.inf]
    began = time.perf_counter()
    turns = 0
    while turns < 3 or (time.perf_counter() - began < budget_s and turns < 25):
        for side, pd, tables_ in ((0, pandas, theirs), (1, skate.pandas, mine)):
            fresh = [copies(tables_) for _ in range(calls)]
            gc.collect() if calls == 1 and turns == 0 else None
            started = time.perf_counter()
            for one in fresh:
                result = finish(case(pd, one))
            took = (time.perf_counter() - started) / calls
            del result, fresh
            best[side] = min(best[side], took)
        turns += 1
    return best[0], best[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pandas.operations", description=__doc__)
    parser.add_argument("--rows", default="10,10000,300000,2000000")
    parser.add_argument("--cases", default="*", help="comma-separated patterns")
    parser.add_argument("--budget", type=float, default=0.3, help="seconds a case and size, more where three calls take longer")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--all", action="store_true", help="print every case, not only those below the bar and the gains")
    arguments = parser.parse_args()
    names = [name for name in ALL if any(fnmatch.fnmatch(name, pattern) for pattern in arguments.cases.split(","))]
    records: list[dict[str, Any]] = []
    failures = 0
    for rows in map(int, arguments.rows.split(",")):
        events, people = made_up(rows)
        theirs = tables(pandas, events, people)
        mine = {name: skate.pandas.from_pandas(table) for name, table in theirs.items()}
        calls = 50 if rows < 1000 else 1
        for name in names:
            case = ALL[name]
            try:
                problem = disagreement(
                    summary(finish(case(pandas, theirs))), summary(finish(case(skate.pandas, copies(mine)))),
                    is_strict="sort" not in name and "outer" not in name,
                )  # fmt: skip
                pandas_s, skate_s = measure(case, mine, theirs, calls, arguments.budget)
            except Exception as error:
                problem, pandas_s, skate_s = f"{type(error).__name__}: {str(error)[:100]}", math.nan, math.nan
            extra_us = (skate_s - pandas_s) * 1e6
            ratio = pandas_s / skate_s
            bad = extra_us > BAR_TEN_ROWS_US if rows < 1000 else ratio < BAR
            failures += bool(bad or problem)
            records.append(
                {"case": name, "rows": rows, "pandas_s": pandas_s, "skate_s": skate_s, "ratio": ratio, "problem": problem}
            )
            mark = "!" if bad else "+" if ratio > 1.3 else " "
            if arguments.all or mark != " " or problem:
                print(
                    f"{mark} {rows:>9,} {name:24s} {pandas_s * 1e3:10.3f} ms {skate_s * 1e3:10.3f} ms {ratio:6.2f}x {extra_us:+9.1f} us {problem}",
                    flush=True,
                )
        sized = [record["ratio"] for record in records if record["rows"] == rows and record["ratio"] == record["ratio"]]
        print(
            f"== {rows:,} rows: geometric mean {math.exp(sum(map(math.log, sized)) / len(sized)):.2f}x, worst {min(sized):.2f}x",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(_record(records), indent=1) + "\n")
    return 1 if failures else 0


def _record(records: list[dict[str, Any]]) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "command": "python -m benchmarks.pandas.operations " + " ".join(sys.argv[1:]), "commit": commit,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}",
        "pandas": pandas.__version__, "cases": records,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
