"""The nodes of a plan: where rows come from, and what changes which rows there are or their order."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from skate.pandas import kinds
from skate.pandas.exceptions import SourceChangedError
from skate.pandas.plan import Column, Levels, Node, hope_for, largest, named_column, roots_of

_NONE: frozenset[str] = frozenset()


class _Converted:
    """A column of pandas' as one of Polars'. Shared by every frame that has the same memory, and gone when no plan is left over it."""

    __slots__ = ("__weakref__", "series", "values")

    def __init__(self, values: Any, series: pl.Series) -> None:
        self.values = values  # Kept alive, so that its id stays its own.
        self.series = series


# By the memory of the column. Each value is held by a Source, whose snapshot keeps pandas from writing into the memory.
_converted: weakref.WeakValueDictionary[Any, _Converted] = weakref.WeakValueDictionary()


def _memory_of(values: Any, row: int) -> Any:
    """What two views of the same column have in common. `row` is that of a block of several columns, or -1."""
    if not isinstance(values, np.ndarray):
        array = getattr(values, "_ndarray", None)
        if array is None:
            return id(values._pa_array)
        values = array
    if row >= 0 and values.ndim == 2:
        values = values[row]
    return values.__array_interface__["data"][0], values.shape, values.strides, values.dtype.str


class Source(Node):
    """A frame that pandas holds. Columns are converted when a plan needs them, and kept: numbers without a missing value without a copy.

    Args:
        frame: A shallow copy: copy-on-write keeps later changes of the user's frame out of it.
        manager: The user's own, to see later whether it still is the same.
    """

    label = "memory"

    def __init__(self, frame: Any, manager: Any, labels: Sequence[Any]) -> None:
        self.frame = frame
        self._blocks = [block.values for block in manager.blocks]
        self._axes = list(manager.axes)
        self._axis_names = [tuple(axis.names) for axis in manager.axes]
        self._held: dict[str, _Converted] = {}
        self.missed: dict[str, int] = {}  # How often a plan was left to pandas that would have used the column.
        self._place: dict[str, tuple[Any, int]] = {}
        self._largest: dict[str, float | None] = {}
        self.groups: dict[tuple[str, ...], float] = {}  # By keys: how many groups there are, estimated by a sample.
        columns: dict[str, Column] = {}
        self.names: dict[Any, str] = {}  # Internal name by label, for labels whose dtype is planned.
        places: list[tuple[Any, int] | None] = [None] * len(labels)
        for block in manager.blocks:
            if kinds.polars_dtype(block.dtype) is None:
                continue
            values = block.values
            if len(labels) == 1:
                places[0] = (values, -1 if values.ndim == 1 else 0)  # A series, or a frame of one column.
            else:
                for i, place in enumerate(block.mgr_locs.as_array):
                    places[place] = (values, i)
        for place, label in enumerate(labels):
            where = places[place]
            if where is None:
                continue
            name = label if type(label) is str and label and not label.startswith("__") else f"__c{place}"
            columns[name] = named_column(name, where[0].dtype)
            self._place[name] = where
            self.names[label] = name
        self.labels = {name: label for label, name in self.names.items()}
        self.level_names: list[str] | None = []
        index = self._axes[-1]
        self.index = index
        if not isinstance(index, pd.RangeIndex):
            for level in range(index.nlevels):
                dtype = index.dtype if index.nlevels == 1 else index.levels[level].dtype
                if kinds.polars_dtype(dtype) is None or type(index) not in (pd.Index, pd.MultiIndex, pd.DatetimeIndex):
                    self.level_names = None
                    break
                if index.nlevels > 1 and -1 in index.codes[level]:
                    self.level_names = None
                    break
                if isinstance(index, pd.DatetimeIndex) and index.freq is not None:
                    self.level_names = None
                    break
                name = f"__x{level}"
                columns[name] = named_column(name, dtype)
                self.level_names.append(name)
        super().__init__(columns)

    def matches(self, manager: Any) -> bool:
        """Whether the user's frame still has these blocks and labels."""
        blocks = manager.blocks
        return (
            len(blocks) == len(self._blocks)
            and all(block.values is values for block, values in zip(blocks, self._blocks, strict=True))
            and all(axis is mine for axis, mine in zip(manager.axes, self._axes, strict=True))
            and all(tuple(axis.names) == names for axis, names in zip(manager.axes, self._axis_names, strict=True))
        )

    def is_index_of(self, levels: Levels) -> bool:
        """Whether the levels are those of the frame's own index, for rows that are picked from it."""
        if levels.names != tuple(self.index.names):
            return False
        if isinstance(self.index, pd.RangeIndex):
            own = self.row_numbers(self.index.start, self.index.step)
            return len(levels.columns) == 1 and levels.columns[0].expr.meta.eq(own.expr)
        mine = self.level_names
        return (
            mine is not None
            and [column.expr.meta.output_name() for column in levels.columns if column.expr.meta.is_column()] == mine
        )

    def has_memory(self, label: Any, values: Any) -> bool:
        """Whether the column is exactly this array of a block (of one column), so that a series of it belongs to this frame."""
        name = self.names.get(label)
        if name is None:
            return False
        return bool(_memory_of(*self._place[name]) == _memory_of(values, 0))

    def is_converted(self, name: str) -> bool:
        if name in self._held:
            return True
        if name not in self._place:
            return False
        return _memory_of(*self._place[name]) in _converted

    def series(self, name: str) -> pl.Series:
        held = self._held.get(name)
        if held is not None:
            return held.series
        if name.startswith("__x"):
            index = self.index
            whole = index.array if index.nlevels == 1 else index.get_level_values(int(name[3:])).array
            row = -1
        else:
            whole, row = self._place[name]
        memory = _memory_of(whole, row)
        held = _converted.get(memory)
        if held is None:
            values = whole if row < 0 or whole.ndim == 1 else whole[row]
            if hasattr(values, "_ndarray") and not kinds.is_str(values.dtype):
                values = values._ndarray
            # An Arrow array is kept itself: another view of it is another object of pandas'.
            held = _Converted(getattr(whole, "_pa_array", whole), kinds.to_polars(values, name))
            _converted[memory] = held
        elif held.series.name != name:
            held = _Converted(whole, held.series.alias(name))
        self._held[name] = held
        return held.series

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ()

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        return self.table(needed).lazy()

    def table(self, needed: frozenset[str]) -> pl.DataFrame:
        # A frame without columns would have no rows.
        names = sorted(needed) or ([next(iter(self._place))] if self._place else [])
        if not names:
            return pl.DataFrame({"__none": pl.Series([None] * len(self.frame))})
        return pl.DataFrame([self.series(name) for name in names])

    def never_missing(self, name: str) -> bool:
        return self.series(name).null_count() == 0

    def largest(self, name: str) -> float | None:
        """The size of the largest number of a column of floats; None if one is infinite."""
        if name not in self._largest:
            series = self.series(name)
            low, high = series.min(), series.max()
            size = 0.0 if low is None else max(abs(float(low)), abs(float(high)))  # type: ignore[arg-type]
            self._largest[name] = size if size < float("inf") else None
        return self._largest[name]

    def describe(self) -> str:
        return f"memory: {len(self.frame):,} rows that pandas holds"


