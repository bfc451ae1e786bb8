"""`df.query("a > 1 and b == @name")`: comparisons, arithmetic and logic over columns as a mask; anything else is pandas' own evaluator."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from skate.pandas import lazy
from skate.pandas.plain import PlainSeries

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_LOCAL = "__skate_local_"


class _UnknownError(Exception):
    """Not an expression of the simple kind."""


def evaluate(frame: Any, text: str, caller: Any) -> Any:
    """The mask as a planned series, or NotImplemented; errors are left for pandas to raise."""
    if "`" in text or "\n" in text:
        return NotImplemented
    try:
        tree = ast.parse(re.sub(r"@([A-Za-z_]\w*)", rf"{_LOCAL}\1", text.strip()), mode="eval").body
        mask = _value(tree, frame, caller)
    except Exception:
        return NotImplemented
    return mask if isinstance(mask, PlainSeries) and lazy.planned(mask) is not None else NotImplemented


def _value(node: ast.expr, frame: Any, caller: Any) -> Any:
    match node:
        case ast.Constant(value=value) if isinstance(value, (int, float, str)):
            return value
        case ast.Name(id=name) if name.startswith(_LOCAL):
            name = name[len(_LOCAL) :]
            return caller.f_locals[name] if name in caller.f_locals else caller.f_globals[name]
        case ast.Name(id=name) if name in frame.columns:
            return frame[name]
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            return ~_value(operand, frame, caller)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, frame, caller)
        case ast.BoolOp(op=logic, values=parts):
            combine = operator.and_ if isinstance(logic, ast.And) else operator.or_
            total = _value(parts[0], frame, caller)
            for part in parts[1:]:
                total = combine(total, _value(part, frame, caller))
            return total
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            # In pandas' queries `&` binds as loosely as `and`, in Python more tightly than a comparison.
            if isinstance(op, (ast.BitAnd, ast.BitOr)) and not (_is_mask(left) and _is_mask(right)):
                raise _UnknownError
            return _OPERATORS[type(op)](_value(left, frame, caller), _value(right, frame, caller))
        case ast.Compare(left=left, ops=comparisons, comparators=others):
            every: Any = None
            for comparison, other in zip(comparisons, others, strict=True):
                one = _compare(comparison, left, other, frame, caller)
                every = one if every is None else every & one
                left = other
            return every
    raise _UnknownError


def _is_mask(node: ast.expr) -> bool:
    return isinstance(node, (ast.Compare, ast.BoolOp)) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert))
    )


def _compare(comparison: ast.cmpop, left: ast.expr, right: ast.expr, frame: Any, caller: Any) -> Any:
    a = _value(left, frame, caller)
    if isinstance(comparison, (ast.In, ast.NotIn)):
        values = (
            [v.value for v in right.elts if isinstance(v, ast.Constant)]
            if isinstance(right, (ast.List, ast.Tuple))
            else _value(right, frame, caller)
        )
        if isinstance(right, (ast.List, ast.Tuple)) and len(values) != len(right.elts):
            raise _UnknownError
        if not isinstance(values, (list, tuple, set)):
            raise _UnknownError
        found = a.isin(list(values))
        return ~found if isinstance(comparison, ast.NotIn) else found
    b = _value(right, frame, caller)
    if isinstance(a, str) or isinstance(b, (list, tuple)) or not (isinstance(a, PlainSeries) or isinstance(b, PlainSeries)):
        raise _UnknownError
    return _OPERATORS[type(comparison)](a, b)
