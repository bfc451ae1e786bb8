"""pandas' element-wise operations as expressions with pandas' meaning: what NaN compares to, which dtype comes out, what is missing.

Each function returns a Column, or None when the case is left to pandas.
"""

from __future__ import annotations

import datetime
import functools
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from skate.pandas import kinds
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.plan import Column

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
}  # fmt: skip
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
LOGICAL: dict[str, Callable[[Any, Any], Any]] = {"and_": operator.and_, "or_": operator.or_, "xor": operator.xor}

_SAMPLES: dict[str, Any] = {"M": "2001-02-03", "m": 1}


@functools.lru_cache(maxsize=4096)
def _arithmetic_dtype(name: str, left: Any, right: Any, scalar: Any) -> Any:
    """What pandas makes of it; an error means that it is left to pandas, which raises it."""
    a = PlainSeries(np.ones(1, left)) if isinstance(left, np.dtype) else scalar
    b = PlainSeries(np.ones(1, right)) if isinstance(right, np.dtype) else scalar
    try:
        return ARITHMETIC[name](a, b).dtype
    except Exception:
        return None


def scalar_of(value: Any) -> Any:
    """A scalar that expressions know, as a Python or NumPy number, str or Timestamp; None for any other."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, float, np.integer, np.floating)):
        return None if value != value else value
    if type(value) in (str, np.str_):
        return str(value)
    if isinstance(value, (pd.Timestamp, datetime.datetime, np.datetime64)):
        stamp = pd.Timestamp(value)
        return None if stamp is pd.NaT or stamp.tz is not None else stamp
    return None


def arithmetic(name: str, left: Column | Any, right: Column | Any) -> Column | None:
    a, b = isinstance(left, Column), isinstance(right, Column)
    ldtype = left.dtype if a else None
    rdtype = right.dtype if b else None
    for is_column, side in ((a, left), (b, right)):
        if is_column and not kinds.is_number(side.dtype):
            return None
        if not is_column and (isinstance(side, bool) or not isinstance(side, (int, float, np.integer, np.floating))):
            return None
    dtype = _arithmetic_dtype(name, ldtype, rdtype, None if a and b else _hashable(right if a else left))
    if dtype is None or not kinds.is_number(dtype):
        return None
    wanted = kinds.polars_dtype(dtype)

    def side_of(value: Any, is_column: bool) -> pl.Expr:
        if is_column:
            return value.expr if value.dtype == dtype else value.expr.cast(wanted)
        return pl.lit(value.item() if isinstance(value, np.generic) else value, dtype=wanted)

    try:
        expr = ARITHMETIC[name](side_of(left, a), side_of(right, b))
    except Exception:
        return None
    heavy = (a and left.is_heavy) or (b and right.is_heavy)
    return Column(expr, dtype, may_nan=kinds.is_float(dtype), is_heavy=heavy, form=(name, left, right))


def _hashable(value: Any) -> Any:
    # 1 and 1.0 and np.int8(1) are equal as keys of a cache, and make different dtypes.
    return _Scalar(value)


class _Scalar:
    """A number with its type as part of its identity, which still behaves as the number in an operation."""

    def __new__(cls, value: Any) -> Any:
        if type(value) is int:
            return _Int(value)
        if type(value) is float:
            return _Float(value)
        return value


class _Int(int):
    def __hash__(self) -> int:
        return hash(("int", int(self)))

    def __eq__(self, other: object) -> bool:
        return type(other) is _Int and int(other) == int(self)


class _Float(float):
    def __hash__(self) -> int:
        return hash(("float", float(self)))

    def __eq__(self, other: object) -> bool:
        return type(other) is _Float and float(other) == float(self)


def comparison(name: str, left: Column, right: Column | Any) -> Column | None:
    compare = COMPARISONS[name]
    heavy = left.is_heavy or kinds.is_str(left.dtype)
    a = left.clean
    if isinstance(right, Column):
        both_numbers = kinds.is_number(left.dtype) and kinds.is_number(right.dtype)
        same = left.dtype == right.dtype or (
            kinds.is_time(left.dtype) and kinds.is_time(right.dtype) and left.dtype.kind == right.dtype.kind
        )
        if not (both_numbers or same):
            return None
        if both_numbers and left.dtype != right.dtype:
            if not {left.dtype.name, right.dtype.name} <= {"int32", "int64", "float64"}:
                return None
            wanted = pl.Float64 if "float64" in (left.dtype.name, right.dtype.name) else pl.Int64
            expr = compare(a.cast(wanted), right.clean.cast(wanted))
        else:
            expr = compare(a, right.clean)
        return Column(expr.fill_null(name == "ne"), kinds.BOOL, is_heavy=heavy or right.is_heavy)
    literal = literal_for(left.dtype, right)
    if literal is None:
        return None
    expr = compare(a, literal)
    if kinds.can_be_missing(left.dtype):
        expr = expr.fill_null(name == "ne")
    return Column(expr, kinds.BOOL, is_heavy=heavy)


def literal_for(dtype: Any, value: Any) -> pl.Expr | None:
    """The scalar as a literal that compares with a column of this dtype as pandas would; None if that isn't simple."""
    if kinds.is_number(dtype):
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)) or value != value:
            return None
        number = value.item() if isinstance(value, np.generic) else value
        if kinds.is_integer(dtype):
            if isinstance(number, int):
                return pl.lit(number, dtype=kinds.polars_dtype(dtype)) if _fits(number, dtype) else None
            return pl.lit(number, dtype=pl.Float64) if dtype.itemsize < 8 or abs(number) < 2**53 else None
        if isinstance(value, int) and abs(value) >= 2**53:
            return None
        return pl.lit(number, dtype=kinds.polars_dtype(dtype)) if dtype.itemsize == 8 or isinstance(value, int) else None
    if kinds.is_str(dtype):
        return pl.lit(str(value)) if type(value) in (str, np.str_) else None
    if isinstance(dtype, np.dtype) and dtype.kind == "M":
        if not isinstance(value, (str, pd.Timestamp, datetime.datetime, np.datetime64)):
            return None
        try:
            stamp = pd.Timestamp(value)
            if stamp is pd.NaT or stamp.tz is not None:
                return None
            unit = kinds.polars_dtype(dtype).time_unit
            exact = stamp.as_unit(unit)
        except Exception:
            return None
        if exact != stamp:
            return None
        return pl.lit(exact.asm8.view("int64").item()).cast(pl.Int64).cast(pl.Datetime(unit))
    if kinds.is_bool(dtype):
        return pl.lit(bool(value)) if isinstance(value, (bool, np.bool_)) else None
    return None


