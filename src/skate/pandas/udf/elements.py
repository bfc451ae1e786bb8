"""`Series.map`, `Series.apply` and `DataFrame.map` with a Python function.

In this order: traced to a calculation over the whole column; called once for each different value, where values repeat; called for each, on
all cores. A function that might have side effects, or one that takes less time than that costs, is left to pandas.
"""

from __future__ import annotations

import dis
import functools
import math
from typing import Any

import numpy as np
import pyarrow as pa

from skate.blocks.elements import Column, EachElement, Packed, call_each, pack
from skate.pandas import kinds, lazy, ledger, ops
from skate.pandas.exceptions import CheckError
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.settings import settings
from skate.pandas.udf import distribute, purity, results, shipping
from skate.pandas.udf.source import function_of
from skate.pandas.udf.tracing import trace
from skate.pandas.udf.values import Untraceable, Value, Vec, type_name

SAMPLE_ROWS = 60
DISTINCT_SAMPLE = 2_000


def series_map(series: Any, func: Any, *, na_action: Any = None, what: str = "map", **kwargs: Any) -> Any:
    """`Series.map` and `Series.apply`; NotImplemented leaves it to pandas."""
    if na_action not in (None, "ignore") or not ops_allow(series) or isinstance(func, np.ufunc):
        return NotImplemented
    call = functools.partial(func, **kwargs) if kwargs else func
    label = f"{what}({name_of(func)})"
    plain = lazy.to_pandas(series)
    column = column_of(plain, is_numpy=False)
    if column is None:
        note(series, label, f"elements of dtype {plain.dtype} are left to pandas")
        return NotImplemented
    started = ledger.now()
    made = _traced(plain, call, column, na_action)
    engine, why = "traced", ""
    if isinstance(made, str):
        why = f"not a column calculation: {made}"
        reason = purity.impurity(call)
        if reason:
            note(series, label, f"it runs here, in order: {reason}")
            return NotImplemented
        made, engine = _called(plain, call, column, na_action, label)
        if made is None:
            return NotImplemented
    result = made if isinstance(made, PlainSeries) else PlainSeries(made, index=plain.index, name=plain.name, copy=False)
    ledger.add(ledger.user_line(), label, engine, ledger.now() - started, len(plain), why)
    if settings.check:
        compare(label, result, plain.map(call, na_action=na_action))
    return lazy.adopt(result)


def frame_map(frame: Any, func: Any, na_action: Any, kwargs: dict[str, Any]) -> Any:
    """`DataFrame.map`, column by column."""
    if na_action not in (None, "ignore") or not ops_allow(frame) or not frame.columns.is_unique:
        return NotImplemented
    plain = lazy.to_pandas(frame)
    call = functools.partial(func, **kwargs) if kwargs else func
    if not len(plain.columns) or purity.impurity(call):
        return NotImplemented
    made = {}
    for place, label in enumerate(plain.columns):
        one = lazy.adopt(plain.iloc[:, place])
        column = series_map(one, func, na_action=na_action, **kwargs)
        made[label] = one.map(func, na_action=na_action, **kwargs) if column is NotImplemented else column
    result = PlainFrame({place: lazy.to_pandas(one) for place, one in enumerate(made.values())}, index=plain.index)
    result.columns = plain.columns
    return lazy.adopt(result)


ROWS_MIN = 2_000  # Fewer are not worth reading the function.
_BACKWARD = frozenset(code for name, code in dis.opmap.items() if "BACKWARD" in name)


def is_worth(count: int, func: Any) -> bool:
    """Whether a function may be slow enough for a column that is not long: it has a loop."""
    code = getattr(func, "__code__", None)
    return count >= ROWS_MIN and code is not None and not _BACKWARD.isdisjoint(code.co_code[::2])


def ops_allow(value: Any) -> bool:
    """Attributes and flags that results inherit are pandas' business."""
    return not value.__dict__.get("_attrs") and value._flags.allows_duplicate_labels


def name_of(func: Any) -> str:
    return str(getattr(func, "__name__", type(func).__name__))


def note(value: Any, what: str, reason: str) -> None:
    """Tell the report why pandas does it.

    Raises:
        FallbackError: SKATE_FALLBACK=error, and the data was planned.
    """
    if "_sk_plan" in value.__dict__:
        ops.leave(value, what, reason)
    else:
        ledger.fallback(what, reason)


