"""Which engine is faster at a plan: estimates from measured costs, so that nothing gets slower than pandas.

pandas' kernels are single-threaded but work on the blocks it holds; Polars uses all cores, and text has to be converted on the way in and
out. So one cheap operation on a frame in memory is pandas', and a chain, a string search or a sort of strings is Polars'. Costs are
nanoseconds a row on two cores (benchmarks/pandas/operations.py measured them, pandas 3.1, Polars 2.1, on an Intel and on an AMD machine); more cores only make Polars better.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

import pandas as pd

from skate.pandas import kinds
from skate.pandas.nodes import Aggregate, Attached, Distinct, Filter, GroupHead, Join, Slice, Sort, Source, Table, Top
from skate.pandas.plan import Node, Plan
from skate.pandas.settings import ROWS_MIN_DEFAULT, settings

# From how many rows in memory on the few microseconds of planning are lost in the work, by kind of work. Chains of the later kinds gain
# from planning, so the estimate below decides when the result is needed.
_ROWS_PLANNED = {
    "values": sys.maxsize,  # Arithmetic, casts: NumPy is as fast, and what follows would have to be planned, too. Of planned columns only.
    "element": 1_000_000,  # Masks and columns: it is only that the filter behind them may be fused.
    "rows": 400_000,  # Filters: below, what planning one costs shows.
    "groups": 1_000_000,  # Below, pandas aggregates as fast, and 0.2 ms of planning are 5 % of it.
    "heavy": 100_000,  # Sorts, joins.
    "text": 50_000,  # Searching in strings.
}


def rows_planned(work: str) -> int:
    """The least number of rows in memory for which this kind of work is planned."""
    rows = settings.rows_min
    return _ROWS_PLANNED[work] if rows == ROWS_MIN_DEFAULT else rows


def is_forced() -> bool:
    """Whether everything that is planned must be executed as a plan, for tests: the check mode, or a number of rows that was set."""
    return settings.check or settings.rows_min != ROWS_MIN_DEFAULT


# Polars must be expected to be this much faster: estimates are rough, and a tie is pandas'.
_MARGIN = 0.85
_START_NS = 400_000  # Optimising and starting a query.

_PANDAS_TAKE = {"number": 5.0, "text": 20.0}  # A column, by a row of the result.
_PANDAS_SCATTER = {"number": 17.0, "text": 80.0}  # The same in random order.
_POLARS_TAKE = {"number": 2.0, "text": 3.0}
_POLARS_SCATTER = {"number": 14.0, "text": 18.0}
_CONVERT = {"float": 4.0, "text": 18.0, "time": 5.0, "other": 0.0}  # From pandas' memory.
_GIVE_BACK = {"number": 3.5, "text": 12.0}

_PANDAS_SORT = {"text": 400.0, "float": 80.0, "time": 100.0, "other": 110.0}
_POLARS_SORT = {"text": 180.0, "float": 300.0, "time": 90.0, "other": 130.0}
_PANDAS_MORE_KEYS, _POLARS_MORE_KEYS = 100.0, 220.0
_PANDAS_TEXT, _POLARS_TEXT = 25.0, 10.0  # A search in strings: from 5 for a prefix to 80 for a regular expression.
_PANDAS_STEP, _POLARS_STEP = 5.0, 0.7  # An operation on two columns of numbers.
_GROUPS_MANY = 30_000
# Finding the groups of one key; many groups (some 50,000 in 2 million rows) don't fit the caches that a few do.
_PANDAS_GROUPS, _PANDAS_GROUPS_MANY = {"number": 14.0, "text": 20.0}, {"number": 18.0, "text": 60.0}
_POLARS_GROUPS, _POLARS_GROUPS_MANY = {"number": 5.0, "text": 6.0}, {"number": 16.0, "text": 32.0}
_PANDAS_AGGREGATE = {"median": 50.0, "n_unique": 120.0, "std": 7.0, "var": 7.0}
_POLARS_AGGREGATE = {"median": 60.0, "n_unique": 45.0, "std": 9.0, "var": 9.0}


def _size(dtype: Any) -> str:
    return "text" if kinds.is_str(dtype) else "number"


def _kind(dtype: Any) -> str:
    if kinds.is_str(dtype):
        return "text"
    return "float" if kinds.is_float(dtype) else "time" if kinds.is_time(dtype) else "other"


def _columns(dtypes: Iterable[Any], table: dict[str, float]) -> float:
    return sum(table[_size(dtype)] for dtype in dtypes)


class _Estimate:
    """Costs and rows of each node of one plan, children first."""

    def __init__(self) -> None:
        self.rows: dict[int, float] = {}
        self.polars_ns = 0.0
        self.pandas_ns = 0.0
        self.is_known = True

    def add(self, node: Node, wanted: frozenset[str]) -> None:
        inside = [self.rows[child.id] for child in node.inputs]
        needed = [column.dtype for name, column in node.columns.items() if name in wanted]
        # pandas would have made every column of the frame, not only those that the end of the chain needs.
        carried = node.carried if node.carried is not None else needed
        match node:
            case Source():
                rows = float(len(node.frame))
                for name in wanted:
                    if name in node.columns and not node.is_converted(name):
                        # Once converted it stays so: what is asked for again and again would have been worth it from the beginning.
                        self.polars_ns += rows * _CONVERT[_kind(node.columns[name].dtype)] / (1 + 2 * node.missed.get(name, 0))
            case Table():
                rows = float(node.table.height)
            case Attached():
                rows = inside[0]
            case Filter():
                rows = inside[0] * node.selectivity
                terms = 1 + 0.5 * node.terms
                self.pandas_ns += inside[0] * 1.5 * terms + rows * _columns(carried, _PANDAS_TAKE)
                self.polars_ns += inside[0] * terms + rows * _columns(needed, _POLARS_TAKE)
            case Top():
                rows = min(inside[0], float(node.length))
                first = _kind(node.key_dtypes[0])
                more = len(node.key_dtypes) - 1
                begin = _PANDAS_SORT["other" if more else first]
                self.pandas_ns += inside[0] * (begin + _PANDAS_MORE_KEYS * more + _columns(carried, _PANDAS_SCATTER))
                self.polars_ns += inside[0] * 8.0  # It keeps the first few only.
            case Sort():
                rows = inside[0]
                first = _kind(node.key_dtypes[0])
                more = len(node.key_dtypes) - 1
                # With several keys pandas makes numbers of them first, also of text.
                begin = _PANDAS_SORT["other" if more else first]
                self.pandas_ns += rows * (begin + _PANDAS_MORE_KEYS * more + _columns(carried, _PANDAS_SCATTER))
                self.polars_ns += rows * (_POLARS_SORT[first] + _POLARS_MORE_KEYS * more + _columns(needed, _POLARS_SCATTER))
            case Slice():
                rows = min(inside[0], float(node.length if node.length is not None else inside[0]))
            case Distinct():
                rows = inside[0] * 0.2
                keys = len(node.keys)
                self.pandas_ns += inside[0] * (20.0 if keys == 1 else 80.0 * keys) + rows * _columns(carried, _PANDAS_TAKE)
                self.polars_ns += inside[0] * (22.0 if keys == 1 else 110.0 * keys) + rows * _columns(needed, _POLARS_TAKE)
            case GroupHead():
                rows = inside[0] * 0.1
                self.pandas_ns += inside[0] * 40.0 + rows * _columns(carried, _PANDAS_TAKE)
                self.polars_ns += inside[0] * 45.0 + rows * _columns(needed, _POLARS_TAKE)
            case Aggregate():
                rows = max(1.0, inside[0] * 0.02)
                keys = len(node.keys)
                are_many = _groups(node) > _GROUPS_MANY
                if keys == 1:
                    kind = _size(node.keys[0].dtype)
                    self.pandas_ns += inside[0] * (_PANDAS_GROUPS_MANY if are_many else _PANDAS_GROUPS)[kind]
                    self.polars_ns += inside[0] * (_POLARS_GROUPS_MANY if are_many else _POLARS_GROUPS)[kind]
                else:
                    self.pandas_ns += inside[0] * (50.0 if are_many else 40.0) * keys
                    self.polars_ns += inside[0] * (75.0 if are_many else 8.0) * keys
                if not node.sort:
                    self.polars_ns += inside[0] * (12.0 if are_many else 3.0)
                # What is computed on the way: pandas makes each intermediate result in memory.
                steps = sum(len(names) for _, _, names in node.results if len(names) > 1)
                self.pandas_ns += inside[0] * _PANDAS_STEP * steps
                self.polars_ns += inside[0] * _POLARS_STEP * steps
                for name in node.aggregations:
                    self.pandas_ns += inside[0] * _PANDAS_AGGREGATE.get(name, 5.0)
                    self.polars_ns += inside[0] * _POLARS_AGGREGATE.get(name, 3.0)
            case Join():
                rows = max(inside)
                text = any(kinds.is_str(column.dtype) for column in node.left_keys)
                self.pandas_ns += sum(inside) * (130.0 if text else 30.0) + rows * _columns(carried, _PANDAS_TAKE)
                self.polars_ns += sum(inside) * (40.0 if text else 45.0) + rows * _columns(needed, _POLARS_TAKE)
            case _:  # A scan of a file: pandas would read all of it.
                rows = 1e6
                self.is_known = False
        self.rows[node.id] = rows


def _groups(node: Aggregate) -> float:
    """About how many groups there are, by a sample; 0 if the keys are no columns of a frame in memory."""
    source = node.inputs[0]
    while isinstance(source, (Filter, Attached, Slice, Sort)):
        source = source.inputs[0]
    names = [key.name for key in node.keys]
    if not isinstance(source, Source) or not all(name in source.labels for name in names):
        return 0.0
    keys = tuple(name for name in names if name is not None)
    if keys not in source.groups:
        sample = _sample(source.frame[[source.labels[name] for name in keys]])
        source.groups[keys] = estimated_groups(len(sample), len(sample.drop_duplicates()))
    return source.groups[keys]


def _sample(frame: Any) -> Any:
    """Some 6,000 rows, in stretches: to pick rows one by one out of an Arrow array in pieces takes as long as some queries."""
    rows, stretch = len(frame), 500
    count = min(12, max(1, rows // 100 // stretch))
    starts = [rows * i // count for i in range(count)]
    return pd.concat([frame.iloc[start : start + stretch] for start in starts]) if count > 1 else frame.iloc[:stretch]


def estimated_groups(rows: int, distinct: int) -> float:
    """How many groups of equal size there are, when `rows` rows of them have so many different keys: g (1 - exp(-rows / g)) = distinct."""
    if distinct >= rows:
        return math.inf
    low, high = float(distinct), float(rows) ** 2
    for _ in range(40):
        middle = (low + high) / 2 if high < 4 * low else math.sqrt(low * high)
        low, high = (low, middle) if -middle * math.expm1(-rows / middle) > distinct else (middle, high)
    return low


_ROWS_SINGLE = 1_000_000


def is_small_and_single(plan: Plan) -> bool:
    """Whether it is one operation on a frame in memory of less than a million rows, of a kind at which pandas was found to be faster: there
    even an estimate costs too much."""
    base = plan.base
    if not base.inputs or any(column.is_heavy for column in plan.all_columns()):
        return False
    for child in base.inputs:
        source = child.inputs[0] if isinstance(child, Attached) else child
        if not isinstance(source, Source) or len(source.frame) >= _ROWS_SINGLE:
            return False
    match base:
        case Aggregate():
            return "n_unique" not in base.aggregations and not any(len(names) > 1 for _, _, names in base.results)
        case Top():
            return False
        case Join():
            return not any(kinds.is_str(column.dtype) for column in base.left_keys)
        case Filter():
            return isinstance(base.inputs[0], Attached)
        case Sort() | Distinct() | GroupHead():
            return True
    return False


def is_pandas_faster(plan: Plan, topological: list[Node], needed: dict[int, frozenset[str]]) -> bool:
    """Whether the plan, whose nodes (children first) must make the columns `needed`, is expected to be done sooner by pandas."""
    estimate = _Estimate()
    for node in topological:
        if node.id in needed:
            estimate.add(node, needed[node.id])
            if node.cached is not None or not estimate.is_known:
                return False
    rows = estimate.rows[plan.base.id]
    dtypes = [column.dtype for column in plan.all_columns()]
    out = rows * _columns(dtypes, _GIVE_BACK)
    heavy = sum(column.is_heavy for column in plan.all_columns())
    polars_ns = _START_NS + estimate.polars_ns + out + rows * _POLARS_TEXT * heavy
    pandas_ns = estimate.pandas_ns + rows * _PANDAS_TEXT * heavy
    is_faster = polars_ns > _MARGIN * pandas_ns
    for node in topological:
        if is_faster and isinstance(node, Source) and node.id in needed:
            for name in needed[node.id]:
                node.missed[name] = node.missed.get(name, 0) + 1
    return is_faster


def pays_to_take(plan: Plan) -> bool:
    """Whether to let Polars find the rows and pandas copy them, for a plan that only picks or orders the rows of one frame in memory: text
    then needs no conversion."""
    source = plan.base
    while isinstance(source, (Sort, Filter, Slice, Distinct, Attached)):
        source = source.inputs[0]
    if not isinstance(source, Source) or source.row_name in source.columns:
        return False
    columns = plan.all_columns() if plan.column_names is None else []
    return any(kinds.is_str(column.dtype) and not source.is_converted(name) for column in columns for name in column.roots())
