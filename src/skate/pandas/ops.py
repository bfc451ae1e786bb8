"""pandas' operations on frames as changes of a plan. Each returns a lazy object, or NotImplemented when pandas does it.

What a plan has not, pandas does: labels that repeat, columns of several levels, attrs. Nothing here executes a plan unless it says so.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from skate.pandas import execute, expressions as ex, kinds, lazy, ledger, membership
from skate.pandas.costs import is_forced, rows_planned
from skate.pandas.exceptions import FallbackError
from skate.pandas.membership import Mask, Membership
from skate.pandas.nodes import (
    Attached,
    Distinct,
    Filter,
    Join,
    Sample,
    Slice,
    Sort,
    Source,
    Top,
    column_never_missing,
    unfiltered,
    unsorted,
)
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.plan import Column, IndexSpec, Levels, Node, Plan, RowNumbers, largest
from skate.pandas.settings import settings

# ---------------------------------------------------------------- plans of what the user holds


def plan_of(value: Any, work: str | None = None) -> Plan | None:
    """The plan of a frame or series: its own, or one over the blocks that pandas holds, if they are many rows of planned dtypes, enough for
    this kind of work (costs.py)."""
    state = value.__dict__
    manager = state.get("_mgr")
    if state.get("_attrs") or type(value) not in lazy.ours:
        return None
    if manager is None:
        return state.get("_sk_plan")
    if not lazy.is_large(value, work) or not value._flags.allows_duplicate_labels:
        return None
    if value.ndim == 1:
        belongs = _column_of_its_frame(value, manager)
        if belongs is not None:
            return belongs
    plan: Plan | None = state.get("_sk_resident")
    if plan is not None and plan.base.matches(manager):  # type: ignore[attr-defined]
        if value.ndim == 1 and next(iter(plan.columns)) != value._name:
            return None
        return plan
    plan = _resident_series(value) if value.ndim == 1 else _resident_frame(value)
    if plan is not None:
        state["_sk_resident"] = plan
    return plan


def _index_of(source: Source, index: Any) -> IndexSpec | None:
    if isinstance(index, pd.RangeIndex):
        return RowNumbers(index.name, index.start, index.step)
    if source.level_names is None:
        return None
    return Levels(tuple(index.names), tuple(source.columns[name] for name in source.level_names))


def _column_of_its_frame(series: Any, manager: Any) -> Plan | None:
    """A series that was taken from a large frame, and is still the same memory, as a column of the frame's plan: then nothing is aligned."""
    parent = series.__dict__.get("_sk_parent")
    frame = None if parent is None else parent[0]()
    if frame is None or parent[1] != series._name or "_mgr" not in frame.__dict__:
        return None
    plan = plan_of(frame)
    if plan is None or not isinstance(plan.base, Source) or not plan.base.has_memory(parent[1], manager.blocks[0].values):
        return None
    if not plan.base.index.is_(manager.axes[0]):
        return None
    label = parent[1]
    return Plan(plan.base, {label: plan.columns[label]}, plan.index, lambda: result(plan)[label], "source", is_series=True)


def remember_frame(series: Any, frame: Any, label: Any) -> Any:
    """The series, just taken from a frame in memory, with a note of where from."""
    if type(series) in lazy.ours and series.ndim == 1:
        series.__dict__["_sk_parent"] = (weakref.ref(frame), label)
    return series


def _resident_frame(frame: Any) -> Plan | None:
    labels = frame._mgr.axes[0]
    if type(labels) is not pd.Index or labels.name is not None or not labels.is_unique:
        return None
    plain = lazy.snapshot(frame)
    source = Source(plain, frame._mgr, list(labels))
    index = _index_of(source, source.index)
    if index is None or not source.names:
        return None
    columns = {label: source.columns[name] for label, name in source.names.items()}
    return Plan(source, columns, index, lambda: plain, "source", is_complete=len(columns) == len(labels))


def _resident_series(series: Any) -> Plan | None:
    if kinds.polars_dtype(series.dtype) is None:
        return None
    plain = lazy.snapshot(series)
    source = Source(plain.to_frame("values"), series._mgr, ["values"])
    index = _index_of(source, source.index)
    if index is None:
        return None
    return Plan(source, {series._name: source.columns["values"]}, index, lambda: plain, "source", is_series=True)


# ---------------------------------------------------------------- making results


def frame_result(
    base: Node, columns: dict[Any, Column], index: IndexSpec, what: str, replay: Callable[[], Any], **more: Any
) -> Any:
    return lazy.new_frame(Plan(base, columns, index, replay, what, ledger.user_line(), **more))


