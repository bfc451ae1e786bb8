"""`groupby(…).apply`, `.transform` and `.agg` with a Python function.

In this order: calculated for all groups at once (grouped.py); called for each group, on all cores, if it is pure and its results are numbers
or text. What is left is pandas'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skate.blocks.elements import EachGroup
from skate.pandas import lazy, ledger
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.settings import settings
from skate.pandas.udf import distribute, elements, purity, results, shipping
from skate.pandas.udf.grouped import Groups, Rows, trace_groups
from skate.pandas.udf.source import function_of
from skate.pandas.udf.values import Untraceable

GROUPS_MIN = 64
CHECKED_GROUPS = 6
_SCALARS = frozenset({int, float, str, bool, np.float64, np.int64, np.bool_})


@dataclass(frozen=True, slots=True)
class _Grouping:
    """A groupby of pandas' own, and what is known of its groups.

    Attributes:
        selected: The rows without the keys: a frame, or a series.
        codes: The group of each row, in the order of the results.
        order: The rows, sorted by group.
        edges: Where each group begins in `order`, and the end of the last.
        index: A label for each group: the index of the results.
    """

    real: Any
    selected: Any
    codes: Any
    order: Any
    edges: Any
    index: Any

    def group(self, place: int) -> Any:
        one = self.selected.iloc[self.order[self.edges[place] : self.edges[place + 1]]]
        object.__setattr__(one, "name", self.index[place])
        return one


def groupby_apply(groupby: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """`GroupBy.apply`; NotImplemented leaves it to pandas."""
    return _reduced(groupby, func, args, kwargs, "apply")


def groupby_aggregate(groupby: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """`GroupBy.agg` with a Python function; NotImplemented leaves it to pandas."""
    if args or kwargs:
        return NotImplemented
    return _reduced(groupby, func, args, kwargs, "agg")


def groupby_transform(groupby: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """`GroupBy.transform` with a Python function; NotImplemented leaves it to pandas."""
    function = function_of(func)
    if function is None or args or kwargs:
        return NotImplemented
    started = ledger.now()
    grouping = _grouping(groupby)
    if grouping is None or not isinstance(grouping.selected, PlainSeries):
        return NotImplemented
    label = f"groupby transform({elements.name_of(func)})"
    plain = grouping.selected
    try:
        made = trace_groups(function, plain, grouping.codes, len(grouping.index))
        values = made.values.to_numpy() if isinstance(made, Rows) else made.values[grouping.codes]
        for place in _some(len(grouping.index)):
            rows = grouping.order[grouping.edges[place] : grouping.edges[place + 1]]
            one = grouping.group(place)
            _check(values[rows], PlainSeries(func(one), index=one.index).to_numpy())
    except Untraceable as why:
        return _transform_by_calls(groupby, grouping, func, label, started, str(why))
    except Exception:
        return NotImplemented
    result = PlainSeries(values, index=plain.index, name=plain.name, copy=False)
    return _finish(result, label, "traced", started, lambda: grouping.real.transform(func))


def _transform_by_calls(groupby: Any, grouping: _Grouping, func: Any, label: str, started: float, why: str) -> Any:
    reason = purity.impurity(func, rows=True)
    if reason:
        elements.note(groupby._sk_frame, label, f"it runs here, in order: {reason}")
        return NotImplemented
    plain = grouping.selected
    done = _distributed(grouping, func, label, is_transform=True)
    if done is None:
        return NotImplemented
    packed, engine = done
    pieces = [value for piece in packed for value in piece.data]
    if any(not isinstance(piece, np.ndarray) for piece in pieces) or len({piece.dtype for piece in pieces}) != 1:
        return NotImplemented
    values = np.empty(len(plain), dtype=pieces[0].dtype)
    values[grouping.order] = np.concatenate(pieces)
    result = PlainSeries(values, index=plain.index, name=plain.name, copy=False)
    return _finish(result, label, engine, started, lambda: grouping.real.transform(func))


def _reduced(groupby: Any, func: Any, args: Any, kwargs: Any, what: str) -> Any:
    """One number or text for each group."""
    started = ledger.now()
    grouping = _grouping(groupby)
    if grouping is None or not groupby._sk_options["as_index"]:
        return NotImplemented
    if what == "agg" and not isinstance(grouping.selected, PlainSeries):
        return NotImplemented
    label = f"groupby {what}({elements.name_of(func)})"
    count = len(grouping.index)

    def again() -> Any:
        return getattr(grouping.real, what)(func, *args, **kwargs)

    name = grouping.selected.name if isinstance(grouping.selected, PlainSeries) else None
    function = function_of(func)
    if function is not None and not args and not kwargs:
        try:
            made = trace_groups(function, grouping.selected, grouping.codes, count)
            if not isinstance(made, Groups):
                raise Untraceable("its results are not one for each group")
            for place in _some(count):
                _check(made.values[place : place + 1], np.array([func(grouping.group(place))]))
            return _finish(PlainSeries(made.values, index=grouping.index, name=name), label, "traced", started, again)
        except Untraceable:
            pass
        except Exception:
            return NotImplemented
    reason = purity.impurity(func, rows=True)
    if reason:
        elements.note(groupby._sk_frame, label, f"it runs here, in order: {reason}")
        return NotImplemented
    try:
        first = func(grouping.group(0), *args, **kwargs)
    except Exception:
        return NotImplemented
    if type(first) not in _SCALARS:
        elements.note(groupby._sk_frame, label, f"results of the type {type(first).__name__} are put together by pandas")
        return NotImplemented
    done = _distributed(grouping, func, label, args=args, kwargs=kwargs)
    if done is None:
        return NotImplemented
    packed, engine = done
    array = results.array_of_packed(packed)
    if array is None:
        return NotImplemented
    return _finish(PlainSeries(array, index=grouping.index, name=name), label, engine, started, again)


def _distributed(
    grouping: _Grouping, func: Any, label: str, *, args: Any = (), kwargs: Any = None, is_transform: bool = False
) -> tuple[list[Any], str] | None:
    """The results of each group, and where they were made; None if the function raises (pandas shall raise it)."""
    ordered = grouping.selected.take(grouping.order)
    names = list(grouping.index)
    each = EachGroup(func, ordered, grouping.edges, names, args, kwargs or {}, is_transform)

    def make_sendable() -> EachGroup:
        return EachGroup(shipping.by_value(func), ordered, grouping.edges, names, args, kwargs or {}, is_transform)

    packed, elsewhere = distribute.run(each, len(names), label, make_sendable)
    return packed, "workers" if elsewhere else "python"


def _grouping(groupby: Any) -> _Grouping | None:
    state = groupby.__dict__
    frame, options, selection = state["_sk_frame"], dict(state["_sk_options"]), state["_sk_selection"]
    if not elements.ops_allow(frame) or not options["dropna"]:
        return None
    plain = lazy.to_pandas(frame)
    by = options.pop("by")
    parts = by if isinstance(by, list) else [by]
    keys = [key for key in parts if isinstance(key, str)]
    real = PlainFrame.groupby(plain, by=by, **options)
    if selection is not None:
        real = real[selection]
        selected = plain[selection]
    else:
        selected = plain.drop(columns=keys)
    codes = real.ngroup().to_numpy()
    if len(codes) == 0 or codes.dtype.kind == "f":
        return None  # Rows without a key: what becomes of them is pandas' business.
    sizes = real.size()
    index = sizes.index
    counts = np.bincount(codes, minlength=len(index))
    if len(index) < GROUPS_MIN or len(counts) != len(index):
        return None
    order = np.argsort(codes, kind="stable")
    edges = np.concatenate([[0], np.cumsum(counts)])
    return _Grouping(real, selected, codes, order, edges, index)


def _some(count: int) -> list[int]:
    return sorted({*np.linspace(0, count - 1, min(CHECKED_GROUPS, count), dtype=np.int64).tolist()})


def _check(mine: Any, expected: Any) -> None:
    """Raises:
    Untraceable: They differ by more than the order of additions explains."""
    if mine.dtype != expected.dtype or not np.allclose(mine, expected, rtol=1e-9, atol=1e-9, equal_nan=True):
        raise Untraceable("tracing gave another result than the function")


def _finish(result: Any, label: str, engine: str, started: float, again: Callable[[], Any]) -> Any:
    ledger.add(ledger.user_line(), label, engine, ledger.now() - started, len(result), "")
    if settings.check:
        elements.compare(label, result, again(), rtol=1e-9)
    return lazy.adopt(result)
