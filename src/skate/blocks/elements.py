"""A Python function over a piece of columns, in a worker: what it is called with, and its results in a form that travels well.

Light on purpose: a worker that only needs NumPy and Arrow imports no pandas, unless the elements are pandas' own (times, rows).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Column:
    """Values as they are sent: `kind` says what a function is called with.

    "python": an array, whose elements become Python's numbers · "numpy": an array, whose elements stay NumPy's · "str": an Arrow array of
    strings, where a missing one is the float NaN · "pandas": an array whose elements pandas makes (Timestamp, Timedelta, NaT) ·
    "objects": a list.
    """

    kind: str
    data: Any

    def elements(self, start: int, stop: int) -> list[Any]:
        """What a function is called with, for rows start to stop."""
        if self.kind == "python":
            return list(self.data[start:stop].tolist())
        if self.kind == "numpy":
            return list(self.data[start:stop])
        if self.kind == "str":
            piece = self.data.slice(start, stop - start)
            values = piece.to_pylist()
            if piece.null_count:
                nan = float("nan")
                values = [nan if value is None else value for value in values]
            return list(values)
        if self.kind == "pandas":
            import pandas as pd

            return list(pd.array(self.data[start:stop]).astype(object))
        return list(self.data[start:stop])


@dataclass(frozen=True, slots=True)
class Packed:
    """Results of one piece: `kind` is the Python type that all of them have ("int", "float", "bool", "str", "npint", "npfloat", "npbool"),
    with `data` an array, or "objects" with a list."""

    kind: str
    data: Any

    def __len__(self) -> int:
        return len(self.data)

    def tolist(self) -> list[Any]:
        """The results as they were returned."""
        if self.kind in ("int", "float", "bool"):
            return list(self.data.tolist())
        if self.kind == "str":
            nan = float("nan")
            return [nan if value is None else value for value in self.data.to_pylist()]
        return list(self.data)


def pack(values: list[Any]) -> Packed:
    """Results of one type as an array; anything else as it is. Strings may have the float NaN among them."""
    import numpy as np

    kinds = set(map(type, values))
    if len(kinds) == 1:
        kind = kinds.pop()
        if kind is int:
            try:
                return Packed("int", np.array(values, dtype=np.int64))
            except OverflowError:
                return Packed("objects", values)
        if kind is float:
            return Packed("float", np.array(values, dtype=np.float64))
        if kind is bool:
            return Packed("bool", np.array(values, dtype=np.bool_))
        if kind is str:
            return _pack_text(values)
        if kind in (np.float64, np.int64, np.bool_):
            name = {np.float64: "npfloat", np.int64: "npint", np.bool_: "npbool"}[kind]
            return Packed(name, np.array(values, dtype=kind))
    if kinds == {str, float} and all(value != value for value in values if type(value) is float):
        return _pack_text([None if type(value) is float else value for value in values])
    return Packed("objects", values)


def _pack_text(values: list[Any]) -> Packed:
    import pyarrow as pa

    try:
        return Packed("str", pa.array(values, pa.large_string()))
    except (pa.ArrowException, UnicodeEncodeError):  # Lone surrogates.
        return Packed("objects", [float("nan") if value is None else value for value in values])


def call_each(
    func: Callable[..., Any], columns: Sequence[Column], start: int, stop: int, *, skip_missing: bool = False
) -> list[Any]:
    """`func` of each element of one column, or of the elements of each row of several."""
    pieces = [column.elements(start, stop) for column in columns]
    if skip_missing:
        import pandas as pd

        (values,) = pieces
        missing = pd.isna(pd.Series(values, dtype=object)).tolist()
        return [value if is_missing else func(value) for value, is_missing in zip(values, missing, strict=True)]
    return list(map(func, *pieces))


def evaluate(work: Callable[[int, int], list[Any]], start: int, stop: int) -> Packed | None:
    """The results of a piece of work, or None if it raised or warned: then the driver does it again, and its user sees what he would have seen."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            packed = pack(work(start, stop))
        except Exception:
            return None
    return None if caught else packed


@dataclass(frozen=True, slots=True)
class EachElement:
    """A function of elements, ready to be sent."""

    func: Callable[..., Any]
    columns: tuple[Column, ...]
    skip_missing: bool = False

    def __call__(self, start: int, stop: int) -> list[Any]:
        return call_each(self.func, self.columns, start, stop, skip_missing=self.skip_missing)


@dataclass(frozen=True, slots=True)
class EachRow:
    """A function of rows as pandas gives them: a Series each."""

    func: Callable[..., Any]
    frame: Any  # A plain DataFrame.
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, start: int, stop: int) -> list[Any]:
        results: list[Any] = []

        def call(row: Any) -> int:
            result = self.func(row, *self.args, **self.kwargs)
            # pandas puts the next row's values into the same Series: one that is kept must have its own.
            results.append(result.copy(deep=False) if hasattr(result, "_mgr") else result)
            return 0

        self.frame.iloc[start:stop].apply(call, axis=1)
        return results


@dataclass(frozen=True, slots=True)
class EachGroup:
    """A function of groups, of rows that are sorted by group; `start` and `stop` count groups.

    Attributes:
        rows: A plain DataFrame or Series.
        edges: Where each group begins, and the end of the last.
        names: The label of each group, which pandas gives to it as `name`.
        is_transform: Results are for each row of the group, as arrays.
    """

    func: Callable[..., Any]
    rows: Any
    edges: Any
    names: list[Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_transform: bool = False

    def __call__(self, start: int, stop: int) -> list[Any]:
        results = []
        for place in range(start, stop):
            group = self.rows.iloc[self.edges[place] : self.edges[place + 1]]
            object.__setattr__(group, "name", self.names[place])
            result = self.func(group, *self.args, **self.kwargs)
            if self.is_transform:
                result = type(group)(result, index=group.index).to_numpy()
            results.append(result)
        return results