def series_result(plan: Plan, column: Column, name: Any, what: str, replay: Callable[[], Any]) -> Any:
    return lazy.new_series(Plan(plan.base, {name: column}, plan.index, replay, what, ledger.user_line(), is_series=True))


def result(plan: Plan) -> Any:
    return execute.result_of(plan)


def the_column(plan: Plan) -> Column:
    return next(iter(plan.columns.values()))


def same_rows(a: Plan, b: Plan) -> bool:
    """Whether two plans have the same rows in the same order with the same index, so that pandas would have nothing to align."""
    if a.base is not b.base:
        return False
    if isinstance(a.index, Levels) and isinstance(b.index, Levels):
        return a.index is b.index or (
            a.index.names == b.index.names
            and all(x is y or x.expr.meta.eq(y.expr) for x, y in zip(a.index.columns, b.index.columns, strict=True))
        )
    return a.index == b.index


def filtered_index(plan: Plan) -> IndexSpec:
    """The index of a frame when rows will be left out or moved: row numbers become a column."""
    if isinstance(plan.index, Levels):
        return plan.index
    return Levels((plan.index.name,), (plan.base.row_numbers(plan.index.start, plan.index.step),))


# ---------------------------------------------------------------- series


def binary(kind: str, name: str, left: Any, right: Any) -> Any:
    """An operator between a series of ours and a series or scalar; `reflected` operators come with a scalar on the left."""
    work = "values" if kind == "arithmetic" else "element"
    left_plan = plan_of(left, work) if isinstance(left, PlainSeries) else None
    right_plan = plan_of(right, work) if isinstance(right, PlainSeries) else None
    plan = left_plan or right_plan
    if (
        plan is None
        or (isinstance(left, PlainSeries) and left_plan is None)
        or (isinstance(right, PlainSeries) and right_plan is None)
    ):
        return NotImplemented
    if left_plan is not None and right_plan is not None and not same_rows(left_plan, right_plan):
        return NotImplemented
    a: Any = the_column(left_plan) if left_plan is not None else ex.scalar_of(left)
    b: Any = the_column(right_plan) if right_plan is not None else ex.scalar_of(right)
    if a is None or b is None:
        return NotImplemented
    if kind == "arithmetic":
        column = ex.arithmetic(name, left if left_plan is None else a, right if right_plan is None else b)
    elif left_plan is None:
        return NotImplemented
    else:
        column = (ex.comparison if kind == "comparison" else _logical)(name, a, right if right_plan is None else b)
    if column is None:
        return NotImplemented
    label = left.name if left_plan is not None else right.name
    if left_plan is not None and right_plan is not None and not _same_name(left.name, right.name):
        label = None
    function = {**ex.ARITHMETIC, **ex.COMPARISONS, **ex.LOGICAL}[name]

    def replay() -> Any:
        x = result(left_plan) if left_plan is not None else left
        y = result(right_plan) if right_plan is not None else right
        return function(x, y)

    return series_result(plan, column, label, name, replay)


def _logical(name: str, left: Column, right: Any) -> Column | None:
    if name == "and_" and isinstance(right, Column) and kinds.is_bool(left.dtype) and kinds.is_bool(right.dtype):
        mask = membership.both(left, right)
        if mask is not None:
            return mask
    return ex.logical(name, left, right)


def invert(series: Any) -> Any:
    def make(column: Column) -> Column | None:
        negated = membership.negated(column) if isinstance(column, Mask) else None
        return ex.invert(column) if negated is None else negated

    return elementwise(series, make, "~", lambda plain: ~plain)


def where(series: Any, condition: Any, other: Any, *, negate: bool) -> Any:
    """`where` and (negated) `mask` by a condition over the same rows, with a scalar or a missing value elsewhere."""
    plan, test = plan_of(series, "values"), plan_of(condition, "values") if isinstance(condition, PlainSeries) else None
    if plan is None or test is None or not same_rows(plan, test):
        return NotImplemented
    column, mask = the_column(plan), the_column(test)
    made = ex.where(column, mask, other, negate=negate) if kinds.is_bool(mask.dtype) else None
    if made is None:
        return NotImplemented
    name = "mask" if negate else "where"

    def replay() -> Any:
        plain, plain_test = result(plan), result(test)
        more = () if other is ex.MISSING else (other,)
        return plain.mask(plain_test, *more) if negate else plain.where(plain_test, *more)

    return series_result(plan, made, series.name, name, replay)


