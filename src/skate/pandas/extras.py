"""What skate.pandas has and pandas has not: ways in, the plan of a frame, and where the time of a program went."""

from __future__ import annotations

from typing import Any

from skate.pandas import execute, lazy, ledger, reports
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.plan import Levels, Node

ledger.on_change = reports.note_change


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
    """A table of what this program computed: per line of it the time, the rows, what ran where, why it was pandas, and what to change.

    The web UI has the same as a page (DataFrames), which is kept up to date while a session of Skate runs.
    """
    reports.publish()
    return reports.text()
