"""The seam with pandas: an object of pandas' class whose block manager is made when somebody looks at it.

A DataFrame or Series of ours either has `_mgr` in its `__dict__`, as pandas' own do, and then costs nothing more than they, or it has
a `Plan` under `_sk_plan` and no `_mgr`; then Python asks `__getattr__` for it, and that is where the plan is executed. So any method
of pandas that is not overridden, and any library that takes a `PlainFrame`, works on a planned frame without knowing.
This is the one place that touches what pandas does not publish; `versions.py` checks at import that it looks as expected.
"""

from __future__ import annotations

import copyreg
from typing import Any, cast

from pandas.core.flags import Flags
from pandas.core.generic import NDFrame

from skate.pandas.costs import rows_planned
from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.plan import Plan
from skate.pandas.settings import settings

# Ours by pandas' own class; filled by frame.py and series.py, which need this module first.
classes: dict[type, type] = {}
ours: set[type] = set()  # The values of `classes`.


def adopt(value: Any) -> Any:
    """A plain frame or series of pandas as ours, sharing its blocks; tuples, lists and dicts of them, too; anything else as it is."""
    kind = type(value)
    ours = classes.get(kind)
    if ours is not None:
        return _same_blocks(value, ours)
    if kind in (tuple, list):
        return kind(adopt(item) for item in value)
    if kind is dict:
        return {key: adopt(item) for key, item in value.items()}
    return value


def to_pandas(value: Any) -> Any:
    """A frame or series of ours as one of pandas' own class, sharing its blocks (copy-on-write keeps them apart)."""
    if isinstance(value, NDFrame):
        for plain, ours in classes.items():
            if type(value) is ours:
                return _same_blocks(value, plain)
    return value


def _same_blocks(value: Any, cls: type) -> Any:
    manager = value._mgr  # Executes the plan, if there is one.
    other: Any = object.__new__(cls)
    state = {
        key: item
        for key, item in value.__dict__.items()
        if not key.startswith("_sk_") and key not in ("_mgr", "_flags", "_cache")
    }
    other.__dict__.update(state)
    other.__dict__["_mgr"] = manager
    other.__dict__["_flags"] = Flags(other, allows_duplicate_labels=value._flags.allows_duplicate_labels)
    return other


def reduce_as_pandas(value: Any) -> tuple[Any, ...]:
    """What pickle needs to make a plain frame or series of pandas, where nobody has heard of Skate."""
    plain = to_pandas(value)
    # Not copyreg.__newobj__, as pandas' own would say: pickle insists that it makes the class of the object it was given.
    return copyreg._reconstructor, (type(plain), object, None), plain.__getstate__()  # type: ignore[attr-defined]


def snapshot(value: Any) -> Any:
    """A plain object that later changes of `value` don't reach: its own shallow copy of the blocks (copy-on-write does the rest)."""
    if value.__dict__.get("_attrs") or type(value) not in ours:
        return to_pandas(value).copy(deep=False)
    # The same as copy(deep=False), in a third of its time.
    plain: Any = object.__new__(PlainFrame if value.ndim == 2 else PlainSeries)
    state = plain.__dict__
    state["_mgr"] = value._mgr.copy(deep=False)
    state["_attrs"] = {}
    state["_flags"] = Flags(plain, allows_duplicate_labels=value._flags.allows_duplicate_labels)
    if value.ndim == 1:
        state["_name"] = value.__dict__["_name"]
    return plain


def new_frame(plan: Plan) -> Any:
    return _new(classes[PlainFrame], plan)


def new_series(plan: Plan) -> Any:
    series = _new(classes[PlainSeries], plan)
    object.__setattr__(series, "_name", next(iter(plan.columns)))
    return series


def _new(cls: type, plan: Plan) -> Any:
    other: Any = object.__new__(cls)
    state = other.__dict__
    state["_attrs"] = {}
    state["_flags"] = Flags(other, allows_duplicate_labels=True)
    state["_sk_plan"] = plan
    return other


def is_large(value: Any, work: str | None = None) -> bool:
    """Whether planning an operation on it may pay: it is a plan already, or pandas holds many rows for this kind of work (costs.py)."""
    manager = value.__dict__.get("_mgr")
    if manager is None:
        return True
    rows = len(manager.axes[-1])
    return bool(rows >= settings.rows_min and (work is None or rows >= rows_planned(work)))


def planned(value: Any) -> Plan | None:
    """The plan of an object that has not been computed, or None."""
    state = value.__dict__
    if "_mgr" in state:
        return None
    return cast("Plan | None", state.get("_sk_plan"))


def manager_of(value: Any) -> Any:
    """Called by `__getattr__` when `_mgr` is missing: execute the plan.

    Raises:
        AttributeError: There is no plan either (an object that pickle or copy is still putting together).
    """
    from skate.pandas import execute

    state = value.__dict__
    plan = state.get("_sk_plan")
    if plan is None:
        if "_mgr" in state:  # Another thread has just computed it.
            return state["_mgr"]
        raise AttributeError(f"{type(value).__name__!r} object has no attribute '_mgr'")
    with plan.lock:
        if "_mgr" not in state:
            # Other plans may hold the result: this frame's later changes must not reach it.
            state["_mgr"] = execute.result_of(plan)._mgr.copy(deep=False)
            state.pop("_sk_plan", None)
    return state["_mgr"]


def share(value: Any) -> Any:
    """Another object of ours with the same plan or blocks, which later changes of `value` don't reach."""
    plan = planned(value)
    if plan is not None:
        other = _new(type(value), plan)
        if value.ndim == 1:
            object.__setattr__(other, "_name", value._name)
        return other
    return adopt(snapshot(value))
