"""What skate.pandas has and pandas has not."""

from __future__ import annotations

from typing import Any

from skate.pandas import lazy
from skate.pandas.plain import PlainFrame, PlainSeries


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
    """The plan of a frame or series, as text."""
    plan = lazy.planned(value) if hasattr(value, "__dict__") else None
    if plan is None:
        return "in memory, in pandas' own blocks: nothing is planned"
    return plan.what


def report() -> str:
    """Where the time of this program went."""
    return ""
