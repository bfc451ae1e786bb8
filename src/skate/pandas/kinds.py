"""Which dtypes of pandas are planned, and how a column moves between pandas and Polars, without a copy where that is possible.

Planned: integers, floats, bool, `str`, datetime64 and timedelta64 without a zone. A column of any other dtype (object, category,
period, complex, sparse, zoned …) is born on pandas and stays there.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

STR = pd.StringDtype("pyarrow", na_value=np.nan)
INT64 = np.dtype("int64")
FLOAT64 = np.dtype("float64")
BOOL = np.dtype("bool")

_POLARS = {
    "int8": pl.Int8, "int16": pl.Int16, "int32": pl.Int32, "int64": pl.Int64, "uint8": pl.UInt8, "uint16": pl.UInt16,
    "uint32": pl.UInt32, "uint64": pl.UInt64, "float32": pl.Float32, "float64": pl.Float64, "bool": pl.Boolean,
}  # fmt: skip
_UNITS = {"s": "ms", "ms": "ms", "us": "us", "ns": "ns"}  # Polars has no seconds.


def is_str(dtype: Any) -> bool:
    return isinstance(dtype, pd.StringDtype) and dtype.na_value is np.nan and dtype.storage == "pyarrow"


@functools.lru_cache(maxsize=1024)
def polars_dtype(dtype: Any) -> Any:
    """Polars' dtype for a dtype of pandas, or None if columns of it are not planned."""
    if isinstance(dtype, np.dtype):
        if dtype.kind in "iufb":
            return _POLARS.get(dtype.name)
        if dtype.kind == "M":
            return pl.Datetime(_UNITS[np.datetime_data(dtype)[0]])  # type: ignore[arg-type]
        if dtype.kind == "m":
            return pl.Duration(_UNITS[np.datetime_data(dtype)[0]])  # type: ignore[arg-type]
        return None
    return pl.String if is_str(dtype) else None


def is_float(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "f"


def is_integer(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iu"


def is_number(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iuf"


def is_bool(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "b"


def is_time(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "Mm"


def can_be_missing(dtype: Any) -> bool:
    return not (is_integer(dtype) or is_bool(dtype))


def to_polars(values: Any, name: str) -> pl.Series:
    """The values of a pandas column (an array or extension array of a planned dtype) with each missing value a null."""
    dtype = values.dtype
    if is_str(dtype):
        array = values.__arrow_array__()
        series = pl.Series(name, array)
        return series if series.dtype == pl.String else series.cast(pl.String)
    array = np.asarray(values)
    if dtype.kind == "f":
        has_nan = bool(np.isnan(array).any())
        return pl.Series(name, pl.from_arrow(pa.array(array, from_pandas=has_nan)))
    if dtype.kind in "Mm":
        unit = np.datetime_data(dtype)[0]
        if unit == "s":
            array = array.astype(f"{dtype.kind}8[ms]")
        return pl.Series(name, pl.from_arrow(pa.array(array, from_pandas=True)))
    if dtype.kind == "b":
        return pl.Series(name, array)
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return pl.Series(name, pl.from_arrow(pa.array(array)))


def to_pandas_array(series: pl.Series, dtype: Any) -> Any:
    """An array of exactly this dtype of pandas; writable only where Polars' memory had to be copied anyway.

    Raises:
        ValueError: A dtype that has no missing value would have to hold one.
    """
    if is_str(dtype):
        array = series.to_arrow()
        if array.type != pa.large_string():
            array = array.cast(pa.large_string())
        return dtype.__from_arrow__(pa.chunked_array([array]))
    wanted = polars_dtype(dtype)
    if series.dtype != wanted:
        series = series.cast(wanted)
    if series.null_count():
        if dtype.kind in "iub":
            raise ValueError(f"a missing value in a column of {dtype}")
        if dtype.kind in "Mm":
            ints = series.to_physical().fill_null(np.iinfo("int64").min).to_numpy()
            unit = series.dtype.time_unit  # type: ignore[attr-defined]
            return ints.view(f"{dtype.kind}8[{unit}]").astype(dtype, copy=False)
        return series.to_numpy()
    if dtype.kind in "Mm":
        return series.to_physical().to_numpy().view(f"{dtype.kind}8[{series.dtype.time_unit}]").astype(dtype, copy=False)  # type: ignore[attr-defined]
    return series.to_numpy()
