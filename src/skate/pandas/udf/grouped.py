"""A function of a group as calculations over all groups at once: `s - s.mean()` becomes a column minus a mean for each group.

Reductions are pandas' own groupby's, which add in another order than a group's own `sum` does: the last digits may differ (docs/pandas/udf.md).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skate.pandas.plain import PlainSeries
from skate.pandas.udf.source import Function
from skate.pandas.udf.values import Untraceable

REDUCTIONS = frozenset({"sum", "mean", "min", "max", "std", "var", "median", "count", "nunique"})
_ALONG = frozenset({"cumsum", "cummax", "cummin", "diff", "shift", "rank"})
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rows:
    """A value for each row: a Series of pandas with row numbers as its index."""

    values: Any


@dataclass(frozen=True, slots=True)
class Groups:
    """A value for each group, as an array of NumPy scalars would be: one of int64 or float64."""

    values: Any


class Group:
    """The group itself, where it is a frame."""


def trace_groups(function: Function, columns: Any, codes: Any, count: int) -> Rows | Groups:
    """The function's results for all groups.

    Args:
        columns: A numeric Series, or a frame of which the function takes columns.
        codes: The group of each row, from 0 to count.

    Raises:
        Untraceable: The function must be called.
    """
    if len(function.params) != 1:
        raise Untraceable("it takes more than one argument")
    body = [one for one in function.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    tracer = _Tracer(function, columns, codes, count)
    for statement in body[:-1]:
        if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name)):
            raise Untraceable("it has statements that are not assignments")
        tracer.names[statement.targets[0].id] = tracer.value(statement.value)
    last = body[-1]
    if not isinstance(last, ast.Return) or last.value is None:
        raise Untraceable("it does not end with what it returns")
    result = tracer.value(last.value)
    if not isinstance(result, (Rows, Groups)):
        raise Untraceable("its result is the same for each group")
    return result


class _Tracer:
    def __init__(self, function: Function, columns: Any, codes: Any, count: int) -> None:
        self.function, self.columns, self.codes, self.count = function, columns, codes, count
        self.is_series = isinstance(columns, PlainSeries)
        first = Rows(_numeric(columns.reset_index(drop=True))) if self.is_series else Group()
        self.names: dict[str, Any] = {function.params[0]: first}

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return node.value
        if isinstance(node, ast.Name):
            if node.id in self.names:
                return self.names[node.id]
            found = self.function.lookup(node.id)
            if type(found) in (int, float) and node.id not in self.function.real.__code__.co_varnames:
                return found
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return self.combine(_OPERATORS[type(node.op)], self.value(node.left), self.value(node.right))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand = self.value(node.operand)
            if isinstance(operand, (int, float)):
                return -operand
            if isinstance(operand, (Rows, Groups)):
                return type(operand)(-operand.values)
        elif isinstance(node, ast.Attribute):
            if isinstance(self.value(node.value), Group) and not hasattr(type(self.columns), node.attr):
                return self.column(node.attr)
        elif isinstance(node, ast.Subscript):
            if isinstance(self.value(node.value), Group) and isinstance(node.slice, ast.Constant):
                return self.column(node.slice.value)
        elif isinstance(node, ast.Call):
            return self.call(node)
        raise Untraceable(f"it uses `{ast.unparse(node)}`")

    def column(self, label: Any) -> Rows:
        if type(label) is not str or label not in self.columns.columns:
            raise Untraceable(f"groups have no column {label!r}")
        return Rows(_numeric(self.columns[label].reset_index(drop=True)))

    def call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id not in self.names:
            target = self.function.lookup(node.func.id)
            if target is len and len(node.args) == 1:
                argument = self.value(node.args[0])
                if isinstance(argument, (Rows, Group)):
                    return Groups(np.bincount(self.codes, minlength=self.count).astype(np.int64))
            raise Untraceable(f"it calls {node.func.id}")
        if not isinstance(node.func, ast.Attribute):
            raise Untraceable("it calls something")
        receiver, name = self.value(node.func.value), node.func.attr
        if not isinstance(receiver, Rows) or node.keywords:
            raise Untraceable(f"it calls {name}")
        arguments = [self.value(argument) for argument in node.args]
        if name in REDUCTIONS and not arguments:
            return Groups(getattr(receiver.values.groupby(self.codes), name)().to_numpy())
        if (
            name in _ALONG
            and all(type(argument) is int for argument in arguments)
            and (not arguments or name in ("shift", "diff"))
        ):
            return Rows(getattr(receiver.values.groupby(self.codes), name)(*arguments))
        if name == "abs" and not arguments:
            return Rows(receiver.values.abs())
        if name == "fillna" and len(arguments) == 1 and receiver.values.dtype.kind == "f":
            filler = arguments[0]
            if isinstance(filler, Groups):
                filler = PlainSeries(filler.values[self.codes])
            if not isinstance(filler, Rows):
                return Rows(receiver.values.fillna(filler))
        raise Untraceable(f"it calls {name}")

    def combine(self, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
        if isinstance(left, Group) or isinstance(right, Group):
            raise Untraceable("it calculates with a whole group")
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return function(left, right)
        if isinstance(left, Rows) or isinstance(right, Rows):
            return Rows(function(self.each_row(left), self.each_row(right)))
        a, b = (side.values if isinstance(side, Groups) else side for side in (left, right))
        for side in (a, b):
            if (
                isinstance(side, np.ndarray)
                and side.dtype.kind == "i"
                and len(side)
                and max(abs(int(side.min())), abs(int(side.max()))) >= 2**31
            ):
                raise Untraceable("an integer may not fit 64 bits")
        try:
            with np.errstate(all="raise", under="ignore"):  # What NumPy's numbers warn of, the function itself must do.
                return Groups(function(a, b))
        except (FloatingPointError, ZeroDivisionError) as error:
            raise Untraceable(f"NumPy warns: {error}") from None

    def each_row(self, value: Any) -> Any:
        if isinstance(value, Rows):
            return value.values
        return PlainSeries(value.values[self.codes]) if isinstance(value, Groups) else value


def _numeric(series: Any) -> Any:
    if not isinstance(series.dtype, np.dtype) or series.dtype not in (np.dtype("int64"), np.dtype("float64")):
        raise Untraceable(f"a column has the dtype {series.dtype}")
    return series
