"""`DataFrame.apply(function, axis=1)`.

In this order: traced to a calculation over columns; with the row's columns as parameters, where the function does nothing with a row but take
columns out of it, so that no Series is made for each row; with pandas' own rows. The last two on all cores.
"""

from __future__ import annotations

import ast
import types
from typing import Any

import numpy as np

from skate.blocks.elements import Column, EachElement, EachRow, call_each
from skate.pandas import kinds, lazy, ledger
from skate.pandas.plain import PlainSeries
from skate.pandas.settings import settings
from skate.pandas.udf import distribute, elements, purity, results, shipping
from skate.pandas.udf.source import Function, compiled, function_of
from skate.pandas.udf.tracing import trace
from skate.pandas.udf.values import Untraceable, Vec

_SCALARS = (int, float, str, bool, type(None), np.float64, np.int64, np.bool_, complex, bytes)


def frame_apply(frame: Any, func: Any, axis: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`DataFrame.apply`; NotImplemented leaves it to pandas."""
    if axis not in (1, "columns") or not elements.ops_allow(frame) or not callable(func):
        return NotImplemented
    if isinstance(func, np.ufunc) or not frame.columns.is_unique or not len(frame.columns):
        return NotImplemented
    label = f"apply({elements.name_of(func)}, axis=1)"
    function = function_of(func)
    used = _columns_used(function, frame.columns) if function is not None and not args and not kwargs else None
    count = len(frame)
    if not count:
        return NotImplemented
    started = ledger.now()
    columns = _columns_of_rows(frame, used) if used else None
    index = frame.index
    why = ""
    if function is not None and used is not None and columns is not None:
        made = _traced(function, func, columns, count)
        if not isinstance(made, str):
            return _finish(frame, func, label, PlainSeries(made, index=index, copy=False), "traced", started)
        why = f"not a column calculation: {made}"
    reason = purity.impurity(func, rows=True)
    if reason:
        elements.note(frame, label, f"it runs here, in order: {reason}")
        return NotImplemented
    flat = _flattened(function, used) if function is not None and used is not None and columns is not None else None
    if flat is not None and columns is not None:
        elementwise = tuple(columns.values())
        packed, elsewhere = distribute.run(
            EachElement(flat, elementwise), count, label, lambda: EachElement(shipping.by_value(flat), elementwise)
        )
    else:
        plain = lazy.to_pandas(frame)
        packed, elsewhere = distribute.run(
            EachRow(func, plain, args, kwargs), count, label, lambda: EachRow(shipping.by_value(func), plain, args, kwargs)
        )
    engine = "workers" if elsewhere else "python"
    array = results.array_of_packed(packed)
    if array is None:
        values = results.values_of_packed(packed)
        if not all(type(value) in _SCALARS for value in values):
            # Rows that become Series, lists or dicts: what pandas makes of them is its own business.
            return _finish(frame, func, label, _wrapped(frame, values), engine, started, why)
        array = PlainSeries(values).array
    return _finish(frame, func, label, PlainSeries(array, index=index, copy=False), engine, started, why)


def _finish(frame: Any, func: Any, label: str, result: Any, engine: str, started: float, why: str = "") -> Any:
    ledger.add(ledger.user_line(), label, engine, ledger.now() - started, len(result), why)
    if settings.check:
        elements.compare(label, result, lazy.to_pandas(frame).apply(func, axis=1))
    return lazy.adopt(result)


def _wrapped(frame: Any, values: list[Any]) -> Any:
    """What pandas' own apply makes of rows' results: it gets them one after the other from a frame with the same index and columns."""
    following = iter(values)
    plain = lazy.to_pandas(frame)
    small = type(plain)(np.zeros((len(values), 1), dtype=np.int8), index=plain.index)
    if any(isinstance(value, list) for value in values[:1]):
        small = type(plain)(np.zeros((len(values), len(plain.columns)), dtype=np.int8), index=plain.index, columns=plain.columns)
    return small.apply(lambda _: next(following), axis=1)


# ---------------------------------------------------------------- which columns


def _columns_used(function: Function, labels: Any) -> list[str] | None:
    """The columns that the function takes out of its row, if it does nothing else with it."""
    if len(function.params) - len(function.real.__defaults__ or ()) != 1:
        return None
    row = function.params[0]
    known = set(labels)
    used: dict[str, None] = {}
    parents = {
        child: parent for statement in function.body for parent in ast.walk(statement) for child in ast.iter_child_nodes(parent)
    }
    for statement in function.body:
        for node in ast.walk(statement):
            if isinstance(node, (ast.arg, ast.ExceptHandler)) and row in (
                getattr(node, "arg", None),
                getattr(node, "name", None),
            ):
                return None
            if not (isinstance(node, ast.Name) and node.id == row):
                continue
            parent = parents.get(node)
            if not isinstance(node.ctx, ast.Load):
                return None
            if isinstance(parent, ast.Attribute) and isinstance(parent.ctx, ast.Load):
                label: Any = parent.attr
                if hasattr(PlainSeries, label):
                    return None
            elif isinstance(parent, ast.Subscript) and parent.value is node and isinstance(parent.ctx, ast.Load):
                label = parent.slice.value if isinstance(parent.slice, ast.Constant) else None
            else:
                return None
            if type(label) is not str or label not in known:
                return None
            used[label] = None
    return list(used)


def _columns_of_rows(frame: Any, used: list[str]) -> dict[str, Column] | None:
    """The columns with the elements that pandas' rows have: of one common dtype among numbers, of their own where text is among them.

    None: rows of these dtypes are made by pandas.
    """
    dtypes = list(frame.dtypes)
    numbers = all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in dtypes)
    bools = all(isinstance(dtype, np.dtype) and dtype.kind == "b" for dtype in dtypes)
    mixed = not numbers and not bools
    if mixed:
        for dtype in dtypes:
            if not (kinds.is_str(dtype) or (isinstance(dtype, np.dtype) and dtype.kind in "iufbM")):
                return None
        if len(set(dtypes)) == 1:  # Text alone, or times alone: their rows are arrays of their own kind.
            return None
    columns: dict[str, Column] = {}
    common = np.result_type(*dtypes) if numbers else None
    for label in used:
        plain = lazy.to_pandas(frame[label])
        column = elements.column_of(plain, is_numpy=True)
        if column is None:
            return None
        if common is not None:
            if (
                any(dtype.kind != common.kind and dtype.itemsize == 8 and dtype.kind in "iu" for dtype in dtypes)
                and common != np.float64
            ):
                return None
            column = Column("numpy", column.data.astype(common, copy=False))
        columns[label] = column
    return columns


# ---------------------------------------------------------------- traced, flattened


def _traced(function: Function, func: Any, columns: dict[str, Column], count: int) -> Any:
    """The results as an array, or the reason why the function can't be traced."""
    vecs: dict[Any, Vec] = {}
    for label, column in columns.items():
        vec = elements.vec_of(column)
        if vec is None:
            return f"the column {label} is of a dtype that is not traced"
        vecs[label] = vec
    try:
        parts = trace(function, vecs, count, row=True)
        places = elements.sample(parts, list(vecs.values()), count)
        names = list(columns)
        pieces = [Column(column.kind, elements.take(column, places)) for column in columns.values()]
        flat = _flattened(function, names)
        if flat is None:
            return "it can't be called with its columns"
        elements.check(parts, places, call_each(flat, pieces, 0, len(places)))
        return results.array_of_parts(parts, count)
    except Untraceable as why:
        return str(why)
    except RecursionError:
        return "it is nested too deeply"
    except Exception as error:
        return f"it raised {type(error).__name__}"


class _Columns(ast.NodeTransformer):
    """`row["a"]` and `row.a` as a parameter."""

    def __init__(self, row: str, names: dict[str, str]) -> None:
        self.row, self.names = row, names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == self.row:
            return ast.copy_location(ast.Name(self.names[node.attr], ast.Load()), node)
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == self.row:
            assert isinstance(node.slice, ast.Constant)
            return ast.copy_location(ast.Name(self.names[str(node.slice.value)], ast.Load()), node)
        return self.generic_visit(node)


def _flattened(function: Function, used: list[str]) -> Any:
    """The function with columns as its parameters in the place of its row; None if it can't be made."""
    import copy

    names = {label: f"_sk_column_{place}" for place, label in enumerate(used)}
    node = _Columns(function.params[0], names).visit(copy.deepcopy(function.node))
    parameters = [ast.arg(name) for name in names.values()]
    old = node.args
    node.args = ast.arguments([], [*parameters, *old.args[1:]], None, [], [], None, old.defaults)
    if isinstance(node, ast.FunctionDef):
        node.decorator_list, node.returns = [], None
    ast.fix_missing_locations(node)
    real = function.real
    code = compiled(node, real.__code__)
    if code is None or set(code.co_freevars) - set(real.__code__.co_freevars):
        return None
    cells = dict(zip(real.__code__.co_freevars, real.__closure__ or (), strict=True))
    flat = types.FunctionType(
        code, real.__globals__, real.__name__, real.__defaults__, tuple(cells[name] for name in code.co_freevars)
    )
    flat.__qualname__, flat.__module__ = real.__qualname__, real.__module__
    return flat