def unique(series: Any) -> Any:
    """The distinct values of a planned series in order of appearance, computed now."""
    plan = lazy.planned(series)
    if plan is None or execute.is_better_left_to_pandas(plan):
        return NotImplemented
    column = the_column(plan)
    if not (kinds.is_number(column.dtype) or kinds.is_str(column.dtype)):
        return NotImplemented
    started = ledger.now()
    try:
        table = execute.collect(plan.base, {"values": column.clean.unique(maintain_order=True)})
    except execute.Unlowered as reason:
        ledger.fallback("unique", str(reason))
        return NotImplemented
    ledger.add(ledger.user_line(), "unique", "polars", ledger.now() - started, table.height, "")
    return kinds.to_pandas_array(table["values"], column.dtype)


def _same_name(a: Any, b: Any) -> bool:
    try:
        return bool(a == b) and type(a) is type(b)
    except Exception:
        return False


def elementwise(
    series: Any, make: Callable[[Column], Column | None], what: str, replay: Callable[[Any], Any], work: str = "element"
) -> Any:
    """A function of one series; `replay` does the same to a plain series."""
    plan = plan_of(series, work)
    if plan is None:
        return NotImplemented
    column = make(the_column(plan))
    if column is None:
        return NotImplemented
    return series_result(plan, column, series.name, what, lambda: replay(result(plan)))


def is_in(series: Any, values: Any) -> Any:
    plan = plan_of(series, "element")
    if plan is None:
        return NotImplemented
    column = the_column(plan)
    if isinstance(values, PlainSeries):
        other = plan_of(values)
        if values.dtype != column.dtype or kinds.is_bool(column.dtype):
            return NotImplemented
        if other is not None:
            mask = Mask((Membership(column, other.base, the_column(other)),))
            return series_result(plan, mask, series.name, "isin", lambda: result(plan).isin(result(other)))
        if values.hasnans:
            return NotImplemented
        found = kinds.to_polars(values.array._ndarray if hasattr(values.array, "_ndarray") else values.array, "values")
        frozen = values.copy(deep=False)
        return elementwise(
            series, lambda column: ex.is_in(column, found), "isin", lambda plain: plain.isin(lazy.to_pandas(frozen))
        )
    if isinstance(values, np.ndarray) and values.ndim == 1:
        if kinds.is_integer(column.dtype) and values.dtype == column.dtype:
            frozen_values = values.copy()  # The caller may change his.
            numbers = pl.Series("values", frozen_values)
            return elementwise(series, lambda column: ex.is_in(column, numbers), "isin", lambda plain: plain.isin(frozen_values))
        values = values.tolist()
    if isinstance(values, list):
        values = list(values)  # The caller may change his.
    return elementwise(series, lambda column: ex.is_in(column, values), "isin", lambda plain: plain.isin(values))


def date_part(series: Any, part: str) -> Any:
    plan = plan_of(series, "values")
    if plan is None or not column_never_missing(plan.base, the_column(plan)):
        return NotImplemented
    return elementwise(
        series, lambda column: ex.date_part(column, part), f"dt.{part}", lambda plain: getattr(plain.dt, part), "values"
    )


_REDUCTIONS = ("sum", "mean", "min", "max", "count", "nunique", "std", "var", "median")


def reduce(series: Any, name: str) -> Any:
    """A number out of a series that is not computed yet; over blocks that pandas holds, pandas is as fast."""
    plan = lazy.planned(series)
    if plan is None:
        return NotImplemented
    if execute.is_better_left_to_pandas(plan):
        return NotImplemented
    column = the_column(plan)
    if name in ("min", "max") and kinds.is_str(column.dtype):
        return NotImplemented
    if kinds.is_bool(column.dtype):
        if name != "sum":
            return NotImplemented
        made: tuple[pl.Expr, Any, bool] | None = (column.expr.sum().cast(pl.Int64), kinds.INT64, False)
    else:
        if name in ("sum", "mean") and column.may_nan and largest(plan.base, column) is not None:
            column = replace(column, may_nan=False)
        made = ex.aggregation(name, column)
    if made is None:
        return NotImplemented
    expr, dtype, _ = made
    started = ledger.now()
    try:
        table = execute.collect(plan.base, {"value": expr, "rows": pl.len()}, ordered=False, keep=True)
    except execute.Unlowered as reason:
        ledger.fallback(name, str(reason))
        return NotImplemented
    ledger.add(ledger.user_line(), name, "polars", ledger.now() - started, table["rows"][0], "")
    if table["rows"][0] == 0 and name not in ("sum", "count", "nunique"):
        return NotImplemented
    if name in ("count", "nunique"):
        return np.int64(table["value"][0]) if name == "count" else int(table["value"][0])
    if table["value"].null_count() and dtype.kind in "iu":
        return NotImplemented
    return PlainSeries(kinds.to_pandas_array(table["value"], dtype))[0]