def column_of(plain: Any, *, is_numpy: bool) -> Column | None:
    """A column as what a function is called with: Python's numbers in a series, NumPy's (`is_numpy`) in a row. None: pandas' own work."""
    dtype = plain.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
        return Column("numpy" if is_numpy else "python", plain.to_numpy())
    if kinds.is_str(dtype):
        array = plain.array.__arrow_array__()
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        return Column("str", array.cast(pa.large_string()))
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        return Column("pandas", plain.to_numpy())
    if isinstance(dtype, np.dtype) and dtype.kind == "O" and not is_numpy:
        values = plain.tolist()
        if set(map(type, values)) <= {str, int, float, bool, type(None), tuple, list, dict}:
            return Column("objects", values)
    return None


def vec_of(column: Column) -> Vec | None:
    """A column for tracing; None if its elements are not traced."""
    if column.kind == "str":
        return Vec("str", column.data)
    if column.kind not in ("python", "numpy"):
        return None
    prefix = "np" if column.kind == "numpy" else ""
    kind = {"i8": "int", "f8": "float", "b1": "bool"}.get(column.data.dtype.str[1:])
    if kind is None and column.kind == "python" and column.data.dtype.kind in "iu" and column.data.dtype.itemsize < 8:
        return Vec("int", column.data.astype(np.int64))
    return None if kind is None else Vec(prefix + kind, column.data)


# ---------------------------------------------------------------- traced


def _traced(plain: Any, call: Any, column: Column, na_action: Any) -> Any:
    """The results as an array, or the reason why the function can't be traced."""
    function = function_of(call)
    vec = vec_of(column)
    if function is None or vec is None:
        return "it has no source, or its elements are of another type"
    if na_action == "ignore" and vec.kind in ("str", "float"):
        return "missing values are passed on"
    try:
        parts = trace(function, {None: vec}, len(plain), row=False)
        places = sample(parts, [vec], len(plain))
        check(parts, places, call_each(call, [Column(column.kind, take(column, places))], 0, len(places)))
        return results.array_of_parts(parts, len(plain))
    except Untraceable as why:
        return str(why)
    except RecursionError:
        return "it is nested too deeply"
    except Exception as error:  # The function raised in the sample: it raises in pandas as well.
        return f"it raised {type(error).__name__}"


def take(column: Column, places: Any) -> Any:
    return column.data.take(pa.array(places)) if column.kind == "str" else column.data[places]


