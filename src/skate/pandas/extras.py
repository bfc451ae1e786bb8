"""What skate.pandas has and pandas has not: ways in, the plan of a frame, and where the time of a program went."""

from __future__ import annotations

import os
from typing import Any

import skate
from skate.pandas import execute, lazy, ledger
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.plan import Levels, Node


def from_pandas(value: Any) -> Any:
    """A frame or series of pandas as ours, sharing its memory (copy-on-write keeps the two apart).

    Raises:
        TypeError: Neither a DataFrame nor a Series.
    """
    if not isinstance(value, (PlainFrame, PlainSeries)):
        raise TypeError(f"from_pandas takes a pandas DataFrame or Series, and this is a {type(value).__name__}")
    return lazy.adopt(value.copy(deep=False)) if type(value) in lazy.classes else value


def from_polars(value: Any) -> Any:
    """A Polars DataFrame or LazyFrame as a DataFrame with a RangeIndex.

    Raises:
        TypeError: Something else.
    """
    import polars as pl

    if isinstance(value, pl.LazyFrame):
        value = value.collect()
    if not isinstance(value, pl.DataFrame):
        raise TypeError(f"from_polars takes a Polars DataFrame or LazyFrame, and this is a {type(value).__name__}")
    return lazy.adopt(value.to_pandas())


def explain(value: Any) -> str:
    """The plan of a frame or series as text: our nodes, and what Polars' optimiser made of them (projections and predicates pushed down).

    Raises:
        TypeError: Neither a DataFrame nor a Series.
    """
    if not isinstance(value, (PlainFrame, PlainSeries)):
        raise TypeError(f"explain takes a DataFrame or Series, and this is a {type(value).__name__}")
    plan = lazy.planned(value) if type(value) in lazy.ours else None
    if plan is None:
        return "in memory, in pandas' own blocks: nothing is planned"
    lines = [f"{plan.what}, not computed yet; columns: {', '.join(str(label) for label in plan.columns)}"]
    if execute.is_better_left_to_pandas(plan):
        lines.append("will be done by pandas, which is as fast at it (element-wise work on what it holds, or a whole file)")
    _describe(plan.base, lines, 0)
    exprs = {f"{i}": column.expr for i, column in enumerate(plan.columns.values())}
    if isinstance(plan.index, Levels):
        exprs.update({f"i{i}": column.expr for i, column in enumerate(plan.index.columns)})
    lines += ["", "Polars' optimised plan:", execute.optimised(plan.base, exprs)]
    return "\n".join(lines)


def _describe(node: Node, lines: list[str], depth: int) -> None:
    lines.append("  " * depth + "└ " + node.describe())
    for child in node.inputs:
        _describe(child, lines, depth + 1)


def report() -> str:
    """A table of what this program computed: per line of it the time, the rows, what ran where and, where it was pandas, why.

    The same goes to the dashboard, as the document "dataframe" of `skate.publish`.
    """
    found = sorted(ledger.entries.copy().values(), key=lambda entry: -entry.seconds)
    document: list[dict[str, Any]] = [
        {
            "file": entry.line[0] if entry.line else "", "line": entry.line[1] if entry.line else 0, "operation": entry.what, "engine": entry.engine,
            "calls": entry.calls, "seconds": round(entry.seconds, 6), "rows": entry.rows, "reason": entry.reason,
        }
        for entry in found
    ]  # fmt: skip
    publish = getattr(skate, "publish", None)
    if publish is not None:
        publish("dataframe", f"pandas-{os.getpid()}", {"lines": document})
    if not document:
        return "nothing was planned: the data was small, or all of it was pandas' own work"
    rows = [("seconds", "calls", "rows", "engine", "operation", "where", "why pandas")]
    for one in document:
        where = f"{os.path.basename(one['file'])}:{one['line']}" if one["file"] else "?"
        rows.append(
            (
                f"{one['seconds']:.4f}",
                str(one["calls"]),
                f"{one['rows']:,}",
                one["engine"],
                one["operation"],
                where,
                one["reason"],
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