# ---------------------------------------------------------------- frames


def getitem(frame: Any, key: Any) -> Any:
    """`frame[key]`; columns of a frame in memory are pandas' own series, which costs nothing."""
    is_held = lazy.planned(frame) is None
    if is_held and isinstance(key, list) and not lazy.is_large(frame, "values"):
        return NotImplemented
    plan = plan_of(frame, "rows")
    if plan is None:
        return NotImplemented
    if callable(key):
        key = key(frame)
    if isinstance(key, PlainSeries):
        return filter_rows(plan, key)
    if isinstance(key, list):
        return select(plan, key)
    try:
        column = plan.columns.get(key)
    except TypeError:
        return NotImplemented
    if column is None:
        return NotImplemented
    if isinstance(key, tuple):
        return NotImplemented
    return series_result(plan, column, key, f"[{key!r}]", lambda: result(plan)[key])


def select(plan: Plan, labels: list[Any]) -> Any:
    try:
        if not labels or len(set(labels)) != len(labels) or not all(label in plan.columns for label in labels):
            return NotImplemented
    except TypeError:
        return NotImplemented
    if all(isinstance(label, (bool, np.bool_)) for label in labels):
        return NotImplemented
    labels = list(labels)
    columns = {label: plan.columns[label] for label in labels}
    return frame_result(plan.base, columns, plan.index, f"{labels!r}", lambda: result(plan)[labels])


def filter_rows(plan: Plan, mask: Any, *, what: str = "filter") -> Any:
    if not plan.is_complete:
        return NotImplemented
    held = mask.__dict__.get("_mgr")
    other: Plan | None
    if held is not None and _is_mask_of(plan, mask):
        # pandas has computed the mask: it is a column from now on.
        assert isinstance(plan.base, Source)
        values = lazy.snapshot(mask)
        mask_values = values.to_numpy()
        share = float(np.count_nonzero(mask_values)) / max(1, len(mask_values))
        # So few rows are copied sooner than planned.
        if share < 0.05 and not is_forced() and not _is_costly_to_pick_from(plan.base.frame):
            return NotImplemented
        attached = Attached(plan.base, mask_values, share)
        node = Filter(attached, pl.col(attached.name))

        def mask_of() -> Any:
            return values

    else:
        other = plan_of(mask)
        if other is None or not other.is_series or not same_rows(plan, other):
            return NotImplemented
        column = the_column(other)
        if not kinds.is_bool(column.dtype):
            return NotImplemented
        if isinstance(column, Mask):
            condition = None if column.condition is None else column.condition.expr
            node = Filter(plan.base, condition, column.memberships)
        else:
            node = Filter(plan.base, column.expr)

        def mask_of() -> Any:
            return result(other)

    node.carried = carried(plan)

    def replay() -> Any:
        return result(plan)[mask_of()]

    if plan.is_series:
        (label, values_of), *_ = plan.columns.items()
        made = Plan(node, {label: values_of}, filtered_index(plan), replay, what, ledger.user_line(), is_series=True)
        return lazy.new_series(made)
    return frame_result(node, plan.columns, filtered_index(plan), what, replay)


def _is_costly_to_pick_from(frame: Any) -> bool:
    """Whether a few rows take long to copy: out of Arrow's text in pieces, which is joined first."""
    return any(
        getattr(getattr(block.values, "_pa_array", None), "num_chunks", 1) > 1 and len(block.values) > _PICKED_MIN
        for block in frame._mgr.blocks
    )


_PICKED_MIN = 100_000  # Rows.


def _is_mask_of(plan: Plan, mask: Any) -> bool:
    """Whether a series in memory is a mask over exactly the rows of a frame in memory."""
    if not isinstance(plan.base, Source) or mask.dtype != kinds.BOOL or plan.index != _index_of(plan.base, plan.base.index):
        return False
    index = mask.index
    mine = plan.base.index
    return bool(index.is_(mine) or (isinstance(index, pd.RangeIndex) and isinstance(mine, pd.RangeIndex) and index.equals(mine)))


def carried(plan: Plan) -> list[Any]:
    return [column.dtype for column in plan.columns.values()]


