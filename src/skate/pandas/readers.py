"""read_parquet: large files become a scan of the columns and row groups that are needed.

Whatever a scan can't promise (a dtype that depends on the values, an index that is stored, options) is pandas' own reader's.
"""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from skate.pandas import kinds, lazy, ledger
from skate.pandas.nodes import ParquetScan
from skate.pandas.plan import Column, Plan, RowNumbers
from skate.pandas.settings import settings
from skate.pandas.warning_lines import counts_as_pandas

_real_read_parquet = pd.read_parquet


def read_parquet(path: Any, *args: Any, **kwargs: Any) -> Any:
    # What was not given is not handed on: giving the default of `engine` is deprecated.
    if not args and kwargs.keys() <= {"columns"}:
        try:
            made = _scan(path, kwargs.get("columns"))
        except Exception:
            made = None  # The file is broken or strange: pandas says so in its own words.
        if made is not None:
            return made
    return lazy.adopt(_real_read_parquet(path, *args, **kwargs))


counts_as_pandas(read_parquet)
read_parquet.__doc__ = pd.read_parquet.__doc__
read_parquet.__wrapped__ = pd.read_parquet  # type: ignore[attr-defined]


def _scan(path: Any, wanted: Any) -> Any:
    if not isinstance(path, (str, os.PathLike)):
        return None
    name = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if not os.path.isfile(name) or os.path.getsize(name) < settings.file_bytes_min:
        return None
    if wanted is not None and not (isinstance(wanted, list) and wanted and all(isinstance(column, str) for column in wanted)):
        return None
    import pyarrow.parquet as pq

    with pq.ParquetFile(name) as file:
        metadata, schema = file.metadata, file.schema_arrow
    index = RowNumbers()
    stored = schema.pandas_metadata
    if stored is not None:
        indexes = stored["index_columns"]
        if len(indexes) != 1 or not isinstance(indexes[0], dict) or indexes[0].get("kind") != "range":
            if indexes:
                return None
        else:
            index = RowNumbers(indexes[0]["name"], indexes[0]["start"], indexes[0]["step"])
            if indexes[0]["start"] + indexes[0]["step"] * metadata.num_rows != indexes[0]["stop"]:
                return None
        if any(one["name"] is not None for one in stored.get("column_indexes", [])) or stored.get("attributes"):
            return None
    if len(set(schema.names)) != len(schema.names) or metadata.num_columns != len(schema.names):
        return None
    buffer = io.BytesIO()
    pq.write_table(schema.empty_table(), buffer)
    empty = _real_read_parquet(buffer)
    labels = list(empty.columns) if wanted is None else wanted
    if (
        len(set(labels)) != len(labels)
        or not all(label in empty.columns for label in labels)
        or list(empty.columns) != schema.names
    ):
        return None
    dtypes: dict[str, Column] = {}
    nulls: dict[str, bool] = {}
    for place, label in enumerate(schema.names):
        dtype = empty.dtypes.iloc[place]
        if kinds.polars_dtype(dtype) is None:
            if label in labels:
                return None
            continue
        has_nulls = _has_nulls(metadata, place)
        if not kinds.can_be_missing(dtype) and has_nulls:
            if label in labels:
                return None
            continue
        nulls[label] = has_nulls
        dtypes[label] = Column(pl.col(label), dtype, may_nan=isinstance(dtype, np.dtype) and dtype.kind == "f")
    scan = ParquetScan(name, dtypes, nulls)
    columns = {label: dtypes[label] for label in labels}

    def replay() -> Any:
        return _real_read_parquet(name, columns=wanted)

    plan = Plan(scan, columns, index, replay, f"read_parquet({os.path.basename(name)!r})", ledger.user_line(), is_whole_scan=True)
    plan.result = None
    return lazy.new_frame(plan)


def _has_nulls(metadata: Any, place: int) -> bool:
    """Whether a column may have nulls, by the statistics of its row groups."""
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(place).statistics
        if statistics is None or not statistics.has_null_count or statistics.null_count:
            return True
    return False