def sample(parts: list[tuple[Any, Value]], columns: list[Vec], count: int) -> Any:
    """Rows to call the function for, before its traced form is believed: the ends, some in between, extremes, and some of each part."""
    places = {0, count - 1, *np.linspace(0, count - 1, SAMPLE_ROWS, dtype=np.int64).tolist()}
    for column in columns:
        if column.kind in ("int", "npint", "float", "npfloat") and count:
            places |= {int(np.argmin(column.data)), int(np.argmax(column.data)), int(np.argmin(np.abs(column.data)))}
            if column.kind in ("float", "npfloat"):
                missing = np.isnan(column.data)
                first = int(np.argmax(missing))
                if missing[first]:
                    places.add(first)
    for rows, _ in parts:
        if rows is not None:
            places |= {int(rows[0]), int(rows[len(rows) // 2]), int(rows[-1])}
    return np.array(sorted(places), dtype=np.int64)


def check(parts: list[tuple[Any, Value]], places: Any, expected: list[Any]) -> None:
    """Compare traced results with those of the function, their types included.

    Raises:
        Untraceable: They differ.
    """
    found: dict[int, Any] = {}
    kinds_of: dict[int, str] = {}
    for rows, value in parts:
        if rows is None:
            inside, here = places, places
        else:
            at = np.searchsorted(rows, places)
            hit = (at < len(rows)) & (rows[np.minimum(at, len(rows) - 1)] == places)
            inside, here = places[hit], at[hit]
        values = value.take(here).data.tolist() if isinstance(value, Vec) and value.kind != "str" else value.take(here).data.to_pylist() if isinstance(value, Vec) else [value.value] * len(here)  # fmt: skip
        for place, one in zip(inside.tolist(), values, strict=True):
            found[place] = one
            kinds_of[place] = type_name(value)
    names = {np.float64: "npfloat", np.int64: "npint", np.bool_: "npbool"}
    for place, one in zip(places.tolist(), expected, strict=True):
        kind = names.get(type(one), type(one).__name__)
        if kind != kinds_of.get(place):
            raise Untraceable(f"tracing gave {kinds_of.get(place)} for row {place}, the function {kind}")
        mine = found[place]
        if kind in ("float", "npfloat"):
            is_same = math.isnan(mine) if math.isnan(one) else mine == one and math.copysign(1, mine) == math.copysign(1, one)
        else:
            is_same = bool(mine == one)
        if not is_same:
            raise Untraceable(f"tracing gave {mine!r} for row {place}, the function {one!r}")


# ---------------------------------------------------------------- called


def _called(plain: Any, call: Any, column: Column, na_action: Any, label: str) -> tuple[Any, str]:
    """The results as an array or a series, and how they were made; (None, …) leaves it to pandas."""
    count = len(plain)
    skip = na_action == "ignore"
    codes = _distinct(column)
    if codes is not None:
        places, uniques = codes
        packed, _ = _values(uniques, call, skip, f"{label} of different values")
        array = results.array_of_packed(packed)
        if array is not None:
            return array.take(places) if not isinstance(array, np.ndarray) else array[places], "different values"
        every = results.values_of_packed(packed)
        if all(_is_immutable(value) for value in every):
            # pandas' inference looks at each value.
            return results.replayed_map(plain, [every[place] for place in places.tolist()]), "different values"
        # Results that can be changed must be objects of their own.
    packed, elsewhere = _values(column, call, skip, label)
    array = results.array_of_packed(packed)
    engine = "workers" if elsewhere else "python"
    if array is not None and len(array) == count:
        return array, engine
    values = results.values_of_packed(packed)
    if any(isinstance(value, (PlainSeries, PlainFrame)) for value in values):
        return None, ""  # `apply` makes a frame of them; that is pandas' own business.
    return results.replayed_map(plain, values), engine


def _is_immutable(value: Any) -> bool:
    return type(value) in (int, float, str, bool, type(None), np.float64, np.int64, np.bool_, complex, bytes)


def _values(column: Column, call: Any, skip: bool, label: str) -> tuple[list[Packed], int]:
    count = _length(column)
    work = EachElement(call, (column,), skip)
    if count <= 1000:
        return [pack(work(0, count))], 0
    return distribute.run(work, count, label, lambda: EachElement(shipping.by_value(call), (column,), skip))


def _length(column: Column) -> int:
    return len(column.data)


def _distinct(column: Column) -> tuple[Any, Column] | None:
    """Codes and the different values, if values repeat so much that finding them pays."""
    import pandas as pd

    count = _length(column)
    if column.kind == "str" or (column.kind == "python" and column.data.dtype.kind in "iu"):
        array = column.data
    else:
        return None
    if count < DISTINCT_SAMPLE * 2:
        return None
    places = np.linspace(0, count - 1, DISTINCT_SAMPLE, dtype=np.int64)
    piece = array.take(pa.array(places)) if column.kind == "str" else array[places]
    different = len(piece.unique()) if column.kind == "str" else len(np.unique(piece))
    if _estimated(different) > count // 4:
        return None
    if column.kind == "str":
        encoded = array.dictionary_encode(null_encoding="encode")
        return encoded.indices.to_numpy(zero_copy_only=False), Column("str", encoded.dictionary.cast(pa.large_string()))
    codes, uniques = pd.factorize(array)
    return codes, Column("python", uniques)


def _estimated(different: int) -> float:
    """How many values there are, if each is as frequent as the others and a sample of DISTINCT_SAMPLE had so many different ones."""
    if different > DISTINCT_SAMPLE * 0.97:
        return math.inf
    low, high = float(different), 40.0 * DISTINCT_SAMPLE
    for _ in range(30):
        middle = (low + high) / 2
        if middle * (1 - math.exp(-DISTINCT_SAMPLE / middle)) < different:
            low = middle
        else:
            high = middle
    return high


def compare(what: str, result: Any, expected: Any, **tolerance: float) -> None:
    import pandas as pd

    test: Any = pd.testing.assert_series_equal if isinstance(expected, PlainSeries) else pd.testing.assert_frame_equal
    try:
        test(result, lazy.to_pandas(expected), **(tolerance or {"check_exact": True}))
    except AssertionError as error:
        raise CheckError(f"{what} differs from pandas: {error}") from error