class Attached(Node):
    """The rows of a frame in memory with one more column, which pandas has computed: a mask."""

    label = "mask"

    def __init__(self, source: Source, values: Any, share: float) -> None:
        super().__init__(source.columns)
        self.inputs = (source,)
        self.name = f"__m{self.id}"
        self._values = values
        self.share = share  # Of the rows, those for which it holds.
        self.columns[self.name] = named_column(self.name, kinds.BOOL)

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return (needed - {self.row_name, self.name},)

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        return inputs[0].with_columns(pl.Series(self.name, self._values))

    def never_missing(self, name: str) -> bool:
        return name == self.name or never_missing(self.inputs[0], name)

    def largest(self, name: str) -> float | None:
        return self.inputs[0].largest(name)

    def describe(self) -> str:
        return "a mask that pandas computed"


class Table(Node):
    """Rows that Polars holds."""

    label = "table"

    def __init__(self, frame: pl.DataFrame, columns: dict[str, Column]) -> None:
        super().__init__(columns)
        self.table = frame

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ()

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        return self.table.lazy()

    def never_missing(self, name: str) -> bool:
        return self.table[name].null_count() == 0


class FileScan(Node):
    """A file that is read when its columns are needed, and then only those."""

    def __init__(self, path: str, columns: dict[str, Column]) -> None:
        super().__init__(columns)
        self.path = path
        # Held open, so that the rows can still be read when the name is gone.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._file)
        self._stamp = status.st_mtime_ns, status.st_size

    def __del__(self) -> None:
        try:
            os.close(self._file)
        except (AttributeError, OSError):
            pass  # It was never opened.

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ()

    def opened(self) -> str:
        """A path of the file as it was when the plan was made.

        Raises:
            SourceChangedError: It has been written since.
        """
        status = os.fstat(self._file)
        if (status.st_mtime_ns, status.st_size) != self._stamp:
            raise SourceChangedError(
                f"{self.path} was changed after {self.label} and before its rows were needed; call .copy().to_pandas() "
                "right after reading a file that the program overwrites"
            )
        return f"/proc/self/fd/{self._file}"