def locate(frame: Any, key: Any) -> Any:
    """`loc[mask]`, `loc[mask, labels]`, `loc[:, labels]`."""
    if not isinstance(key[0] if type(key) is tuple and key else key, PlainSeries) and lazy.planned(frame) is None:
        return NotImplemented
    plan = plan_of(frame, "rows")
    if plan is None:
        return NotImplemented
    if isinstance(key, PlainSeries):
        return filter_rows(plan, key)
    if plan.is_series or not isinstance(key, tuple) or len(key) != 2:
        return NotImplemented
    rows, columns = key
    if not (isinstance(columns, (list, str))):
        return NotImplemented
    if isinstance(columns, str) and columns not in plan.columns:
        return NotImplemented
    if isinstance(rows, slice):
        if rows != slice(None) or lazy.planned(frame) is None:
            return NotImplemented
        return getitem(frame, columns)
    if not isinstance(rows, PlainSeries):
        return NotImplemented
    if isinstance(columns, list) and not all(isinstance(c, str) and c in plan.columns for c in columns):
        return NotImplemented
    if isinstance(columns, list) and (not columns or len(set(columns)) != len(columns)):
        return NotImplemented
    kept = columns if isinstance(columns, list) else [columns]
    narrow = Plan(plan.base, {label: plan.columns[label] for label in kept}, plan.index, lambda: result(plan)[kept], "loc")
    found = filter_rows(narrow, rows, what="loc")
    if found is NotImplemented or isinstance(columns, list):
        return found
    return found[columns]


def assign(plan: Plan, label: Any, value: Any) -> Plan | None:
    """The plan with one column set, or None."""
    if not plan.is_complete:
        return None
    try:
        hash(label)
    except TypeError:
        return None
    if isinstance(label, (tuple, list)):
        return None
    if isinstance(value, PlainSeries):
        other = plan_of(value)
        if other is None or not same_rows(plan, other):
            return None
        column = the_column(other)

        def replay() -> Any:
            frame = result(plan).copy(deep=False)
            frame[label] = result(other)
            return frame

    else:
        if not isinstance(value, (bool, int, float, str)) or value != value:
            return None
        dtype = {bool: kinds.BOOL, int: kinds.INT64, float: kinds.FLOAT64, str: kinds.STR}.get(type(value))
        if dtype is None or (type(value) is int and not -(2**63) <= value < 2**63):
            return None
        column = Column(pl.lit(value, dtype=kinds.polars_dtype(dtype)), dtype)

        def replay() -> Any:
            frame = result(plan).copy(deep=False)
            frame[label] = value
            return frame

    return Plan(plan.base, {**plan.columns, label: column}, plan.index, replay, f"[{label!r}] =", ledger.user_line())


def rename(frame: Any, mapping: Any) -> Any:
    plan = lazy.planned(frame)
    if plan is None or not plan.is_complete or not (isinstance(mapping, dict) or callable(mapping)):
        return NotImplemented
    get = mapping if callable(mapping) else lambda label: mapping.get(label, label)
    labels = [get(label) for label in plan.columns]
    if any(isinstance(label, tuple) for label in labels) or len(set(labels)) != len(labels):
        return NotImplemented
    columns = dict(zip(labels, plan.columns.values(), strict=True))
    mapping = dict(mapping) if isinstance(mapping, dict) else mapping
    return frame_result(plan.base, columns, plan.index, "rename", lambda: result(plan).rename(columns=mapping))


def drop(frame: Any, labels: Any) -> Any:
    plan = lazy.planned(frame)
    if plan is None or not plan.is_complete:
        return NotImplemented
    gone = labels if isinstance(labels, list) else [labels]
    try:
        if not all(label in plan.columns for label in gone) or len(plan.columns) <= len(set(gone)):
            return NotImplemented
    except TypeError:
        return NotImplemented
    columns = {label: column for label, column in plan.columns.items() if label not in gone}
    gone = list(gone)
    return frame_result(plan.base, columns, plan.index, "drop", lambda: result(plan).drop(columns=gone))


def head(value: Any, n: Any) -> Any:
    plan = lazy.planned(value)
    if plan is None or type(n) is not int or n < 0 or not plan.is_complete or isinstance(plan.base, Source):
        return NotImplemented
    # The first rows keep their row numbers: pandas has RangeIndex(start, start + n) for them.
    made = Plan(
        Top(plan.base, n) if type(plan.base) is Sort else Slice(plan.base, 0, n),
        plan.columns,
        plan.index,
        lambda: result(plan).head(n),
        f"head({n})",
        ledger.user_line(),
        is_series=plan.is_series,
    )
    return (lazy.new_series if plan.is_series else lazy.new_frame)(made)


