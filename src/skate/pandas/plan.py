"""The plan of a frame that has not been computed: nodes that make rows, and columns as expressions over a node's columns.

    Plan(base, columns, index)      what a lazy DataFrame or Series holds
      base ──► Filter ──► Join ──► Source | Table | ParquetScan | CsvScan
                            └────► Source …

Selecting, renaming and element-wise arithmetic make no node: they only change `Plan.columns`, so two columns with the same base
have the same rows in the same order and need no alignment. An index is a `RowNumbers` (pandas' RangeIndex, which costs nothing)
or some more columns. Nodes and plans never change; what is computed from them is decided in lowering.py.

A missing value is a Polars null here, whatever pandas shows it as (NaN, NaT). Only columns marked `may_nan` can also hold a float NaN.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from skate.pandas import kinds

_ids = itertools.count()


@dataclass(frozen=True, slots=True)
class Column:
    """An expression over the columns of a node.

    Attributes:
        expr: Over the internal names of the node's columns.
        dtype: What pandas has for it.
        may_nan: It may hold NaN where it should hold null.
        is_heavy: Polars is worth it even for a frame that pandas holds already (strings, parsing).
        name: Of the node's column, if that is all the expression is.
        form: (operation, left, right) if it is arithmetic on columns and numbers.
    """

    expr: pl.Expr
    dtype: Any
    may_nan: bool = False
    is_heavy: bool = False
    name: str | None = None
    form: tuple[Any, ...] | None = None

    @property
    def clean(self) -> pl.Expr:
        """The expression with each missing value a null."""
        return self.expr.fill_nan(None) if self.may_nan else self.expr

    def roots(self) -> list[str]:
        return self.expr.meta.root_names() if self.name is None else [self.name]


@functools.lru_cache(maxsize=8192)
def named_column(name: str, dtype: Any) -> Column:
    """The node's column of this name."""
    return Column(pl.col(name), dtype, name=name)


@dataclass(frozen=True, slots=True)
class RowNumbers:
    """The index of a frame whose rows are those of its base, as a RangeIndex."""

    name: Hashable = None
    start: int = 0
    step: int = 1


@dataclass(frozen=True, slots=True)
class Levels:
    """An index made of columns; one of them is an Index, several are a MultiIndex."""

    names: tuple[Hashable, ...]
    columns: tuple[Column, ...]


IndexSpec = RowNumbers | Levels


class Node:
    """Something that makes rows. `columns` gives the pandas dtype of each column by its internal name."""

    inputs: tuple[Node, ...] = ()
    label = "node"

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.id = next(_ids)
        self.columns = dict(columns)
        self.runs = 0
        self.cached: pl.DataFrame | None = None
        self.carried: list[Any] | None = None  # The dtypes of the columns that pandas would make here, for estimates.
        self.is_cached_in_order = False
        self.hoped: frozenset[str] = frozenset()  # Columns that a plan made so far will ask for, if it is executed.
        self.row_name = f"__row{self.id}"  # The number of a row, as a column that is made only if somebody asks for it.

    @property
    def needs_order(self) -> bool:
        """Whether its result depends on the order of its input's rows, even when its own order doesn't matter."""
        return False

    @property
    def keeps_order(self) -> bool:
        """Whether the order of its rows is that of its first input."""
        return True

    @property
    def order_by(self) -> tuple[str, ...] | None:
        """Columns that are unique together and whose ascending sort, missing values last, gives the order of its rows."""
        return None

    def is_unique(self, names: frozenset[str]) -> bool:
        """Whether it is known that no two rows are equal in these columns."""
        return False

    def orders(self, ordered: bool) -> tuple[bool, ...]:
        """Which inputs' rows have to be in order, so that its own are (if that is asked)."""
        return tuple((ordered and self.keeps_order) or self.needs_order for _ in self.inputs)

    def wants(self, needed: frozenset[str]) -> tuple[frozenset[str], ...]:
        """Which columns of each input it needs to make `needed`."""
        raise NotImplementedError

    def largest(self, name: str) -> float | None:
        """A number that no value of a column of floats exceeds in size: see `largest`."""
        return None

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        """The rows with at least the columns `needed`, except its row numbers."""
        raise NotImplementedError

    def row_column(self) -> Column:
        import numpy as np

        return Column(pl.col(self.row_name).cast(pl.Int64), np.dtype("int64"))

    def row_numbers(self, start: int, step: int) -> Column:
        """The labels that a RangeIndex gives to its rows."""
        row = self.row_column()
        expr = row.expr
        if step != 1:
            expr = expr * step
        if start:
            expr = expr + start
        return Column(expr, row.dtype)

    def describe(self) -> str:
        return self.label


_BOUND_MOST = 1e300  # Beyond, a product may be infinite.


def largest(node: Node, column: Column) -> float | None:
    """A number that no value of the node's column exceeds in size; None if none is known, or a value may be NaN or infinite.

    Arithmetic on numbers that are not too large gives no NaN. pandas' sums skip NaN and Polars' do not, so a float column that was computed is cleaned
    before it is added up, which takes as long as adding it up (TPC-H 1: 84 ms instead of 58); where this tells a number there is nothing to clean.
    """
    if column.form is not None:
        operation, *sides = column.form
        sizes = [largest(node, side) if isinstance(side, Column) else abs(float(side)) for side in sides]
        if operation == "truediv" or sizes[0] is None or sizes[1] is None:
            return None
        size = sizes[0] * sizes[1] if operation == "mul" else sizes[0] + sizes[1]
        return size if size < _BOUND_MOST else None  # Not if it is NaN, either.
    if kinds.is_integer(column.dtype):
        return 2.0**64
    if not kinds.is_float(column.dtype) or not column.expr.meta.is_column():
        return None
    name = column.roots()[0]
    return node.largest(name) if name in node.columns else None


def roots_of(columns: Iterable[Column]) -> frozenset[str]:
    return frozenset(itertools.chain.from_iterable(column.roots() for column in columns))


def hope_for(node: Node, names: frozenset[str]) -> None:
    """Tell a node, and those below it that have the same columns, what will be asked of it."""
    while True:
        node.hoped |= names & node.columns.keys()
        if not node.inputs or node.inputs[0].columns.keys() != node.columns.keys():
            return
        node = node.inputs[0]


@dataclass(slots=True)
class Plan:
    """What a lazy frame or series holds.

    Attributes:
        base: Makes the rows.
        columns: By pandas' label, in order; a series has one.
        index: Its index.
        replay: Does the same with plain pandas; for what can't be lowered, for what pandas does better, and for the check mode.
        what: The operation in the user's words, for reports.
        line: Where the user wrote it.
    """

    base: Node
    columns: dict[Any, Column]
    index: IndexSpec
    replay: Callable[[], Any]
    what: str = ""
    line: tuple[str, int] | None = None
    column_names: Any = None  # Names of the columns' levels, when labels are tuples of a MultiIndex.
    is_series: bool = False
    tie_order_free: bool = False  # pandas' own order of equal keys is an accident of its unstable sort.
    is_complete: bool = True  # False: the frame also has columns that are not planned.
    is_whole_scan: bool = False  # Every column of a file and nothing else: pandas' own reader does that as well.
    result: Any = None
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def all_columns(self) -> list[Column]:
        extra = list(self.index.columns) if isinstance(self.index, Levels) else []
        return [*self.columns.values(), *extra]
