"""Python functions in pandas' methods: traced to column calculations, or called on all cores, with the results that pandas would have."""

from __future__ import annotations

from skate.pandas.udf.elements import ROWS_MIN, frame_map, is_worth, series_map
from skate.pandas.udf.groups import groupby_aggregate, groupby_apply, groupby_transform
from skate.pandas.udf.rows import frame_apply

__all__ = [
    "ROWS_MIN",
    "frame_apply",
    "frame_map",
    "groupby_aggregate",
    "groupby_apply",
    "groupby_transform",
    "is_worth",
    "series_map",
]