def sort_values(frame: Any, by: Any, ascending: Any, kind: Any, na_position: Any, ignore_index: bool) -> Any:
    plan = plan_of(frame, "heavy")
    if plan is None or not plan.is_complete:
        return NotImplemented
    keys = [by] if isinstance(by, str) else by
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) and key in plan.columns for key in keys):
        return NotImplemented
    if isinstance(plan.index, Levels) and any(key in plan.index.names for key in keys):
        return NotImplemented
    directions = ascending if isinstance(ascending, list) else [ascending] * len(keys)
    if (
        len(directions) != len(keys)
        or not all(isinstance(one, (bool, np.bool_)) for one in directions)
        or na_position not in ("first", "last")
    ):
        return NotImplemented
    columns = [plan.columns[key] for key in keys]
    node = Sort(
        plan.base,
        [column.clean for column in columns],
        [column.dtype for column in columns],
        [not one for one in directions],
        na_position == "last",
    )
    node.carried = carried(plan)
    index = RowNumbers() if ignore_index else filtered_index(plan)

    def replay() -> Any:
        return result(plan).sort_values(
            keys, ascending=list(directions), kind=kind, na_position=na_position, ignore_index=ignore_index
        )

    return frame_result(
        node,
        plan.columns,
        index,
        f"sort_values({keys!r})",
        replay,
        tie_order_free=len(keys) == 1 and kind not in ("stable", "mergesort"),
    )


def drop_duplicates(frame: Any, subset: Any, keep: Any, ignore_index: bool) -> Any:
    plan = plan_of(frame, "heavy")
    if plan is None or keep not in ("first", "last") or not plan.is_complete or plan.is_series:
        return NotImplemented
    labels = list(plan.columns) if subset is None else [subset] if isinstance(subset, str) else subset
    if (
        not isinstance(labels, list)
        or not labels
        or not all(isinstance(label, str) and label in plan.columns for label in labels)
    ):
        return NotImplemented
    node = Distinct(plan.base, [plan.columns[label].clean for label in labels], keep)
    node.carried = carried(plan)
    index = RowNumbers() if ignore_index else filtered_index(plan)

    def replay() -> Any:
        return result(plan).drop_duplicates(subset=labels, keep=keep, ignore_index=ignore_index)

    return frame_result(node, plan.columns, index, "drop_duplicates", replay)


def dropna(frame: Any, subset: Any, how: Any) -> Any:
    plan = plan_of(frame, "heavy")
    if plan is None or not plan.is_complete or plan.is_series or how not in ("any", "all"):
        return NotImplemented
    labels = list(plan.columns) if subset is None else [subset] if isinstance(subset, str) else subset
    if (
        not isinstance(labels, list)
        or not labels
        or not all(isinstance(label, str) and label in plan.columns for label in labels)
    ):
        return NotImplemented
    present = [ex.is_missing(plan.columns[label], negate=True).expr for label in labels]
    predicate = pl.all_horizontal(present) if how == "any" else pl.any_horizontal(present)
    node = Filter(plan.base, predicate)
    node.carried = carried(plan)
    node.selectivity = 0.9
    if isinstance(plan.index, RowNumbers):
        return NotImplemented if isinstance(plan.base, Source) else _dropna_result(plan, node, predicate, labels, how)
    return _dropna_result(plan, node, predicate, labels, how)


def _dropna_result(plan: Plan, node: Filter, predicate: pl.Expr, labels: list[Any], how: str) -> Any:
    # pandas keeps a RangeIndex when nothing was missing; that is only known afterwards.
    if isinstance(plan.index, RowNumbers) and not all(column_never_missing(plan.base, plan.columns[label]) for label in labels):
        try:
            counts = execute.collect(
                plan.base,
                {"rows": pl.len(), "kept": predicate.sum()},
                ordered=False,
            )
        except execute.Unlowered:
            return NotImplemented
        if counts["rows"][0] == counts["kept"][0]:
            return NotImplemented
    return frame_result(node, plan.columns, filtered_index(plan), "dropna", lambda: result(plan).dropna(subset=labels, how=how))