def _fits(number: int, dtype: Any) -> bool:
    info = np.iinfo(dtype)
    return int(info.min) <= number <= int(info.max)


def logical(name: str, left: Column, right: Column | Any) -> Column | None:
    if not kinds.is_bool(left.dtype):
        return None
    if isinstance(right, Column):
        if not kinds.is_bool(right.dtype):
            return None
        return Column(LOGICAL[name](left.expr, right.expr), kinds.BOOL, is_heavy=left.is_heavy or right.is_heavy)
    if isinstance(right, (bool, np.bool_)):
        return Column(LOGICAL[name](left.expr, pl.lit(bool(right))), kinds.BOOL, is_heavy=left.is_heavy)
    return None


def invert(column: Column) -> Column | None:
    return Column(~column.expr, kinds.BOOL, is_heavy=column.is_heavy) if kinds.is_bool(column.dtype) else None


def negative(column: Column) -> Column | None:
    if not kinds.is_number(column.dtype) or column.dtype.kind == "u":
        return None
    return Column(-column.expr, column.dtype, column.may_nan, column.is_heavy)


def is_missing(column: Column, *, negate: bool = False) -> Column:
    if not kinds.can_be_missing(column.dtype):
        expr = pl.lit(negate) if False else column.expr.is_null() ^ negate
    else:
        expr = column.clean.is_not_null() if negate else column.clean.is_null()
    return Column(expr, kinds.BOOL, is_heavy=column.is_heavy)


