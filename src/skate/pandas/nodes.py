"""The nodes of a plan: where rows come from, and what changes which rows there are or their order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pandas as pd
import polars as pl

from skate.pandas import kinds
from skate.pandas.exceptions import SourceChangedError
from skate.pandas.plan import Column, Node, roots_of

_NONE: frozenset[str] = frozenset()


class Source(Node):
    """A frame that pandas holds. Columns are converted when a plan needs them, and kept: numbers without a missing value without a copy."""

    label = "memory"

    def __init__(self, frame: Any, original: Any) -> None:
        self.frame = frame  # A shallow copy: copy-on-write keeps later changes of the user's frame out of it.
        self._blocks = [block.values for block in original.blocks]
        self._axes = list(original.axes)
        self._axis_names = [list(axis.names) for axis in original.axes]
        self._converted: dict[str, pl.Series] = {}
        self._place: dict[str, int] = {}
        columns: dict[str, Column] = {}
        self.names: dict[Any, str] = {}  # Internal name by label, for labels whose dtype is planned.
        for place, (label, dtype) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
            if kinds.polars_dtype(dtype) is None:
                continue
            name = label if isinstance(label, str) and label and not label.startswith("__") else f"__c{place}"
            columns[name] = Column(pl.col(name), dtype)
            self._place[name] = place
            self.names[label] = name
        self.level_names: list[str] | None = []
        index = frame.index
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
                columns[name] = Column(pl.col(name), dtype)
                self.level_names.append(name)
        super().__init__(columns)

    def matches(self, manager: Any) -> bool:
        """Whether the user's frame still has these blocks and labels."""
        blocks = manager.blocks
        return (
            len(blocks) == len(self._blocks)
            and all(block.values is values for block, values in zip(blocks, self._blocks, strict=True))
            and all(axis is mine for axis, mine in zip(manager.axes, self._axes, strict=True))
            and all(list(axis.names) == names for axis, names in zip(manager.axes, self._axis_names, strict=True))
        )

    def series(self, name: str) -> pl.Series:
        series = self._converted.get(name)
        if series is None:
            if name.startswith("__x"):
                index = self.frame.index
                values = index.array if index.nlevels == 1 else index.get_level_values(int(name[3:])).array
            else:
                values = self.frame.iloc[:, self._place[name]].array
            if hasattr(values, "_ndarray") and not kinds.is_str(values.dtype):
                values = values._ndarray
            series = self._converted[name] = kinds.to_polars(values, name)
        return series

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ()

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        # A frame without columns would have no rows.
        names = sorted(needed) or ([next(iter(self._place))] if self._place else [])
        if not names:
            return pl.DataFrame({"__none": pl.Series([None] * len(self.frame))}).lazy()
        return pl.DataFrame([self.series(name) for name in names]).lazy()

    def never_missing(self, name: str) -> bool:
        return self.series(name).null_count() == 0

    def describe(self) -> str:
        return f"memory: {len(self.frame):,} rows that pandas holds"


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


class ParquetScan(Node):
    """A Parquet file that is read when its columns are needed, and then only those, and only the row groups that a filter leaves."""

    label = "read_parquet"

    def __init__(self, path: str, columns: dict[str, Column], nulls: dict[str, bool]) -> None:
        super().__init__(columns)
        self.path = path
        # Held open, so that the rows can still be read when the name is gone.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._file)
        self._stamp = status.st_mtime_ns, status.st_size
        self._nulls = nulls

    def __del__(self) -> None:
        try:
            os.close(self._file)
        except (AttributeError, OSError):
            pass  # It was never opened.

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ()

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        status = os.fstat(self._file)
        if (status.st_mtime_ns, status.st_size) != self._stamp:
            raise SourceChangedError(
                f"{self.path} was changed after read_parquet and before its rows were needed; call .copy().to_pandas() "
                "right after reading a file that the program overwrites"
            )
        return pl.scan_parquet(f"/proc/self/fd/{self._file}", glob=False)

    def never_missing(self, name: str) -> bool:
        return not self._nulls.get(name, True)

    def describe(self) -> str:
        return f"read_parquet {self.path}"


