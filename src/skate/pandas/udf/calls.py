"""Calls of functions that are known, over columns."""

from __future__ import annotations

import math
import operator
import types
from typing import Any

import numpy as np
import pandas as pd

from skate.pandas.udf import text
from skate.pandas.udf.values import Const, Untraceable, Value, Vec, type_name

_IS_MISSING = {pd.isna: False, pd.isnull: False, pd.notna: True, pd.notnull: True}
# What NumPy calculates the same for one number and for many: correctly rounded, or no rounding at all.
_UFUNCS = frozenset({np.sqrt, np.abs, np.fabs, np.floor, np.ceil, np.trunc, np.negative, np.sign, np.square})
_TYPES: dict[str, type] = {
    "int": int, "float": float, "bool": bool, "str": str, "npint": np.int64, "npfloat": np.float64, "npbool": np.bool_,
}  # fmt: skip


def is_known(target: types.FunctionType) -> bool:
    return (target.__module__ or "").partition(".")[0] in ("pandas", "numpy", "skate")


def is_instance(value: Any, kind: Any) -> bool:
    if isinstance(value, Const):
        return isinstance(value.value, kind)
    if not isinstance(value, Vec):
        raise Untraceable("it asks for the type of a row")
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not all(isinstance(one, type) for one in kinds):
        raise Untraceable("it asks for a type that is not known here")
    return any(issubclass(_TYPES[value.kind], one) for one in kinds)


def function(target: Any, arguments: list[Any]) -> Value:
    try:
        return _function(target, arguments)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise Untraceable(f"it raises {type(error).__name__}") from error


def _function(target: Any, arguments: list[Any]) -> Value:
    if not all(isinstance(argument, (Const, Vec)) for argument in arguments):
        raise Untraceable("it hands on a row")
    is_missing = _is_missing(target)
    if is_missing is not None and len(arguments) == 1:
        return _missing(arguments[0], negate=is_missing)
    if all(isinstance(argument, Const) for argument in arguments):
        if target in (abs, int, float, str, bool, len, round, min, max, ord, chr) or getattr(target, "__module__", "") == "math":
            return Const(target(*(argument.value for argument in arguments)))
        raise Untraceable("it calls a function of constants")
    if len(arguments) != 1:
        raise Untraceable(f"it calls {getattr(target, '__name__', target)} with several arguments")
    value = arguments[0]
    kind = value.kind
    if target is str:
        return text.to_str(value)
    if target is len:
        if kind != "str":
            raise Untraceable("it asks for the length of a number")
        return Vec("int", text.lengths(value))
    if target is bool:
        from skate.pandas.udf.tracing import truth_of

        return Vec("bool", truth_of(value))
    if kind not in ("int", "float", "npint", "npfloat", "bool"):
        raise Untraceable(f"it calls a function of {kind}")
    if target is abs or target is operator.abs:
        if kind in ("int", "npint") and int(value.data.min()) == -(2**63):
            raise Untraceable("an integer does not fit 64 bits")
        return Vec(kind, np.abs(value.data)) if kind != "bool" else Vec("int", value.data.astype(np.int64))
    if target is float:
        # float(np.float64) is Python's own.
        return Vec("float", value.data.astype(np.float64, copy=False))
    if target in (int, math.floor, math.ceil, math.trunc, round):
        return _whole(target, value)
    if target is math.sqrt:
        if bool((value.data < 0).any()):
            raise Untraceable("it raises ValueError")
        return Vec("float", np.sqrt(value.data.astype(np.float64, copy=False)))
    if target is math.fabs:
        return Vec("float", np.fabs(value.data.astype(np.float64, copy=False)))
    if target in (math.isnan, math.isinf, math.isfinite):
        numbers = value.data.astype(np.float64, copy=False)
        return Vec("bool", {math.isnan: np.isnan, math.isinf: np.isinf, math.isfinite: np.isfinite}[target](numbers))
    if target in (np.isnan, np.isinf, np.isfinite):
        return Vec("npbool", target(value.data))
    if isinstance(target, np.ufunc) and target in _UFUNCS and kind != "bool":
        with np.errstate(all="raise", under="ignore"):
            result = target(value.data)
        if target is np.abs and kind in ("int", "npint") and int(value.data.min()) == -(2**63):
            raise Untraceable("an integer does not fit 64 bits")
        if target is np.square and kind in ("int", "npint") and int(np.abs(value.data).max()) >= 2**31:
            raise Untraceable("an integer does not fit 64 bits")
        return Vec({"f": "npfloat", "i": "npint"}[result.dtype.kind], result)
    raise Untraceable(
        f"it calls {getattr(target, '__name__', target)}, whose results NumPy may round differently for many numbers"
    )


def _is_missing(target: Any) -> bool | None:
    name = getattr(target, "__name__", "")
    if name in ("isna", "isnull", "notna", "notnull") and is_known_module(target):
        return name.startswith("not")
    return None


def is_known_module(target: Any) -> bool:
    return (getattr(target, "__module__", "") or "").partition(".")[0] in ("pandas", "skate")


def _missing(value: Any, *, negate: bool) -> Value:
    if isinstance(value, Const):
        return Const(bool(pd.isna(value.value)) is not negate)
    if value.kind in ("float", "npfloat"):
        found = np.isnan(value.data)
        return Vec("bool", ~found if negate else found)
    return Const(negate)


def _whole(target: Any, value: Vec) -> Value:
    """int, floor, ceil, trunc, and round to no places: Python's integers."""
    if value.kind in ("int", "bool"):
        return Vec("int", value.data.astype(np.int64))
    if value.kind == "npint":
        if target is round:
            raise Untraceable("round of NumPy's integers is left to Python")
        return Vec("int", value.data)
    if not bool((np.abs(value.data) < 2**62).all()):  # NaN and infinity, too.
        raise Untraceable("a number is not finite")
    if value.kind == "npfloat" and target is round:
        return Vec("int", np.rint(value.data).astype(np.int64))
    rounded = {int: np.trunc, math.trunc: np.trunc, math.floor: np.floor, math.ceil: np.ceil, round: np.rint}[target](value.data)
    return Vec("int", rounded.astype(np.int64))


def method(receiver: Any, name: str, arguments: list[Any]) -> Value:
    if isinstance(receiver, Vec) and receiver.kind == "float" and name == "is_integer" and not arguments:
        return Vec("bool", np.isfinite(receiver.data) & (np.floor(receiver.data) == receiver.data))
    if type_name(receiver) == "str":
        return text.method(receiver, name, arguments)
    raise Untraceable(f"it calls the method {name} of {type_name(receiver)}")