class ParquetScan(FileScan):
    """A Parquet file; of it only the row groups that a filter leaves are read."""

    label = "read_parquet"

    def __init__(self, path: str, columns: dict[str, Column], nulls: dict[str, bool]) -> None:
        super().__init__(path, columns)
        self._nulls = nulls

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        return pl.scan_parquet(self.opened(), glob=False)

    def never_missing(self, name: str) -> bool:
        return not self._nulls.get(name, True)

    def describe(self) -> str:
        return f"read_parquet {self.path}"


class Filter(Node):
    """The rows that fulfil the predicate, if there is one, and each membership (`membership.py`)."""

    label = "filter"

    def __init__(self, child: Node, predicate: pl.Expr | None, memberships: Sequence[Any] = ()) -> None:
        super().__init__(child.columns)
        self.inputs = (child, *(one.base for one in memberships))
        self.predicate = predicate
        self.memberships = tuple(memberships)
        self._roots = roots_of(one.tested for one in memberships)
        if isinstance(child, Attached):
            self._roots |= {child.name}
        elif predicate is not None:
            self._roots |= frozenset(predicate.meta.root_names())
        # For estimates: how many rows stay, if that is known, and how much there is to compute.
        self.selectivity = child.share if isinstance(child, Attached) else 0.5
        self.terms = 0 if isinstance(child, Attached) else len(self._roots)

    @property
    def order_by(self) -> tuple[str, ...] | None:
        return self.inputs[0].order_by

    def is_unique(self, names: frozenset[str]) -> bool:
        return self.inputs[0].is_unique(names)

    def orders(self, ordered: bool) -> tuple[bool, ...]:
        return (ordered, *(False for _ in self.memberships))

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return (needed - {self.row_name}) | self._roots, *(roots_of([one.values]) for one in self.memberships)

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        frame = inputs[0] if self.predicate is None else inputs[0].filter(self.predicate)
        for one, values in zip(self.memberships, inputs[1:], strict=True):
            how: Any = "anti" if one.is_negated else "semi"
            order: Any = "left" if ordered else "none"
            frame = frame.join(
                values.select(one.values.clean.alias("__v")), left_on=one.tested.clean, right_on="__v", how=how,
                nulls_equal=kinds.can_be_missing(one.tested.dtype), maintain_order=order,
            )  # fmt: skip
        return frame

    def never_missing(self, name: str) -> bool:
        return never_missing(self.inputs[0], name)

    def largest(self, name: str) -> float | None:
        return self.inputs[0].largest(name)

    def describe(self) -> str:
        parts = [] if self.predicate is None else [str(self.predicate)]
        parts += [f"{one.tested.expr} {'not ' * one.is_negated}among {one.values.expr}" for one in self.memberships]
        return "filter " + " and ".join(parts)