class Filter(Node):
    label = "filter"

    def __init__(self, child: Node, predicate: pl.Expr) -> None:
        super().__init__(child.columns)
        self.inputs = (child,)
        self.predicate = predicate
        self._roots = frozenset(predicate.meta.root_names())

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ((needed - {self.row_name}) | self._roots,)

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        return inputs[0].filter(self.predicate)

    def never_missing(self, name: str) -> bool:
        return never_missing(self.inputs[0], name)

    def describe(self) -> str:
        return f"filter {self.predicate}"


class Sort(Node):
    label = "sort"

    def __init__(self, child: Node, keys: list[pl.Expr], descending: list[bool], nulls_last: bool) -> None:
        super().__init__(child.columns)
        self.inputs = (child,)
        self.keys, self.descending, self.nulls_last = keys, descending, nulls_last
        self._roots = roots_of(Column(key, None) for key in keys)

    @property
    def needs_order(self) -> bool:
        return True  # Equal keys stay in their order.

    @property
    def keeps_order(self) -> bool:
        return False

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ((needed - {self.row_name}) | self._roots,)

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        return inputs[0].sort(self.keys, descending=self.descending, nulls_last=self.nulls_last, maintain_order=True)

    def never_missing(self, name: str) -> bool:
        return never_missing(self.inputs[0], name)

    def describe(self) -> str:
        return "sort by " + ", ".join(str(key) for key in self.keys)


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

    def describe(self) -> str:
        return f"rows {self.offset} to {'the end' if self.length is None else self.offset + self.length}"


class Distinct(Node):
    """The first or last row of each combination of keys, in the order of the rows."""

    label = "drop_duplicates"

    def __init__(self, child: Node, keys: list[pl.Expr], keep: Any) -> None:
        super().__init__(child.columns)
        self.inputs = (child,)
        self.keys, self.keep = keys, keep
        self._roots = roots_of(Column(key, None) for key in keys)

    @property
    def needs_order(self) -> bool:
        return True

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        return ((needed - {self.row_name}) | self._roots,)

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        names = [f"__k{i}" for i in range(len(self.keys))]
        keyed = inputs[0].with_columns(*(key.alias(name) for key, name in zip(self.keys, names, strict=True)))
        return keyed.unique(subset=names, keep=self.keep, maintain_order=True)

    def never_missing(self, name: str) -> bool:
        return never_missing(self.inputs[0], name)


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
    ) -> None:
        columns = {f"k{i}": Column(pl.col(f"k{i}"), key.dtype) for i, key in enumerate(keys)}
        columns.update({f"a{i}": Column(pl.col(f"a{i}"), dtype) for i, (_, dtype, _) in enumerate(results)})
        super().__init__(columns)
        self.inputs = (child,)
        self.keys, self.results = keys, results
        self.sort, self.dropna = sort, dropna
        self._by_order = by_order or not sort
        self._missing_keys = [i for i, key in enumerate(keys) if kinds.can_be_missing(key.dtype)]

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
        results = [expr.alias(f"a{i}") for i, (expr, _, _) in enumerate(self.results) if f"a{i}" in needed]
        out = inputs[0].group_by(keys, maintain_order=not self.sort).agg(results)
        # A group whose key is missing is dropped after the aggregation, when there is one row per group.
        if self.dropna and self._missing_keys:
            out = out.filter(pl.all_horizontal(*(pl.col(f"k{i}").is_not_null() for i in self._missing_keys)))
        if self.sort and ordered:
            out = out.sort([f"k{i}" for i in range(len(self.keys))], nulls_last=True)
        return out

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

    @property
    def keeps_order(self) -> bool:
        return True

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
        order: Any = "left_right" if ordered else "none"
        return left.join(right, on=keys, how=self.how, nulls_equal=both_missing, maintain_order=order, coalesce=True)

    def never_missing(self, name: str) -> bool:
        place = int(name[1:])
        if name[0] == "l":
            return column_never_missing(self.inputs[0], self.left_columns[place])
        return self.how == "inner" and column_never_missing(self.inputs[1], self.right_columns[place])

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
