"""What `df.groupby(keys)` gives when the frame is planned: aggregations become a node; everything else turns it into pandas' own object.

It is an instance of pandas' class whose state is made when somebody uses more of it than is planned here; from then on it *is* pandas'
(its `__class__` changes), so nothing of pandas' can meet half an object.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
from pandas.api.typing import DataFrameGroupBy, SeriesGroupBy

from skate.pandas import expressions as ex, kinds, lazy, ledger, ops, udf
from skate.pandas.nodes import Aggregate, GroupHead, column_never_missing
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.plan import Column, IndexSpec, Levels, Plan, RowNumbers
from skate.pandas.warning_lines import counts_as_pandas

_OWN = frozenset({
    "sum", "mean", "min", "max", "count", "size", "nunique", "first", "last", "std", "var", "median", "head", "agg", "aggregate", "apply", "transform",
    "__class__", "__dict__", "__getitem__", "__getattribute__", "__doc__", "__iter__", "__len__", "__repr__",
})  # fmt: skip


_KERNELS = {"nunique": "n_unique"}


class _Planned:
    """What the two classes share. Attributes: `_sk_frame` and `_sk_options` (the arguments of groupby), `_sk_keys`, `_sk_selection`."""

    _sk_frame: Any
    _sk_options: dict[str, Any]
    _sk_keys: list[tuple[Any, Column]]
    _sk_plan: Plan
    _sk_selection: Any  # None, a label or a list of labels.

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN or name.startswith("_sk_"):
            return object.__getattribute__(self, name)
        state = object.__getattribute__(self, "__dict__")
        # A column as an attribute; pandas' own names come first.
        is_label = not name.startswith("_") and state["_sk_selection"] is None and name in state["_sk_plan"].columns
        if is_label and not hasattr(DataFrameGroupBy, name):
            return self[name]  # type: ignore[index]
        return getattr(self._sk_become_pandas(), name)

    def _sk_become_pandas(self) -> Any:
        state = self.__dict__
        frame, options, selection = state["_sk_frame"], state["_sk_options"], state["_sk_selection"]
        real = PlainFrame.groupby(frame, **options)
        if selection is not None:
            real = real[selection]
        state.clear()
        state.update(real.__dict__)
        self.__class__ = type(real)
        return self

    def __iter__(self) -> Any:
        return iter(self._sk_become_pandas())

    def __len__(self) -> int:
        return len(self._sk_become_pandas())

    def __repr__(self) -> str:
        return repr(self._sk_become_pandas())

    # ------------------------------------------------------------- aggregations

    def _sk_labels(self) -> list[Any]:
        if isinstance(self._sk_selection, list):
            return self._sk_selection
        if self._sk_selection is not None:
            return [self._sk_selection]
        keys = {label for label, _ in self._sk_keys}
        return [label for label in self._sk_plan.columns if label not in keys]

    def _sk_aggregate(self, wanted: list[tuple[Any, Any, str]], what: str, call: Any, **more: Any) -> Any:
        """The results (label, column of the frame or None, aggregation), or NotImplemented; `call` does it with pandas' groupby."""
        plan, options = self._sk_plan, self._sk_options
        results: list[tuple[pl.Expr, Any, frozenset[str]]] = []
        uncleaned: list[tuple[Column, pl.Expr] | None] = [None] * len(wanted)
        by_order = False
        for _, source, name in wanted:
            if name == "size":
                results.append((pl.len().cast(pl.Int64), kinds.INT64, frozenset()))
                continue
            column = plan.columns.get(source)
            made = None if column is None else ex.aggregation(name, column)
            if made is None or column is None:
                return NotImplemented
            if column.may_nan and name in ("sum", "mean"):
                sure = ex.aggregation(name, replace(column, may_nan=False))
                uncleaned[len(results)] = None if sure is None else (column, sure[0])
            results.append((made[0], made[1], frozenset(column.roots())))
            by_order = by_order or made[2]
        keys = [column for _, column in self._sk_keys]
        names_of = [_KERNELS.get(name, name) for _, _, name in wanted]
        node = Aggregate(
            plan.base,
            keys,
            results,
            sort=options["sort"],
            dropna=options["dropna"],
            by_order=by_order,
            aggregations=names_of,
            uncleaned=uncleaned,
        )
        columns = {
            label: Column(pl.col(f"a{i}"), results[i][1], may_nan=kinds.is_float(results[i][1]))
            for i, (label, _, _) in enumerate(wanted)
        }
        if len(columns) != len(wanted):
            return NotImplemented
        key_columns = [node.columns[f"k{i}"] for i in range(len(keys))]
        names = tuple(label for label, _ in self._sk_keys)
        index: IndexSpec = Levels(names, tuple(key_columns))
        selection = self._sk_selection
        is_series = selection is not None and not isinstance(selection, list) and not more.get("is_frame", False)
        if not options["as_index"]:
            labels = [(name, "") for name in names] if more.get("column_names") else list(names)
            if any(name is None for name in names) or any(label in columns for label in labels):
                return NotImplemented
            columns = {**dict(zip(labels, key_columns, strict=True)), **columns}
            index, is_series = RowNumbers(), False
        elif what == "size":
            is_series = True
        # The keys that are columns are named; those that are series are their plans.
        frozen_keys = [
            part if isinstance(part, Plan) else label for (label, _), part in zip(self._sk_keys, self._sk_parts, strict=True)
        ]
        scalar_key = not isinstance(options["by"], list)

        def replay() -> Any:
            by = [ops.result(part) if isinstance(part, Plan) else part for part in frozen_keys]
            grouped = ops.result(plan).groupby(**{**options, "by": by[0] if scalar_key else by})
            return call(grouped if selection is None else grouped[selection])

        made_plan = Plan(
            node,
            columns,
            index,
            replay,
            f"groupby {what}",
            ledger.user_line(),
            is_series=is_series,
            column_names=more.get("column_names"),
        )
        return lazy.new_series(made_plan) if is_series else lazy.new_frame(made_plan)

    _sk_parts: list[Any]

    def _sk_simple(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        plain = {"numeric_only": False, "engine": None, "engine_kwargs": None, "ddof": 1, "skipna": True, "dropna": True}
        plain["min_count"] = 0 if name == "sum" else -1
        if not args and all(key in plain and kwargs[key] is plain[key] for key in kwargs):
            labels = self._sk_labels()
            wanted = [(label, label, name) for label in labels]
            made = self._sk_aggregate(wanted, name, lambda grouped: getattr(grouped, name)()) if wanted else NotImplemented
            if made is not NotImplemented:
                return made
        ops.leave(self._sk_frame, f"groupby {name}")
        return getattr(self._sk_become_pandas(), name)(*args, **kwargs)

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("sum", args, kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("mean", args, kwargs)

    def min(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("min", args, kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("max", args, kwargs)

    def count(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("count", args, kwargs)

    def nunique(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("nunique", args, kwargs)

    def first(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("first", args, kwargs)

    def last(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("last", args, kwargs)

    def std(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("std", args, kwargs)

    def var(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("var", args, kwargs)

    def median(self, *args: Any, **kwargs: Any) -> Any:
        return self._sk_simple("median", args, kwargs)

    def size(self) -> Any:
        label = (
            "size" if not self._sk_options["as_index"] else self._sk_selection if isinstance(self._sk_selection, str) else None
        )
        made = self._sk_aggregate([(label, None, "size")], "size", lambda grouped: grouped.size())
        if made is not NotImplemented:
            return made
        ops.leave(self._sk_frame, "groupby size")
        return self._sk_become_pandas().size()

    def agg(self, func: Any = None, *args: Any, engine: Any = None, engine_kwargs: Any = None, **kwargs: Any) -> Any:
        if callable(func) and engine is None and engine_kwargs is None:
            made = udf.groupby_aggregate(self, func, args, kwargs)
            if made is not NotImplemented:
                return made
        if not args and engine is None and engine_kwargs is None:
            made = self._sk_agg(func, kwargs)
            if made is not NotImplemented:
                return made
        ops.leave(self._sk_frame, "groupby agg")
        return self._sk_become_pandas().agg(func, *args, engine=engine, engine_kwargs=engine_kwargs, **kwargs)

    aggregate = agg

    def _sk_agg(self, func: Any, named: dict[str, Any]) -> Any:
        one = self._sk_selection is not None and not isinstance(self._sk_selection, list)
        if func is None:
            if one:
                if not all(isinstance(value, str) for value in named.values()) or not named:
                    return NotImplemented
                wanted = [(label, self._sk_selection, value) for label, value in named.items()]
                return self._sk_aggregate(wanted, "agg", lambda grouped: grouped.agg(**named), is_frame=True)
            if not named or not all(isinstance(v, tuple) and len(v) == 2 and isinstance(v[1], str) for v in named.values()):
                return NotImplemented
            wanted = [(label, source, name) for label, (source, name) in named.items()]
            return self._sk_aggregate(wanted, "agg", lambda grouped: grouped.agg(**named))
        if named:
            return NotImplemented
        if isinstance(func, str):
            if func == "size" or func not in _OWN:
                return NotImplemented
            return self._sk_aggregate(
                [(label, label, func) for label in self._sk_labels()], func, lambda grouped: grouped.agg(func)
            )
        if isinstance(func, list) and func and all(isinstance(name, str) for name in func):
            functions = list(func)
            if one:
                wanted = [(name, self._sk_selection, name) for name in functions]
                return self._sk_aggregate(wanted, "agg", lambda grouped: grouped.agg(functions), is_frame=True)
            many = [((label, name), label, name) for label in self._sk_labels() for name in functions]
            return self._sk_aggregate(many, "agg", lambda grouped: grouped.agg(functions), column_names=[None, None])
        if isinstance(func, dict) and func and not one:
            spec = dict(func)
            labels = set(self._sk_labels())
            if not all(label in labels for label in spec):
                return NotImplemented
            if all(isinstance(name, str) and name != "size" for name in spec.values()):
                return self._sk_aggregate(
                    [(label, label, name) for label, name in spec.items()], "agg", lambda grouped: grouped.agg(spec)
                )
            if all(
                isinstance(names, list) and names and all(isinstance(name, str) and name != "size" for name in names)
                for names in spec.values()
            ):
                many = [((label, name), label, name) for label, names in spec.items() for name in names]
                return self._sk_aggregate(many, "agg", lambda grouped: grouped.agg(spec), column_names=[None, None])
        return NotImplemented

    def head(self, n: int = 5) -> Any:
        plan = self._sk_plan
        columns = [column for _, column in self._sk_keys]
        is_whole = self._sk_selection is None and plan.is_complete and not any(self._sk_parts)
        has_all_rows = not self._sk_options["dropna"] or all(column_never_missing(plan.base, column) for column in columns)
        if is_whole and has_all_rows and type(n) is int and n > 0:
            options = dict(self._sk_options)
            node = GroupHead(plan.base, [column.clean for column in columns], n)
            return ops.frame_result(
                node, plan.columns, ops.filtered_index(plan), "groupby head", lambda: ops.result(plan).groupby(**options).head(n)
            )
        ops.leave(self._sk_frame, "groupby head")
        return self._sk_become_pandas().head(n)

    # ------------------------------------------------------------- Python functions

    def apply(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        if callable(func):
            made = udf.groupby_apply(self, func, args, kwargs)
            if made is not NotImplemented:
                return made
        return self._sk_become_pandas().apply(func, *args, **kwargs)

    def transform(self, func: Any = None, *args: Any, **kwargs: Any) -> Any:
        if callable(func):
            made = udf.groupby_transform(self, func, args, kwargs)
            if made is not NotImplemented:
                return made
        return self._sk_become_pandas().transform(func, *args, **kwargs)


class PlannedFrameGroupBy(_Planned, DataFrameGroupBy):
    def __getitem__(self, key: Any) -> Any:
        plan = self._sk_plan
        if self._sk_selection is None:
            keys = {label for label, _ in self._sk_keys}
            if isinstance(key, list) and key and all(isinstance(k, str) and k in plan.columns and k not in keys for k in key):
                if len(set(key)) == len(key):
                    return _make(PlannedFrameGroupBy, self, list(key))
            elif (isinstance(key, str) and key in plan.columns and self._sk_options["as_index"]) or (
                isinstance(key, str) and key in plan.columns and key not in keys
            ):
                return _make(PlannedSeriesGroupBy, self, key)
        return self._sk_become_pandas()[key]


class PlannedSeriesGroupBy(_Planned, SeriesGroupBy):
    def __getitem__(self, key: Any) -> Any:
        return self._sk_become_pandas()[key]


for _cls in (_Planned, PlannedFrameGroupBy, PlannedSeriesGroupBy):
    counts_as_pandas(_cls)


def _make(cls: Any, other: Any, selection: Any) -> Any:
    made = object.__new__(cls)
    made.__dict__.update(other.__dict__)
    made.__dict__["_sk_selection"] = selection
    return made


def group(frame: Any, by: Any, options: dict[str, Any]) -> Any:
    """A planned groupby, or NotImplemented."""
    plan = ops.plan_of(frame, "groups")
    if plan is None or by is None or not plan.is_complete:
        return NotImplemented
    keys: list[tuple[Any, Column]] = []
    parts: list[Any] = []
    for key in by if isinstance(by, list) else [by]:
        if isinstance(key, str) and key in plan.columns:
            if isinstance(plan.index, Levels) and key in plan.index.names:
                return NotImplemented
            keys.append((key, plan.columns[key]))
            parts.append(None)
        elif isinstance(key, PlainSeries):
            other = ops.plan_of(key)
            if other is None or not ops.same_rows(plan, other) or key.name is None or key.name in plan.columns:
                return NotImplemented
            keys.append((key.name, ops.the_column(other)))
            parts.append(other)
        else:
            return NotImplemented
    if not keys or len({label for label, _ in keys}) != len(keys):
        return NotImplemented
    if any(isinstance(label, tuple) for label, _ in keys):
        return NotImplemented
    # A missing value in a level of a MultiIndex is not planned.
    may_be_in_a_level = not options["dropna"] and options["as_index"] and len(keys) > 1
    if may_be_in_a_level and not all(column_never_missing(plan.base, column) for _, column in keys):
        return NotImplemented
    made = object.__new__(PlannedFrameGroupBy)
    made.__dict__.update(
        _sk_frame=lazy.share(frame),
        _sk_options={"by": by, **options},
        _sk_keys=keys,
        _sk_plan=plan,
        _sk_selection=None,
        _sk_parts=parts,
    )
    return made