class Sort(Node):
    label = "sort"

    def __init__(self, child: Node, keys: list[pl.Expr], key_dtypes: list[Any], descending: list[bool], nulls_last: bool) -> None:
        super().__init__(child.columns)
        self.inputs = (child,)
        self.key_dtypes = key_dtypes
        self.keys, self.descending, self.nulls_last = keys, descending, nulls_last
        # Equal keys stay in their order: where that is known to be another sort, it need not be done apart.
        sorted_by = {key.meta.output_name() for key in keys if key.meta.is_column()}
        self.ties = None if child.order_by is None else [name for name in child.order_by if name not in sorted_by]
        self._roots = roots_of(Column(key, None) for key in keys) | frozenset(self.ties or ())

    @property
    def needs_order(self) -> bool:
        return self.ties is None

    @property
    def keeps_order(self) -> bool:
        return False

    def is_unique(self, names: frozenset[str]) -> bool:
        return self.inputs[0].is_unique(names)

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ((needed - {self.row_name}) | self._roots,)

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        ties = self.ties or []
        return inputs[0].sort(
            [*self.keys, *(pl.col(name) for name in ties)],
            descending=[*self.descending, *(False for _ in ties)],
            nulls_last=[*(self.nulls_last for _ in self.keys), *(True for _ in ties)],
            maintain_order=self.ties is None,
        )

    def never_missing(self, name: str) -> bool:
        return never_missing(self.inputs[0], name)

    def largest(self, name: str) -> float | None:
        return self.inputs[0].largest(name)

    def describe(self) -> str:
        return "sort by " + ", ".join(str(key) for key in self.keys)


class Top(Sort):
    """The first rows of a sort. Those that can't be among them, by the first key, are left out before the sort."""

    label = "top"

    def __init__(self, sort: Sort, length: int) -> None:
        super().__init__(sort.inputs[0], sort.keys, sort.key_dtypes, sort.descending, sort.nulls_last)
        self.carried = sort.carried
        self.length = length

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        key, length = self.keys[0], self.length
        name = key.meta.output_name() if key.meta.is_column() else None
        frame = inputs[0]
        if length and name in self.columns and kinds.is_number(self.columns[name].dtype):
            if self.descending[0]:
                may_be = key >= key.top_k(length).min()
            else:
                may_be = key <= key.bottom_k(length).max()
            if kinds.can_be_missing(self.columns[name].dtype):
                is_room = key.count() < length if self.nulls_last else pl.lit(True)
                may_be = may_be.fill_null(False) | (key.is_null() & is_room)
            frame = frame.filter(may_be)
        return super().build([frame], needed, ordered).head(length)

    def describe(self) -> str:
        return f"first {self.length} rows by " + ", ".join(str(key) for key in self.keys)


class Slice(Node):
    label = "slice"

    def __init__(self, child: Node, offset: int, length: int | None) -> None:
        super().__init__(child.columns)
        self.inputs = (child,)
        self.offset, self.length = offset, length

    @property
    def needs_order(self) -> bool:
        return True

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return (needed - {self.row_name},)

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        return inputs[0].slice(self.offset, self.length)

    def never_missing(self, name: str) -> bool:
        return never_missing(self.inputs[0], name)

    def largest(self, name: str) -> float | None:
        return self.inputs[0].largest(name)

    def describe(self) -> str:
        return f"rows {self.offset} to {'the end' if self.length is None else self.offset + self.length}"


class Sample(Slice):
    """So many rows, whichever."""

    label = "sample"

    @property
    def needs_order(self) -> bool:
        return False


class _PerGroup(Node):
    """Some rows of each combination of keys, in the order of the rows."""

    def __init__(self, child: Node, keys: list[pl.Expr]) -> None:
        super().__init__(child.columns)
        self.inputs = (child,)
        self.keys = keys
        self._roots = roots_of(Column(key, None) for key in keys)

    @property
    def needs_order(self) -> bool:
        return True

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ((needed - {self.row_name}) | self._roots,)

    def never_missing(self, name: str) -> bool:
        return never_missing(self.inputs[0], name)

    def largest(self, name: str) -> float | None:
        return self.inputs[0].largest(name)


class GroupHead(_PerGroup):
    """The first rows of each group, where they are."""

    label = "groupby head"

    def __init__(self, child: Node, keys: list[pl.Expr], length: int) -> None:
        super().__init__(child, keys)
        self.length = length

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        return inputs[0].filter(pl.int_range(pl.len()).over(self.keys) < self.length)

    def describe(self) -> str:
        return f"first {self.length} rows of each group of " + ", ".join(str(key) for key in self.keys)