def reset_index(value: Any, drop: bool) -> Any:
    plan = plan_of(value)
    if plan is None or not plan.is_complete:
        return NotImplemented
    if drop:
        made = Plan(
            plan.base, plan.columns, RowNumbers(), lambda: result(plan).reset_index(drop=True), "reset_index", ledger.user_line(),
            is_series=plan.is_series, tie_order_free=False,
        )  # fmt: skip
        return (lazy.new_series if plan.is_series else lazy.new_frame)(made)
    if isinstance(plan.index, RowNumbers):
        levels = filtered_index(plan)
        assert isinstance(levels, Levels)
    else:
        levels = plan.index
    several = len(levels.names) > 1
    added: dict[Any, Column] = {}
    for i, (name, column) in enumerate(zip(levels.names, levels.columns, strict=True)):
        label = name if name is not None else f"level_{i}" if several else "index"
        if isinstance(label, tuple) or label in added or label in plan.columns or (name is None and "index" in plan.columns):
            return NotImplemented
        added[label] = column
    columns = dict(plan.columns)
    if plan.is_series and next(iter(columns)) is None:
        columns = {0: next(iter(columns.values()))}
    if plan.column_names is not None:
        return NotImplemented
    return frame_result(plan.base, {**added, **columns}, RowNumbers(), "reset_index", lambda: result(plan).reset_index())


def set_index(frame: Any, keys: Any) -> Any:
    plan = plan_of(frame)
    labels = [keys] if isinstance(keys, str) else keys
    if plan is None or not plan.is_complete or not isinstance(labels, list) or not labels:
        return NotImplemented
    if not all(isinstance(label, str) and label in plan.columns for label in labels) or len(set(labels)) != len(labels):
        return NotImplemented
    if len(labels) > 1 and not all(column_never_missing(plan.base, plan.columns[label]) for label in labels):
        return NotImplemented
    if len(labels) >= len(plan.columns):
        return NotImplemented
    index = Levels(tuple(labels), tuple(plan.columns[label] for label in labels))
    columns = {label: column for label, column in plan.columns.items() if label not in labels}
    return frame_result(plan.base, columns, index, "set_index", lambda: result(plan).set_index(keys))


def merge(left: Any, right: Any, how: Any, left_on: Any, right_on: Any, suffixes: Any) -> Any:
    """An inner or left join on columns of the same kind."""
    if not (isinstance(left, PlainFrame) and isinstance(right, PlainFrame)) or how not in ("inner", "left"):
        return NotImplemented
    if "_mgr" in left.__dict__ and "_mgr" in right.__dict__ and not _is_big(left, right):
        return NotImplemented
    a, b = _whole_plan(left), _whole_plan(right)
    if a is None or b is None:
        return NotImplemented
    if how == "left" and not is_forced() and all(isinstance(p.base, Source) for p in (a, b)):
        return NotImplemented  # Whether each row finds a match decides dtypes, and would have to be looked at now.
    on_left = [left_on] if isinstance(left_on, str) else left_on
    on_right = [right_on] if isinstance(right_on, str) else right_on
    if not isinstance(on_left, list) or not isinstance(on_right, list) or len(on_left) != len(on_right) or not on_left:
        return NotImplemented
    for names, plan in ((on_left, a), (on_right, b)):
        if not all(isinstance(name, str) and name in plan.columns for name in names) or len(set(names)) != len(names):
            return NotImplemented
        if isinstance(plan.index, Levels) and any(name in plan.index.names for name in names):
            return NotImplemented
    left_keys, right_keys = [a.columns[name] for name in on_left], [b.columns[name] for name in on_right]
    key_types: list[Any] = []
    for x, y in zip(left_keys, right_keys, strict=True):
        if x.dtype == y.dtype:
            key_types.append(None)
        elif kinds.is_integer(x.dtype) and kinds.is_integer(y.dtype) and "uint64" not in (x.dtype.name, y.dtype.name):
            key_types.append(pl.Int64)
        else:
            return NotImplemented
    shared = [x for x, y in zip(on_left, on_right, strict=True) if x == y]
    if any(kind is not None and x in shared for x, kind in zip(on_left, key_types, strict=True)):
        return NotImplemented  # Which of the two dtypes the key gets is pandas' to say.
    if any(not isinstance(label, str) for label in (*a.columns, *b.columns)) or not (
        isinstance(suffixes, (tuple, list)) and len(suffixes) == 2
    ):
        return NotImplemented
    kept_right = [label for label in b.columns if label not in shared]
    overlap = (set(a.columns) - set(shared)) & set(kept_right)
    if overlap and (not all(isinstance(s, str) for s in suffixes) or not any(suffixes)):
        return NotImplemented
    node = Join(
        a.base,
        b.base,
        list(a.columns.values()),
        [b.columns[label] for label in kept_right],
        left_keys,
        right_keys,
        how,
        key_types,
    )
    node.carried = [*carried(a), *(b.columns[label].dtype for label in kept_right)]
    labels = [label + suffixes[0] if label in overlap else label for label in a.columns]
    labels += [label + suffixes[1] if label in overlap else label for label in kept_right]
    if len(set(labels)) != len(labels):
        return NotImplemented
    columns = [node.columns[f"l{i}"] for i in range(len(a.columns))]
    right_columns = [node.columns[f"r{i}"] for i in range(len(kept_right))]
    if how == "left" and any(not kinds.can_be_missing(column.dtype) for column in right_columns):
        # Integers stay integers only if each left row finds a match.
        widened = _all_match(node)
        if widened is None:
            return NotImplemented
        if not widened:
            for i, column in enumerate(right_columns):
                if kinds.is_integer(column.dtype):
                    right_columns[i] = Column(column.expr.cast(pl.Float64), kinds.FLOAT64)
                elif kinds.is_bool(column.dtype):
                    return NotImplemented
    columns += right_columns
    inner = [*a.columns.values(), *(b.columns[label] for label in kept_right)]
    columns = [Column(c.expr, c.dtype, may_nan=before.may_nan) for c, before in zip(columns, inner, strict=True)]
    how_, on_l, on_r, suffix = how, list(on_left), list(on_right), tuple(suffixes)

    def replay() -> Any:
        if on_l == on_r:
            return result(a).merge(result(b), how=how_, on=on_l, suffixes=suffix)
        return result(a).merge(result(b), how=how_, left_on=on_l, right_on=on_r, suffixes=suffix)

    return frame_result(node, dict(zip(labels, columns, strict=True)), RowNumbers(), f"merge on {on_l}", replay)