def fill_missing(column: Column, value: Any) -> Column | None:
    if not kinds.can_be_missing(column.dtype):
        return None
    if kinds.is_float(column.dtype) and (column.dtype.itemsize != 8 or isinstance(value, str)):
        return None
    literal = literal_for(column.dtype, value)
    if literal is None or (kinds.is_time(column.dtype) and isinstance(value, str)):
        return None
    return Column(column.clean.fill_null(literal), column.dtype, is_heavy=column.is_heavy)


def is_in(column: Column, values: Any) -> Column | None:
    """Membership in values of the column's own kind; mixed or missing values are left to pandas."""
    if isinstance(values, (set, frozenset, tuple)) or type(values) in (type({}.keys()), type({}.values())):
        values = list(values)
    if isinstance(values, list):
        if kinds.is_str(column.dtype) and all(type(v) is str for v in values):
            series = pl.Series("values", values, dtype=pl.String)
        elif kinds.is_integer(column.dtype) and all(type(v) is int and _fits(v, column.dtype) for v in values):
            series = pl.Series("values", values, dtype=kinds.polars_dtype(column.dtype))
        else:
            return None
    elif isinstance(values, pl.Series):
        series = values
    else:
        return None
    heavy = column.is_heavy or kinds.is_str(column.dtype)
    return Column(column.clean.is_in(series.implode()).fill_null(False), kinds.BOOL, is_heavy=heavy)


MISSING: Any = object()  # `where` without a replacement.


def where(column: Column, mask: Column, other: Any, *, negate: bool) -> Column | None:
    """The column where the mask holds (or, negated, does not), elsewhere the scalar or a missing value."""
    if other is MISSING:
        if not kinds.can_be_missing(column.dtype):
            return None
        literal: pl.Expr | None = pl.lit(None, dtype=kinds.polars_dtype(column.dtype))
    elif kinds.is_time(column.dtype) or (kinds.is_integer(column.dtype) and not isinstance(other, (int, np.integer))):
        return None
    else:
        literal = literal_for(column.dtype, other)
    if literal is None:
        return None
    choose = pl.when(~mask.expr if negate else mask.expr)
    return Column(choose.then(column.expr).otherwise(literal), column.dtype, column.may_nan, column.is_heavy or mask.is_heavy)


# ---------------------------------------------------------------- strings

# A pattern of these means the same to Python's, RE2's and Rust's regular expressions.
_SIMPLE_PATTERN = re.compile(r"[A-Za-z0-9 _,:;=@#%&'\"/<>~!-]*(?:(?:\.\*|\||\.\+)[A-Za-z0-9 _,:;=@#%&'\"/<>~!-]*)*\Z")
_META = re.compile(r"[.^$*+?{}\[\]\\|()]")


def contains(column: Column, pattern: Any, *, regex: bool) -> Column | None:
    if not kinds.is_str(column.dtype) or type(pattern) is not str or not pattern.isascii():
        return None
    if not regex or _META.search(pattern) is None:
        expr = column.expr.str.contains(pattern, literal=True)
    elif _SIMPLE_PATTERN.match(pattern):
        expr = column.expr.str.contains(pattern, literal=False)
    else:
        return None
    return Column(expr.fill_null(False), kinds.BOOL, is_heavy=True)


def starts_or_ends(column: Column, words: Any, *, at_end: bool) -> Column | None:
    if not kinds.is_str(column.dtype):
        return None
    several = words if isinstance(words, tuple) else (words,)
    if not several or not all(type(word) is str for word in several):
        return None
    tests = [column.expr.str.ends_with(word) if at_end else column.expr.str.starts_with(word) for word in several]
    return Column(functools.reduce(operator.or_, tests).fill_null(False), kinds.BOOL, is_heavy=True)


def slice_str(column: Column, start: Any, stop: Any, step: Any) -> Column | None:
    if not kinds.is_str(column.dtype) or step not in (None, 1):
        return None
    begin = 0 if start is None else start
    if type(begin) is not int or begin < 0 or not (stop is None or (type(stop) is int and stop >= 0)):
        return None
    length = None if stop is None else max(stop - begin, 0)
    return Column(column.expr.str.slice(begin, length), column.dtype, is_heavy=True)