class Distinct(_PerGroup):
    """The first or last row of each combination of keys, in the order of the rows."""

    label = "drop_duplicates"

    def __init__(self, child: Node, keys: list[pl.Expr], keep: Any) -> None:
        super().__init__(child, keys)
        self.keep = keep

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        names = [f"__k{i}" for i in range(len(self.keys))]
        keyed = inputs[0].with_columns(*(key.alias(name) for key, name in zip(self.keys, names, strict=True)))
        return keyed.unique(subset=names, keep=self.keep, maintain_order=True)


class Aggregate(Node):
    """One row per group: the keys k0, k1, … and the results a0, a1, …"""

    label = "groupby"

    def __init__(
        self,
        child: Node,
        keys: list[Column],
        results: list[tuple[pl.Expr, Any, frozenset[str]]],
        *,
        sort: bool,
        dropna: bool,
        by_order: bool,
        aggregations: Sequence[str] = (),
        uncleaned: Sequence[tuple[Column, pl.Expr] | None] = (),
    ) -> None:
        columns = {f"k{i}": Column(pl.col(f"k{i}"), key.dtype) for i, key in enumerate(keys)}
        columns.update({f"a{i}": Column(pl.col(f"a{i}"), dtype) for i, (_, dtype, _) in enumerate(results)})
        super().__init__(columns)
        self.inputs = (child,)
        self.keys, self.results = keys, results
        self.sort, self.dropna = sort, dropna
        self.aggregations = tuple(aggregations)  # Their names in pandas, for estimates.
        self._uncleaned = tuple(uncleaned)  # What is aggregated, and how if it holds no NaN.
        self._by_order = by_order or not sort
        self._missing_keys = [i for i, key in enumerate(keys) if kinds.can_be_missing(key.dtype)]
        self.hoped = frozenset(columns)
        hope_for(child, roots_of(keys).union(*(names for _, _, names in results)))

    @property
    def order_by(self) -> tuple[str, ...] | None:
        return tuple(f"k{i}" for i in range(len(self.keys))) if self.sort else None

    def is_unique(self, names: frozenset[str]) -> bool:
        return all(f"k{i}" in names for i in range(len(self.keys)))

    @property
    def needs_order(self) -> bool:
        return self._by_order

    @property
    def keeps_order(self) -> bool:
        return False

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        roots = roots_of(self.keys)
        for i, (_, _, names) in enumerate(self.results):
            if f"a{i}" in needed:
                roots |= names
        return (roots,)

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        keys = [key.clean.alias(f"k{i}") for i, key in enumerate(self.keys)]
        results = [self._result(i).alias(f"a{i}") for i in range(len(self.results)) if f"a{i}" in needed]
        out = inputs[0].group_by(keys, maintain_order=not self.sort).agg(results)
        # A group whose key is missing is dropped after the aggregation, when there is one row per group.
        missing = [i for i in self._missing_keys if not column_never_missing(self.inputs[0], self.keys[i])] if self.dropna else []
        if missing:
            out = out.filter(pl.all_horizontal(*(pl.col(f"k{i}").is_not_null() for i in missing)))
        if self.sort and ordered:
            out = out.sort([f"k{i}" for i in range(len(self.keys))], nulls_last=True)
        return out

    def _result(self, place: int) -> pl.Expr:
        quick = self._uncleaned[place] if place < len(self._uncleaned) else None
        if quick is not None and largest(self.inputs[0], quick[0]) is not None:
            return quick[1]
        return self.results[place][0]

    def never_missing(self, name: str) -> bool:
        if not name.startswith("k"):
            return False
        return self.dropna

    def describe(self) -> str:
        keys = ", ".join(str(key.expr) for key in self.keys)
        return f"group by {keys}: " + ", ".join(str(expr) for expr, _, _ in self.results)


