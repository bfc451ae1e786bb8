"""Execute a plan: first which node must make which columns and whether in order, then one Polars query, then pandas' blocks.

A node that is executed a second time is kept (its columns that were asked for), because pandas would have computed it once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from skate.pandas import costs, interrupts, kinds, ledger, memory
from skate.pandas.csvscan import CsvScan
from skate.pandas.exceptions import CheckError, FallbackError
from skate.pandas.nodes import Aggregate, Filter, Join, ParquetScan, Slice, Sort, Source
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.plan import Levels, Node, Plan, RowNumbers
from skate.pandas.settings import settings

# A child of a fork must not use Polars' threads, which it does not have.
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_after_fork)


class Unlowered(Exception):
    """The plan can't be executed by Polars, for the reason given."""


def collect(base: Node, exprs: dict[str, pl.Expr], *, ordered: bool = True, keep: bool = False) -> pl.DataFrame:
    """The expressions over the rows of the base.

    Args:
        base: Makes the rows.
        exprs: By the name of the result's column.
        ordered: The rows must come in pandas' order.
        keep: More will be asked of these rows, as after a reduction: what is costly about them is kept at once.

    Raises:
        Unlowered: This process can't execute plans, or Polars refused.
    """
    if _forked:
        raise Unlowered("a forked process has none of Polars' threads")
    roots: set[str] = set()
    for expr in exprs.values():
        roots.update(expr.meta.root_names())
    try:
        if keep and not is_tight(base):
            _keep_costly(base, frozenset(roots))
        frame = _lower(base, frozenset(roots), ordered)
        query = frame.select(*(expr.alias(name) for name, expr in exprs.items()))
        with interrupts.once():
            if is_tight(base):
                with memory.frugal():
                    return query.collect(engine="streaming")
            return query.collect()
    except pl.exceptions.PolarsError as error:
        raise Unlowered(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error


def is_tight(base: Node) -> bool:
    """Whether what it reads does not fit into memory."""
    return memory.is_tight(_children_first(base))


def stream(plan: Plan) -> pl.LazyFrame:
    """The plan as a query whose result need not fit into memory (nothing is kept), with the columns' names that `to_pandas` expects.

    Raises:
        Unlowered: This process can't execute plans.
    """
    if _forked:
        raise Unlowered("a forked process has none of Polars' threads")
    exprs = _exprs(plan)
    roots = frozenset(name for expr in exprs.values() for name in expr.meta.root_names())
    return _lower(plan.base, roots, True, count=False).select(*(expr.alias(name) for name, expr in exprs.items()))


def optimised(base: Node, exprs: dict[str, pl.Expr]) -> str:
    """Polars' own optimised plan, as text."""
    roots = frozenset(name for expr in exprs.values() for name in expr.meta.root_names())
    frame = _lower(base, roots, True, count=False)
    return frame.select(*(expr.alias(name) for name, expr in exprs.items())).explain()


def _lower(base: Node, roots: frozenset[str], ordered: bool, *, count: bool = True) -> pl.LazyFrame:
    topological = _children_first(base)
    count = count and not memory.is_tight(topological)  # What does not fit into memory is not kept there.
    needed: dict[int, frozenset[str]] = {base.id: roots}
    order: dict[int, bool] = {base.id: ordered}
    reached: set[int] = {base.id}
    kept: set[int] = set()
    sorted_after: dict[int, tuple[str, ...]] = {}
    for node in reversed(topological):
        if node.id not in reached:
            continue
        # Row numbers mean the order of rows.
        in_order = order[node.id] or node.row_name in needed[node.id]
        order[node.id] = in_order
        if node.inputs and (count or node.cached is not None):
            node.runs += count
            if _has(node, needed[node.id], in_order) or (count and node.runs > 1):
                kept.add(node.id)
                continue
        if in_order and isinstance(node, Filter) and node.order_by is not None:
            # The few rows that are left are sorted, and not all the groups that they come from.
            sorted_after[node.id] = node.order_by
            needed[node.id] |= frozenset(node.order_by)
            in_order = order[node.id] = False
        for child, wants, child_in_order in zip(node.inputs, node.wants(needed[node.id]), node.orders(in_order), strict=True):
            reached.add(child.id)
            needed[child.id] = needed.get(child.id, frozenset()) | wants
            order[child.id] = order.get(child.id, False) or child_in_order
    frames: dict[int, pl.LazyFrame] = {}
    for node in topological:
        if node.id not in reached:
            continue
        wanted = needed[node.id]
        plain = wanted - {node.row_name}
        if node.id in kept:
            frame = _keep(node, plain, order[node.id])
        else:
            frame = node.build([frames[child.id] for child in node.inputs], plain, order[node.id])
            if node.id in sorted_after:
                frame = frame.sort(sorted_after[node.id], nulls_last=True)
        if node.row_name in wanted:
            frame = frame.with_row_index(node.row_name)
        frames[node.id] = frame
    return frames[base.id]


def _has(node: Node, names: frozenset[str], in_order: bool) -> bool:
    """Whether the rows that were kept serve for these columns."""
    cached = node.cached
    return cached is not None and (names - {node.row_name}) <= set(cached.columns) and (node.is_cached_in_order or not in_order)


def _keep(node: Node, names: frozenset[str], in_order: bool) -> pl.LazyFrame:
    """The node's rows from its cache. Columns that it does not have yet are added: rows that are in order come in the same order again."""
    if not _has(node, names, in_order):
        cached = node.cached
        can_be_extended = cached is not None and node.is_cached_in_order
        present = frozenset() if cached is None else frozenset(cached.columns) - {"__none"}
        wanted = names - present if can_be_extended else names | present
        in_order = in_order or can_be_extended
        node.cached = None
        lowered = _lower(node, wanted, in_order, count=False)
        if wanted:
            fresh = lowered.select(sorted(wanted)).collect()
        else:  # Only the number of rows is asked for, and a frame without columns has none.
            fresh = pl.DataFrame({"__none": pl.repeat(None, lowered.select(pl.len()).collect().item(), eager=True)})
        node.cached = cached.hstack(fresh) if cached is not None and can_be_extended else fresh
        node.is_cached_in_order = in_order
    assert node.cached is not None
    return node.cached.lazy()


def _keep_costly(base: Node, names: frozenset[str]) -> None:
    """Keep what a reduction will compute and what follows it will most likely need again: the rows of a join, the groups of a groupby.

    A sum over threads ends in other digits each time: `df[df.x == df.x.max()]` finds nothing unless both see the same sums.
    """
    node, is_filtered = base, False
    while isinstance(node, (Filter, Sort, Slice)):
        names = node.wants(names)[0]
        is_filtered = is_filtered or isinstance(node, Filter)
        node = node.inputs[0]
    # A filter above a join is best pushed into it.
    if isinstance(node, Aggregate) or (isinstance(node, Join) and not is_filtered and node.hoped):
        _keep(node, (names | node.hoped) & node.columns.keys(), False)


def _children_first(base: Node) -> list[Node]:
    seen: set[int] = set()
    out: list[Node] = []
    stack: list[tuple[Node, bool]] = [(base, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            out.append(node)
        elif node.id not in seen:
            seen.add(node.id)
            stack.append((node, True))
            stack.extend((child, False) for child in node.inputs)
    return out


# ---------------------------------------------------------------- results for pandas


def result_of(plan: Plan) -> Any:
    """The plain pandas object that the plan describes; computed once."""
    with plan.lock:
        if plan.result is None:
            plan.result = _compute(plan)
        return plan.result


def forget(plan: Plan) -> None:
    plan.result = None


def _compute(plan: Plan) -> Any:
    started = time.perf_counter()
    if is_better_left_to_pandas(plan):
        result = plan.replay()
        ledger.record(
            plan, "pandas", time.perf_counter() - started, len(result), "" if plan.what == "source" else "pandas is as fast here"
        )
        return result
    try:
        result = native(plan)
    except Unlowered as reason:
        if settings.fallback_is_error:
            raise FallbackError(f"{plan.what} was left to pandas: {reason}") from reason
        result = plan.replay()
        ledger.record(plan, "pandas", time.perf_counter() - started, len(result), str(reason))
        return result
    ledger.record(plan, "polars", time.perf_counter() - started, len(result), "")
    if settings.check:
        compare(plan, result)
    return result


def is_better_left_to_pandas(plan: Plan) -> bool:
    """Whether pandas is as fast: element-wise work over a frame that it holds, a whole file, or by the estimate of costs.py."""
    if settings.check and plan.what != "source":
        return False
    if isinstance(plan.base, (CsvScan, ParquetScan)):
        return plan.is_whole_scan
    if isinstance(plan.base, Source) and not any(column.is_heavy for column in plan.all_columns()):
        return True
    if costs.is_forced():
        return False
    if costs.is_small_and_single(plan):
        return True
    topological = _children_first(plan.base)
    return costs.is_pandas_faster(plan, topological, _needed(topological, _exprs(plan)))


def is_proved(plan: Plan) -> bool:
    """Whether the dtypes of the plan's columns are certain; what a CSV file promises is looked at now."""
    for node in _children_first(plan.base):
        if isinstance(node, CsvScan):
            try:
                node.prove(frozenset(node.columns))
            except pl.exceptions.PolarsError:
                return False
    return True


def _needed(topological: list[Node], exprs: dict[str, pl.Expr]) -> dict[int, frozenset[str]]:
    """Which columns each node must make."""
    base = topological[-1]
    needed = {base.id: frozenset(name for expr in exprs.values() for name in expr.meta.root_names())}
    for node in reversed(topological):
        for child, wants in zip(node.inputs, node.wants(needed[node.id]), strict=True):
            needed[child.id] = needed.get(child.id, frozenset()) | wants
    return needed


def _exprs(plan: Plan) -> dict[str, pl.Expr]:
    exprs = {f"{i}": column.expr for i, column in enumerate(plan.columns.values())}
    if isinstance(plan.index, Levels):
        exprs.update({f"i{i}": column.expr for i, column in enumerate(plan.index.columns)})
    return exprs


def native(plan: Plan) -> Any:
    """Compute the plan with Polars.

    Raises:
        Unlowered: It can't be.
    """
    exprs = _exprs(plan)
    if not exprs:
        raise Unlowered("a frame without columns")
    if costs.pays_to_take(plan) and (taken := _take(plan)) is not None:
        return taken
    table = collect(plan.base, exprs)
    try:
        return to_pandas(plan, table)
    except ValueError as error:
        raise Unlowered(str(error)) from error


def _take(plan: Plan) -> Any:
    """A plan that picks or orders rows of one frame in memory: Polars says which, pandas copies them. None if it is another plan.

    Raises:
        Unlowered: As collect().
    """
    source = plan.base
    while not isinstance(source, Source):
        source = source.inputs[0]
    names = [column.roots() for column in plan.columns.values()]
    if not all(
        column.expr.meta.is_column() and name[0] in source.labels
        for column, name in zip(plan.columns.values(), names, strict=True)
    ):
        return None
    if isinstance(plan.index, Levels) and not source.is_index_of(plan.index):
        return None
    rows = collect_rows(plan.base, source)
    kept = [source.labels[name[0]] for name in names]
    whole = source.frame
    frame = whole if list(whole.columns) == kept else whole[kept]
    made = frame.take(rows)
    if isinstance(plan.index, RowNumbers):
        start, step = plan.index.start, plan.index.step
        made.index = pd.RangeIndex(start, start + step * len(made), step, name=plan.index.name)
    if plan.is_series:
        made = made.iloc[:, 0]
        made.name = next(iter(plan.columns))
        return made
    made.columns = labels_of(plan)
    return made


def collect_rows(base: Node, source: Source) -> Any:
    """The numbers of the source's rows that the base keeps, in the base's order.

    Raises:
        Unlowered: As collect().
    """
    if base.row_name == source.row_name:
        raise Unlowered("nothing to compute")
    return collect(base, {"rows": source.row_column().expr})["rows"].to_numpy()


def to_pandas(plan: Plan, table: pl.DataFrame) -> Any:
    index: Any
    if isinstance(plan.index, RowNumbers):
        start, step = plan.index.start, plan.index.step
        index = pd.RangeIndex(start, start + step * table.height, step, name=plan.index.name)
    else:
        arrays = [
            pd.Index(kinds.to_pandas_array(table[f"i{i}"], column.dtype), name=name)
            for i, (name, column) in enumerate(zip(plan.index.names, plan.index.columns, strict=True))
        ]
        index = arrays[0] if len(arrays) == 1 else pd.MultiIndex.from_arrays(arrays, names=plan.index.names)
    if plan.is_series:
        (label, column), *_ = plan.columns.items()
        values = kinds.to_pandas_array(table["0"], column.dtype)
        return PlainSeries(values, index=index, name=label, copy=isinstance(values, np.ndarray) and not values.flags.writeable)
    data = {i: kinds.to_pandas_array(table[f"{i}"], column.dtype) for i, column in enumerate(plan.columns.values())}
    frame = PlainFrame(data, index=index)
    frame.columns = labels_of(plan)
    return frame


def labels_of(plan: Plan) -> Any:
    labels = list(plan.columns)
    if plan.column_names is not None:
        return pd.MultiIndex.from_tuples(labels, names=plan.column_names)
    if not labels:
        return pd.RangeIndex(0)
    return pd.Index(labels, tupleize_cols=False)


def compare(plan: Plan, result: Any) -> None:
    """The check mode: the same by pandas.

    Raises:
        CheckError: They differ.
    """
    expected = plan.replay()
    test: Any = pd.testing.assert_series_equal if plan.is_series else pd.testing.assert_frame_equal
    try:
        if plan.tie_order_free:
            keys: Iterable[Any] = result.index.argsort(kind="stable"), expected.index.argsort(kind="stable")
            mine, theirs = keys
            result, expected = result.iloc[mine], expected.iloc[theirs]
        test(result, expected, check_freq=False)
    except AssertionError as error:
        raise CheckError(f"{plan.what} differs from pandas: {error}") from error