# ---------------------------------------------------------------- dates

_PARTS = {
    "year": "year", "month": "month", "day": "day", "hour": "hour", "minute": "minute", "second": "second", "quarter": "quarter",
    "day_of_year": "ordinal_day", "day_of_week": "weekday",
}  # fmt: skip


def date_part(column: Column, part: str) -> Column | None:
    """An int32, for a column without a missing value (pandas makes float64 of it otherwise)."""
    name = _PARTS.get(part)
    if name is None or not (isinstance(column.dtype, np.dtype) and column.dtype.kind == "M"):
        return None
    expr = getattr(column.expr.dt, name)().cast(pl.Int32)
    return Column(expr - 1 if name == "weekday" else expr, np.dtype("int32"), is_heavy=True)


# ---------------------------------------------------------------- types


def cast(column: Column, dtype: Any) -> Column | None:
    """Casts that can't fail and can't lose: among integers that widen, integers to floats, bool to numbers."""
    try:
        wanted = pd.api.types.pandas_dtype(dtype)
    except TypeError:
        return None
    if wanted == column.dtype:
        return column
    if not isinstance(wanted, np.dtype) or not isinstance(column.dtype, np.dtype):
        return None
    widens = column.dtype.kind in "iub" and wanted.kind in "iuf" and np.can_cast(column.dtype, wanted, "safe")
    floats = column.dtype.kind in "iu" and wanted == kinds.FLOAT64
    if not (widens or floats):
        return None
    return Column(column.expr.cast(kinds.polars_dtype(wanted)), wanted, is_heavy=column.is_heavy)


# ---------------------------------------------------------------- aggregations

_GROUP_SAMPLES: dict[str, Any] = {"M": "datetime64[{unit}]", "m": "timedelta64[{unit}]"}


def sample_of(dtype: Any) -> Any:
    """Two rows of the dtype, for asking pandas what an operation makes of it."""
    if kinds.is_str(dtype):
        return pd.array(["a", "b"], dtype=dtype)
    return np.array([1, 2]).astype(dtype)


@functools.lru_cache(maxsize=4096)
def group_dtype(name: str, dtype: Any) -> Any:
    """The dtype that pandas' groupby gives this aggregation; None where it raises."""
    try:
        frame = PlainFrame({"k": [0, 0], "v": sample_of(dtype)})
        return frame.groupby("k")["v"].agg(name).dtype
    except Exception:
        return None


def aggregation(name: str, column: Column) -> tuple[pl.Expr, Any, bool] | None:
    """The expression of a group's aggregation, its dtype in pandas, and whether the order of rows matters to it."""
    dtype = group_dtype(name, column.dtype)
    if dtype is None or kinds.polars_dtype(dtype) is None:
        return None
    values = column.clean
    number = kinds.is_number(column.dtype)
    wanted = kinds.polars_dtype(dtype)
    if name == "sum" and number:
        # Cast first: the sum of many small integers doesn't fit their type.
        return (values if column.dtype == dtype else values.cast(wanted)).sum(), dtype, False
    if name == "mean" and number and column.dtype != np.dtype("float32"):
        return values.mean(), dtype, False
    if name in ("min", "max") and (number or kinds.is_time(column.dtype) or kinds.is_str(column.dtype)):
        return (values.min() if name == "min" else values.max()), dtype, False
    if name == "count":
        return values.count().cast(pl.Int64), dtype, False
    if name == "nunique":
        return values.drop_nulls().n_unique().cast(pl.Int64), dtype, False
    if name in ("std", "var") and number and column.dtype.itemsize == 8:
        return (values.std() if name == "std" else values.var()), dtype, False
    if name == "median" and number and column.dtype != np.dtype("float32"):
        return values.median(), dtype, False
    if name in ("first", "last"):
        valid = values.drop_nulls() if kinds.can_be_missing(column.dtype) else values
        return (valid.first() if name == "first" else valid.last()), dtype, True
    return None
