"""Results of a Python function as the array that pandas would have made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from skate.blocks.elements import Packed
from skate.pandas import kinds
from skate.pandas.plain import PlainSeries
from skate.pandas.udf.values import Const, Untraceable, Value, Vec, type_name

_DTYPES = {"int": "i8", "npint": "i8", "float": "f8", "npfloat": "f8", "bool": "?", "npbool": "?"}
_INTS, _FLOATS, _BOOLS = {"int", "npint"}, {"float", "npfloat"}, {"bool", "npbool"}


def array_of_parts(parts: Sequence[tuple[Any, Value]], count: int) -> Any:
    """The parts of a traced function as one array.

    Raises:
        Untraceable: pandas would not make one simple dtype of them.
    """
    names = {type_name(value) for _, value in parts}
    nan_only = all(isinstance(value, Const) and value.value != value.value for _, value in parts if type_name(value) in _FLOATS)
    if names <= _INTS | _FLOATS:
        return _numbers(parts, count, "i8" if names <= _INTS else "f8")
    if names <= _BOOLS:
        return _numbers(parts, count, "?")
    if "str" in names and names <= {"str", "float"} and nan_only:
        return _text(parts, count)
    raise Untraceable(f"its results are of several types: {', '.join(sorted(names))}")


def _numbers(parts: Sequence[tuple[Any, Value]], count: int, dtype: str) -> Any:
    if len(parts) == 1 and parts[0][0] is None and isinstance(parts[0][1], Vec):
        return np.ascontiguousarray(parts[0][1].data).astype(dtype, copy=False)
    array = np.empty(count, dtype=dtype)
    try:
        for rows, value in parts:
            array[slice(None) if rows is None else rows] = value.value if isinstance(value, Const) else value.data
    except OverflowError:
        raise Untraceable("an integer does not fit 64 bits") from None
    return array


def _text(parts: Sequence[tuple[Any, Value]], count: int) -> Any:
    if len(parts) == 1 and parts[0][0] is None and isinstance(parts[0][1], Vec):
        return text_array(parts[0][1].data)
    places = np.empty(count, dtype=np.int64)
    pieces: list[Any] = []
    at = 0
    for rows, value in parts:
        chosen = slice(None) if rows is None else rows
        if isinstance(value, Const):
            pieces.append(pa.array([value.value if type(value.value) is str else None], pa.large_string()))
            places[chosen] = at
            at += 1
        else:
            pieces.append(value.data)
            places[chosen] = np.arange(at, at + len(value.data))
            at += len(value.data)
    return text_array(pa.concat_arrays(pieces).take(pa.array(places)))


def text_array(array: Any) -> Any:
    """An Arrow array as pandas' `str`."""
    chunks = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    return kinds.STR.__from_arrow__(chunks)


def array_of_packed(packed: Sequence[Packed]) -> Any:
    """Results of pieces as one array, or None if pandas must look at each to find their dtype."""
    names = {one.kind for one in packed}
    if len(names) == 1 and next(iter(names)) in _DTYPES:
        return packed[0].data if len(packed) == 1 else np.concatenate([one.data for one in packed])
    if names <= {"int", "float"} or names <= {"npint", "npfloat"}:
        return np.concatenate([one.data.astype("f8") for one in packed])
    if names <= {"str", "float"} and "str" in names:
        pieces = [one.data if one.kind == "str" else _missing(one) for one in packed]
        if all(piece is not None for piece in pieces):
            if all(piece.null_count == len(piece) for piece in pieces):
                return None
            return text_array(pa.chunked_array(pieces).combine_chunks())
    return None


def _missing(one: Packed) -> Any:
    return pa.nulls(len(one), pa.large_string()) if bool(np.isnan(one.data).all()) else None


def values_of_packed(packed: Sequence[Packed]) -> list[Any]:
    """Results of pieces as they were returned."""
    return [value for one in packed for value in one.tolist()]


def replayed_map(plain: Any, values: list[Any]) -> Any:
    """The series that pandas' own `map` makes if its function returns these values: its inference of the dtype, its index and name."""
    following = iter(values)
    # Times have a `map` of their own in pandas.
    dtype = plain.dtype if kinds.is_time(plain.dtype) else np.dtype(np.int8)
    return PlainSeries(np.zeros(len(values), dtype=dtype), index=plain.index, name=plain.name).map(lambda _: next(following))