_SAMPLE_ROWS = 10_000


def _all_match(node: Join) -> bool | None:
    """Whether each left row finds a match. Most often the first rows tell, even against the right side without its filters."""
    keys = [f"k{i}" for i in range(len(node.left_keys))]

    def side(columns: list[Column]) -> dict[str, pl.Expr]:
        typed = zip(columns, node.key_types, strict=True)
        return {f"k{i}": c.clean if t is None else c.clean.cast(t) for i, (c, t) in enumerate(typed)}

    def is_matched(left: Node, right: Node) -> bool:
        mine = execute.collect(left, side(node.left_keys), ordered=False)
        theirs = execute.collect(right, side(node.right_keys), ordered=False)
        if mine.height == _SAMPLE_ROWS:  # Polars keeps the smaller side in its table.
            return bool(theirs.join(mine, on=keys, how="semi", nulls_equal=True).unique().height == mine.unique().height)
        return bool(mine.join(theirs, on=keys, how="anti", nulls_equal=True).height == 0)

    left, right = node.inputs
    try:
        if not is_matched(Sample(unsorted(left), 0, _SAMPLE_ROWS), unfiltered(right)):
            return False
        return is_matched(left, right)
    except (execute.Unlowered, pl.exceptions.PolarsError):
        return None


def _is_big(left: Any, right: Any) -> bool:
    return bool(max(left._mgr.shape[-1], right._mgr.shape[-1]) >= rows_planned("heavy"))


def _whole_plan(frame: Any) -> Plan | None:
    """A frame's plan for a join, however small it is: the other one may be large."""
    if type(frame) not in lazy.ours:
        return None
    plan = plan_of(frame)
    state = frame.__dict__
    if plan is None and "_mgr" in state and not state.get("_attrs") and frame._flags.allows_duplicate_labels:
        plan = state.get("_sk_resident")
        if plan is None or not plan.base.matches(state["_mgr"]):  # type: ignore[attr-defined]
            plan = state["_sk_resident"] = _resident_frame(frame)
    return plan if plan is not None and plan.is_complete else None


def length(plan: Plan) -> int | None:
    """How many rows, without making them."""
    if isinstance(plan.base, Source):
        return len(plan.base.frame)
    if plan.result is not None:
        return len(plan.result)
    try:
        return int(execute.collect(plan.base, {"rows": pl.len()}, ordered=False)["rows"][0])
    except execute.Unlowered:
        return None


def leave(value: Any, what: str, reason: str = "this form of it is not planned") -> None:
    """Note that an operation on planned data is given to pandas.

    Raises:
        FallbackError: SKATE_FALLBACK=error.
    """
    if isinstance(value, (PlainFrame, PlainSeries)) and "_mgr" not in value.__dict__ and "_sk_plan" in value.__dict__:
        if settings.fallback_is_error:
            raise FallbackError(f"{what}: {reason}")
        ledger.fallback(what, reason)
