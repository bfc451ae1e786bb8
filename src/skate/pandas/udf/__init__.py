"""Python functions on the engine's workers."""

from __future__ import annotations

from typing import Any


def series_map(series: Any, func: Any, **kw: Any) -> Any:
    """`Series.map` and `Series.apply`; NotImplemented leaves it to pandas."""
    return NotImplemented


def frame_apply(frame: Any, func: Any, axis: Any, args: Any, kwargs: Any) -> Any:
    """`DataFrame.apply`; NotImplemented leaves it to pandas."""
    return NotImplemented


def groupby_apply(groupby: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """`GroupBy.apply`; NotImplemented leaves it to pandas."""
    return NotImplemented


def groupby_transform(groupby: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """`GroupBy.transform` with a Python function; NotImplemented leaves it to pandas."""
    return NotImplemented
