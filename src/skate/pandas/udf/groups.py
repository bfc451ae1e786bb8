"""`groupby(…).apply`, `.transform` and `.agg` with a Python function."""

from __future__ import annotations

from typing import Any


def groupby_apply(groupby: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """`GroupBy.apply`; NotImplemented leaves it to pandas."""
    return NotImplemented


def groupby_transform(groupby: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """`GroupBy.transform` with a Python function; NotImplemented leaves it to pandas."""
    return NotImplemented


def groupby_aggregate(groupby: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """`GroupBy.agg` with a Python function; NotImplemented leaves it to pandas."""
    return NotImplemented