class Join(Node):
    """Rows of two inputs with equal keys: the left input's columns as l0, l1, …, the right one's as r0, r1, …"""

    label = "merge"

    def __init__(
        self, left: Node, right: Node, left_columns: list[Column], right_columns: list[Column], left_keys: list[Column], right_keys: list[Column],
        how: Any, key_types: list[Any],
    ) -> None:  # fmt: skip
        columns = {f"l{i}": Column(pl.col(f"l{i}"), column.dtype) for i, column in enumerate(left_columns)}
        columns.update({f"r{i}": Column(pl.col(f"r{i}"), column.dtype) for i, column in enumerate(right_columns)})
        super().__init__(columns)
        self.inputs = (left, right)
        self.left_columns, self.right_columns = left_columns, right_columns
        self.left_keys, self.right_keys, self.key_types = left_keys, right_keys, key_types
        self.how = how
        plain = [key.expr.meta.output_name() for key in right_keys if key.expr.meta.is_column()]
        self._is_right_unique = right.is_unique(frozenset(plain))

    def orders(self, ordered: bool) -> tuple[bool, ...]:
        return ordered, ordered and not self._is_right_unique

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        left = [column for i, column in enumerate(self.left_columns) if f"l{i}" in needed]
        right = [column for i, column in enumerate(self.right_columns) if f"r{i}" in needed]
        return roots_of([*left, *self.left_keys]), roots_of([*right, *self.right_keys])

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        keys = [f"__k{i}" for i in range(len(self.left_keys))]

        def side(frame: pl.LazyFrame, letter: str, columns: list[Column], on: list[Column]) -> pl.LazyFrame:
            kept = [column.expr.alias(f"{letter}{i}") for i, column in enumerate(columns) if f"{letter}{i}" in needed]
            typed = [
                column.clean.alias(name) if kind is None else column.clean.cast(kind).alias(name)
                for column, name, kind in zip(on, keys, self.key_types, strict=True)
            ]
            return frame.select(*kept, *typed)

        left = side(inputs[0], "l", self.left_columns, self.left_keys)
        right = side(inputs[1], "r", self.right_columns, self.right_keys)
        # Missing keys match each other in pandas; where one side has none, Polars' faster way gives the same.
        both_missing = any(
            kinds.can_be_missing(a.dtype)
            and not (column_never_missing(self.inputs[0], a) or column_never_missing(self.inputs[1], b))
            for a, b in zip(self.left_keys, self.right_keys, strict=True)
        )
        order: Any = "none" if not ordered else "left" if self._is_right_unique else "left_right"
        return left.join(right, on=keys, how=self.how, nulls_equal=both_missing, maintain_order=order, coalesce=True)

    def never_missing(self, name: str) -> bool:
        place = int(name[1:])
        if name[0] == "l":
            return column_never_missing(self.inputs[0], self.left_columns[place])
        return self.how == "inner" and column_never_missing(self.inputs[1], self.right_columns[place])

    def largest(self, name: str) -> float | None:
        place = int(name[1:])
        if name[0] == "l":
            return largest(self.inputs[0], self.left_columns[place])
        return largest(self.inputs[1], self.right_columns[place])

    def describe(self) -> str:
        return f"{self.how} join on " + ", ".join(
            f"{a.expr} = {b.expr}" for a, b in zip(self.left_keys, self.right_keys, strict=True)
        )


def never_missing(node: Node, name: str) -> bool:
    """Whether it is known, without executing the plan, that the node's column has no missing value."""
    if name == node.row_name or not kinds.can_be_missing(node.columns[name].dtype if name in node.columns else kinds.FLOAT64):
        return True
    known = getattr(node, "never_missing", None)
    return bool(known is not None and name in node.columns and known(name))


def column_never_missing(node: Node, column: Column) -> bool:
    if not kinds.can_be_missing(column.dtype):
        return True
    if not column.expr.meta.is_column() or column.may_nan:
        return False
    name = column.roots()[0]
    return name in node.columns and never_missing(node, name)


def unfiltered(node: Node) -> Node:
    """The same rows and perhaps more, cheaper to make."""
    while isinstance(node, (Filter, Sort, Slice, Distinct)):
        node = node.inputs[0]
    return node


def unsorted(node: Node) -> Node:
    """The same rows in another order."""
    while isinstance(node, Sort) and not isinstance(node, Top):
        node = node.inputs[0]
    return node
