"""A Python function of an element or a row as a calculation over whole columns.

The function's tree is interpreted with arrays in the place of numbers and strings. Where it decides (`if`, `and`, a conditional expression),
the rows are split, and each part goes on alone, so that what a branch must not see (a division by zero, a missing string) it does not see.
Each part has one Python type: the types of the results are those that Python would have given, and so are the dtypes made of them.

    x * 2 if x > 0 else 0         rows where x > 0: int column * 2          the others: the constant 0

Nothing is approximated: integers that might not fit 64 bits, divisors that are zero, text outside ASCII in `upper()`, functions whose
vectorised form may differ in the last digit (`math.sin`), and whatever is not known here raise `Untraceable`, and the function is called.
"""

from __future__ import annotations

import ast
import operator
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from skate.pandas.udf import text
from skate.pandas.udf.source import UNKNOWN, Function, function_of
from skate.pandas.udf.values import Const, Untraceable, Value, Vec, is_exact_int, type_name

PARTS_MAX = 48
STEPS_MAX = 2_000  # Nodes that are evaluated, loops unrolled.
DEPTH_MAX = 5


class Env:
    """The rows of one part, and what the names stand for in them."""

    __slots__ = ("chosen", "count", "names", "parent", "rows")

    def __init__(self, parent: Env | None, chosen: Any, rows: Any, count: int) -> None:
        self.parent = parent
        self.chosen = chosen  # Which rows of the parent these are.
        self.rows = rows  # Which rows of all; None: all of them.
        self.count = count
        self.names: dict[Any, Value] = {}

    def get(self, name: Any) -> Value | None:
        value = self.names.get(name)
        if value is None and self.parent is not None:
            value = self.parent.get(name)
            if isinstance(value, Vec):
                value = self.names[name] = value.take(self.chosen)
        return value

    def narrow(self, chosen: Any) -> Env:
        rows = chosen if self.rows is None else self.rows[chosen]
        return Env(self, chosen, rows, len(chosen))

    def carry(self, value: Value, origin: Env) -> Value:
        """A value of an earlier part for the rows of this one."""
        if self is origin or not isinstance(value, Vec):
            return value
        assert self.parent is not None
        carried = self.parent.carry(value, origin)
        assert isinstance(carried, Vec)
        return carried.take(self.chosen)


@dataclass(frozen=True, slots=True)
class Row:
    """The row that the function is given."""


Part = tuple[Env, Any]


def trace(function: Function, columns: dict[Any, Vec], count: int, *, row: bool) -> list[tuple[Any, Value]]:
    """The results as parts: which rows (None: all), and their values.

    Args:
        columns: By label; a series' values have the label None.
        row: The function is given rows, not elements.

    Raises:
        Untraceable: The function must be called.
    """
    if len(function.params) - len(function.real.__defaults__ or ()) > 1 or not function.params:
        raise Untraceable("it takes more than one argument")
    env = Env(None, None, None, count)
    for label, column in columns.items():
        env.names["column", label] = column
    tracer = _Tracer(columns, row=row)
    arguments: list[Any] = [Row() if row else None]
    parts = []
    with np.errstate(all="ignore"):
        start: list[tuple[Env, Any]] = [(env, Row())] if row else list(tracer.column(env, None))
        for part, argument in start:
            arguments = [
                argument,
                *(Const(default) for default in (function.real.__defaults__ or ())[-(len(function.params) - 1) :]),
            ]
            if len(function.params) == 1:
                arguments = arguments[:1]
            parts += [(end, value) for end, value in tracer.call(function, part, arguments, 0)]
    return [(end.rows, value) for end, value in parts if end.count]


class _Tracer:
    def __init__(self, columns: dict[Any, Vec], *, row: bool) -> None:
        self.columns = columns
        self.is_row = row
        self.steps = 0
        self.parts = 1

    # ------------------------------------------------------------- functions and statements

    def call(self, function: Function, env: Env, arguments: list[Any], depth: int) -> Iterator[Part]:
        if depth > DEPTH_MAX:
            raise Untraceable("functions call each other too deeply")
        scope = _Scope(self, function, depth)
        inner = _same_rows(env) if depth else env
        for name, value in zip(function.params, arguments, strict=True):
            inner.names["local", depth, name] = value
        for end, value in scope.block(function.body, inner):
            yield end, Const(None) if value is _FELL_THROUGH else value

    def column(self, env: Env, label: Any) -> Iterator[Part]:
        """A column's values; rows where a string is missing are a part of their own, in which it is the float NaN."""
        value = env.get(("column", label))
        if value is None:
            raise Untraceable(f"there is no column {label!r}")
        if isinstance(value, Vec) and value.kind == "str" and value.data.null_count:
            missing = value.data.is_null().to_numpy(zero_copy_only=False)
            for part in (env.narrow(np.flatnonzero(~missing)), env.narrow(np.flatnonzero(missing))):
                if part.count:
                    self.split()
                    part.names["column", label] = (
                        value.take(part.chosen)
                        if part.chosen is not None and not missing[part.chosen[0]]
                        else Const(float("nan"))
                    )
                    yield part, part.names["column", label]
        else:
            yield env, value

    def split(self) -> None:
        self.parts += 1
        if self.parts > PARTS_MAX:
            raise Untraceable("it has too many branches")


def _same_rows(env: Env) -> Env:
    inner = Env.__new__(_Alias)
    inner.parent, inner.chosen, inner.rows, inner.count, inner.names = env, None, env.rows, env.count, {}
    return inner


class _Alias(Env):
    """The rows of its parent, with names of its own."""

    __slots__ = ()

    def get(self, name: Any) -> Value | None:
        value = self.names.get(name)
        return self.parent.get(name) if value is None and self.parent is not None else value

    def carry(self, value: Value, origin: Env) -> Value:
        if self is origin or self.parent is None:
            return value
        return self.parent.carry(value, origin)


_FELL_THROUGH = object()
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
               ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.RShift: ">>"}  # fmt: skip
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


class _Scope:
    """One call of one function."""

    def __init__(self, tracer: _Tracer, function: Function, depth: int) -> None:
        self.tracer = tracer
        self.function = function
        self.depth = depth

    def block(self, statements: list[ast.stmt], env: Env) -> Iterator[Part]:
        """Returned values, and parts that reach the end of the block with _FELL_THROUGH."""
        if not statements:
            yield env, _FELL_THROUGH
            return
        first, rest = statements[0], statements[1:]
        for part, value in self.statement(first, env):
            if not part.count:
                continue
            if value is _FELL_THROUGH:
                yield from self.block(rest, part)
            else:
                yield part, value

    def statement(self, node: ast.stmt, env: Env) -> Iterator[Part]:
        if isinstance(node, ast.Return):
            yield from ((env, Const(None)),) if node.value is None else self.expression(node.value, env)
        elif isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield env, _FELL_THROUGH
        elif isinstance(node, ast.If):
            for part, truth in self.condition(node.test, env):
                for branch, side in self.sides(part, truth):
                    yield from self.block(node.body if side else node.orelse, branch)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if not all(isinstance(target, ast.Name) for target in targets):
                raise Untraceable("it assigns to more than a name")
            for part, value in self.expression(node.value, env):
                part = _same_rows(part)
                for target in targets:
                    assert isinstance(target, ast.Name)
                    part.names["local", self.depth, target.id] = value
                yield part, _FELL_THROUGH
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            step = ast.BinOp(ast.Name(name, ast.Load()), node.op, node.value)
            for part, value in self.expression(step, env):
                part = _same_rows(part)
                part.names["local", self.depth, name] = value
                yield part, _FELL_THROUGH
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name) and not node.orelse:
            if any(isinstance(child, (ast.Break, ast.Continue)) for child in ast.walk(node)):
                raise Untraceable("it leaves a loop")
            yield from self.loop(node, env)
        else:
            raise Untraceable(f"it has a statement `{type(node).__name__.lower()}`")

    def loop(self, node: ast.For, env: Env) -> Iterator[Part]:
        assert isinstance(node.target, ast.Name)
        items = self.constant(node.iter)
        if not isinstance(items, (range, tuple, list)) or len(items) > 32:
            raise Untraceable("it loops")
        parts: list[Part] = [(env, _FELL_THROUGH)]
        for item in items:
            following: list[Part] = []
            for part, value in parts:
                if value is not _FELL_THROUGH:
                    following.append((part, value))
                    continue
                part = _same_rows(part)
                part.names["local", self.depth, node.target.id] = Const(item)
                following += self.block(node.body, part)
            parts = following
        yield from parts

    def sides(self, env: Env, truth: Any) -> Iterator[tuple[Env, bool]]:
        if isinstance(truth, bool):
            yield env, truth
            return
        chosen = np.flatnonzero(truth)
        if len(chosen) == env.count:
            yield env, True
        elif not len(chosen):
            yield env, False
        else:
            self.tracer.split()
            yield env.narrow(chosen), True
            yield env.narrow(np.flatnonzero(~truth)), False

    # ------------------------------------------------------------- expressions

    def constant(self, node: ast.AST) -> Any:
        """What an expression without elements stands for; UNKNOWN if it has some."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self.function.lookup(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.constant(node.value)
            return getattr(owner, node.attr, UNKNOWN) if isinstance(owner, (types.ModuleType, type)) else UNKNOWN
        if isinstance(node, (ast.Tuple, ast.List)):
            items = [self.constant(item) for item in node.elts]
            return UNKNOWN if any(item is UNKNOWN for item in items) else (tuple if isinstance(node, ast.Tuple) else list)(items)
        if isinstance(node, ast.Set):
            items = [self.constant(item) for item in node.elts]
            return UNKNOWN if any(item is UNKNOWN for item in items) else set(items)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self.constant(node.operand)
            return -value if type(value) in (int, float) else UNKNOWN
        if isinstance(node, ast.Call) and self.constant(node.func) is range and not node.keywords:
            bounds = [self.constant(argument) for argument in node.args]
            return range(*bounds) if bounds and all(type(bound) is int for bound in bounds) else UNKNOWN
        if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
            keys = [self.constant(key) for key in node.keys if key is not None]
            values = [self.constant(value) for value in node.values]
            return UNKNOWN if UNKNOWN in keys or any(v is UNKNOWN for v in values) else dict(zip(keys, values, strict=True))
        return UNKNOWN

    def expression(self, node: ast.AST, env: Env) -> Iterator[Part]:
        self.tracer.steps += 1
        if self.tracer.steps > STEPS_MAX:
            raise Untraceable("it is too long")
        if isinstance(node, ast.Constant):
            yield env, Const(node.value)
        elif isinstance(node, ast.Name):
            yield from self.name(node, env)
        elif isinstance(node, ast.BinOp):
            sign = _ARITHMETIC.get(type(node.op))
            if sign is None:
                raise Untraceable("it uses an operator that is not known here")
            for part, (left, right) in self.several([node.left, node.right], env):
                yield part, arithmetic(sign, left, right)
        elif isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Not):
                for part, truth in self.condition(node.operand, env):
                    yield part, Const(not truth) if isinstance(truth, bool) else Vec("bool", ~truth)
            else:
                for part, value in self.expression(node.operand, env):
                    yield part, unary(node.op, value)
        elif isinstance(node, ast.Compare):
            yield from self.compare(node, env)
        elif isinstance(node, ast.BoolOp):
            yield from self.bool_op(node, env)
        elif isinstance(node, ast.IfExp):
            for part, truth in self.condition(node.test, env):
                for branch, side in self.sides(part, truth):
                    yield from self.expression(node.body if side else node.orelse, branch)
        elif isinstance(node, ast.Attribute):
            yield from self.attribute(node, env)
        elif isinstance(node, ast.Subscript):
            yield from self.subscript(node, env)
        elif isinstance(node, ast.JoinedStr):
            yield from self.joined(node, env)
        elif isinstance(node, ast.Call):
            yield from self.call(node, env)
        else:
            raise Untraceable(f"it has an expression of the kind {type(node).__name__}")

    def several(self, nodes: list[ast.expr], env: Env) -> Iterator[tuple[Env, list[Any]]]:
        """Values of several expressions for the same rows."""
        if not nodes:
            yield env, []
            return
        for part, value in self.expression(nodes[0], env):
            for end, others in self.several(nodes[1:], part):
                if end.count:
                    yield end, [end.carry(value, part), *others]

    def name(self, node: ast.Name, env: Env) -> Iterator[Part]:
        value = env.get(("local", self.depth, node.id))
        if value is not None:
            yield env, value
            return
        if node.id in self.function.real.__code__.co_varnames:
            raise Untraceable(f"`{node.id}` may have no value")
        found = self.function.lookup(node.id)
        if type(found) in (int, float, str, bool, type(None)) or isinstance(found, (np.float64, np.int64)):
            yield env, Const(found)
            return
        raise Untraceable(f"it uses `{node.id}`")

    def condition(self, node: ast.AST, env: Env) -> Iterator[tuple[Env, Any]]:
        """Whether the expression is true: a bool for all rows of the part, or an array of them."""
        for part, value in self.expression(node, env):
            yield part, truth_of(value)

    def compare(self, node: ast.Compare, env: Env) -> Iterator[Part]:
        if len(node.ops) == 1 and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            yield from self.membership(node, env)
            return
        for part, values in self.several([node.left, *node.comparators], env):
            found: Any = None
            for place, op in enumerate(node.ops):
                one = comparison(op, values[place], values[place + 1])
                found = one if found is None else _both(found, one)
            yield part, found

    def membership(self, node: ast.Compare, env: Env) -> Iterator[Part]:
        negate = isinstance(node.ops[0], ast.NotIn)
        container = self.constant(node.comparators[0])
        if container is not UNKNOWN and isinstance(container, (tuple, list, set, frozenset, dict)):
            for part, value in self.expression(node.left, env):
                yield part, is_in(value, container, negate=negate)
            return
        for part, (needle, hay) in self.several([node.left, node.comparators[0]], env):
            if isinstance(needle, Const) and type(needle.value) is str and isinstance(hay, Vec) and hay.kind == "str":
                yield part, text.contains(hay, needle.value, negate=negate)
            else:
                raise Untraceable("it looks for something that is not a constant")

    def bool_op(self, node: ast.BoolOp, env: Env) -> Iterator[Part]:
        is_and = isinstance(node.op, ast.And)
        first, rest = node.values[0], node.values[1:]
        for part, value in self.expression(first, env):
            truth = truth_of(value)
            for branch, side in self.sides(part, truth):
                if side is is_and:
                    following = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
                    yield from self.expression(following, branch)
                else:
                    settled = branch.carry(value, part)
                    if isinstance(settled, Vec) and settled.kind == "bool":
                        settled = Const(side)
                    elif isinstance(settled, Vec) and settled.kind == "npbool":
                        settled = Const(np.bool_(side))
                    yield branch, settled

    def is_row(self, node: ast.AST, env: Env) -> bool:
        return isinstance(node, ast.Name) and isinstance(env.get(("local", self.depth, node.id)), Row)

    def attribute(self, node: ast.Attribute, env: Env) -> Iterator[Part]:
        if self.is_row(node.value, env):
            if node.attr not in self.tracer.columns or _is_attribute_of_series(node.attr):
                raise Untraceable(f"rows have no column {node.attr}")
            yield from self.tracer.column(env, node.attr)
            return
        value = self.constant(node)
        if type(value) in (int, float, str, bool):
            yield env, Const(value)
            return
        raise Untraceable(f"it uses `{ast.unparse(node)}`")

    def subscript(self, node: ast.Subscript, env: Env) -> Iterator[Part]:
        if self.is_row(node.value, env):
            label = self.constant(node.slice)
            if type(label) is not str or label not in self.tracer.columns:
                raise Untraceable("it does not name a column of the row")
            yield from self.tracer.column(env, label)
            return
        container = self.constant(node.value)
        if isinstance(container, dict) and type(container) is dict:
            for part, key in self.expression(node.slice, env):
                yield from self.look_up(container, key, UNKNOWN, part)
            return
        bounds: list[Any]
        if isinstance(node.slice, ast.Slice):
            if node.slice.step is not None:
                raise Untraceable("it slices in steps")
            bounds = [None if bound is None else self.constant(bound) for bound in (node.slice.lower, node.slice.upper)]
            if not all(bound is None or type(bound) is int for bound in bounds):
                raise Untraceable("the bounds of a slice are not constant")
            for part, value in self.expression(node.value, env):
                yield part, text.cut(value, bounds[0], bounds[1])
            return
        place = self.constant(node.slice)
        if type(place) is int:
            for part, value in self.expression(node.value, env):
                yield part, text.character(value, place)
            return
        raise Untraceable("it takes an item of something")

    def look_up(self, container: dict[Any, Any], key: Any, default: Any, env: Env) -> Iterator[Part]:
        """`container[key]` or `container.get(key, default)`; values of each type are a part."""
        if isinstance(key, Const):
            value = container.get(key.value, default)
            if value is UNKNOWN or type(value) not in (int, float, str, bool, type(None)):
                raise Untraceable("a key is missing")
            yield env, Const(value)
            return
        if key.kind not in ("str", "int") or any(type(k) is not (str if key.kind == "str" else int) for k in container):
            raise Untraceable("the keys of a dict are of another type")
        import pandas as pd

        if key.kind == "str":
            encoded = key.data.dictionary_encode()
            words = encoded.dictionary.to_pylist()
            codes = encoded.indices.to_numpy(zero_copy_only=False)
        else:
            codes, uniques = pd.factorize(key.data)
            words = uniques.tolist()
        if len(words) > max(1000, env.count // 4):
            raise Untraceable("the keys are mostly different")
        values = [container.get(word, default) for word in words]
        kinds = {type(value) for value in values}
        if UNKNOWN in values or not kinds <= {int, float, str, bool, type(None)}:
            raise Untraceable("a key is missing")
        for kind in sorted(kinds, key=str):
            of_kind = np.array([type(value) is kind for value in values])
            for branch, side in self.sides(env, of_kind[codes]):
                if not side:
                    continue
                own = codes if branch is env else codes[branch.chosen]
                if kind is type(None):
                    yield branch, Const(None)
                    continue
                plain = [value if type(value) is kind else {int: 0, float: 0.0, str: "", bool: False}[kind] for value in values]
                if kind is str:
                    yield branch, Vec("str", pa.array(plain, pa.large_string()).take(pa.array(own)))
                else:
                    try:
                        yield branch, Vec(kind.__name__, np.array(plain, dtype={int: "i8", float: "f8", bool: "?"}[kind])[own])
                    except OverflowError:
                        raise Untraceable("a number is too large") from None

    def joined(self, node: ast.JoinedStr, env: Env) -> Iterator[Part]:
        pieces: list[ast.expr] = []
        for piece in node.values:
            if isinstance(piece, ast.FormattedValue):
                if piece.conversion != -1 or piece.format_spec is not None:
                    raise Untraceable("it formats a number")
                pieces.append(piece.value)
            else:
                pieces.append(piece)
        for part, values in self.several(pieces, env):
            yield part, text.concat([text.to_str(value) for value in values])

    # ------------------------------------------------------------- calls

    def call(self, node: ast.Call, env: Env) -> Iterator[Part]:
        from skate.pandas.udf import calls

        if any(isinstance(argument, ast.Starred) for argument in node.args):
            raise Untraceable("it passes a sequence of arguments")
        target: Any = UNKNOWN
        if not (isinstance(node.func, ast.Name) and node.func.id in self.function.real.__code__.co_varnames):
            target = self.constant(node.func)
        if target is UNKNOWN and isinstance(node.func, ast.Attribute) and not node.keywords:
            container = self.constant(node.func.value)
            if isinstance(container, dict) and node.func.attr == "get" and 1 <= len(node.args) <= 2 and type(container) is dict:
                default = self.constant(node.args[1]) if len(node.args) == 2 else None
                if default is UNKNOWN:
                    raise Untraceable("the default of get() is not constant")
                for part, key in self.expression(node.args[0], env):
                    yield from self.look_up(container, key, default, part)
                return
            for part, (receiver, *arguments) in self.several([node.func.value, *node.args], env):
                yield part, calls.method(receiver, node.func.attr, arguments)
            return
        if target is UNKNOWN:
            raise Untraceable(f"it calls `{ast.unparse(node.func)}`")
        if target is isinstance and len(node.args) == 2 and not node.keywords:
            kind = self.constant(node.args[1])
            for part, value in self.expression(node.args[0], env):
                yield part, Const(calls.is_instance(value, kind))
            return
        if isinstance(target, types.FunctionType) and not calls.is_known(target):
            helper = function_of(target)
            if helper is None:
                raise Untraceable(f"the source of {target.__qualname__} can't be found")
            yield from self.inline(helper, node, env)
            return
        if node.keywords:
            raise Untraceable("it passes arguments by name")
        for part, arguments in self.several(list(node.args), env):
            if target in (min, max) and len(arguments) > 1:
                yield from self.extreme(target is max, arguments, part)
            else:
                yield part, calls.function(target, arguments)

    def extreme(self, is_max: bool, values: list[Any], env: Env) -> Iterator[Part]:
        """min and max of several values: the first one wins, and only a comparison that holds replaces it (NaN never wins so)."""
        best, rest = values[0], values[1:]
        if not rest:
            yield env, best
            return
        better = comparison(ast.Gt() if is_max else ast.Lt(), rest[0], best)
        for branch, side in self.sides(env, truth_of(better)):
            chosen = branch.carry(rest[0] if side else best, env)
            yield from self.extreme(is_max, [chosen, *(branch.carry(value, env) for value in rest[1:])], branch)

    def inline(self, helper: Function, node: ast.Call, env: Env) -> Iterator[Part]:
        names = [keyword.arg for keyword in node.keywords]
        nodes = [*node.args, *(keyword.value for keyword in node.keywords)]
        defaults = dict(zip(reversed(helper.params), reversed(helper.real.__defaults__ or ()), strict=False))
        for part, values in self.several(nodes, env):
            given = dict(zip(helper.params, values[: len(node.args)], strict=False))
            given.update(zip([str(name) for name in names], values[len(node.args) :], strict=True))
            if len(node.args) > len(helper.params) or not set(given) <= set(helper.params):
                raise Untraceable("a call does not fit its function")
            arguments: list[Any] = []
            for name in helper.params:
                if name in given:
                    arguments.append(given[name])
                elif name in defaults and type(defaults[name]) in (int, float, str, bool, type(None)):
                    arguments.append(Const(defaults[name]))
                else:
                    raise Untraceable("a call does not fit its function")
            yield from self.tracer.call(helper, part, arguments, self.depth + 1)


def _is_attribute_of_series(name: str) -> bool:
    from skate.pandas.plain import PlainSeries

    return hasattr(PlainSeries, name)


def _both(one: Any, other: Any) -> Any:
    """Two comparisons in a chain, both of which must hold."""
    if isinstance(one, Const):
        return other if one.value else one
    if isinstance(other, Const):
        if other.value:
            return (
                Vec("npbool" if isinstance(other.value, np.bool_) else "bool", one.data)
                if type_name(other) == one.kind
                else _stop()
            )
        return other if type_name(other) == one.kind else _stop()
    if one.kind != other.kind:
        raise Untraceable("a chain of comparisons mixes types")
    return Vec(one.kind, one.data & other.data)


def _stop() -> Any:
    raise Untraceable("a chain of comparisons mixes types")


def truth_of(value: Any) -> Any:
    if isinstance(value, Const):
        return bool(value.value)
    if isinstance(value, Row):
        raise Untraceable("it asks whether a row is true")
    if value.kind in ("bool", "npbool"):
        return value.data
    if value.kind == "str":
        return text.lengths(value) > 0
    return value.data != 0


# ---------------------------------------------------------------- operators

_NUMPY: dict[str, Any] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.true_divide, "//": np.floor_divide, "%": np.remainder, "**": np.power,
    "&": np.bitwise_and, "|": np.bitwise_or, "^": np.bitwise_xor, ">>": np.right_shift,
}  # fmt: skip
_PYTHON: dict[str, Any] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv, "%": operator.mod,
    "**": operator.pow, "&": operator.and_, "|": operator.or_, "^": operator.xor, ">>": operator.rshift,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert}
_INT_MAX = 2**63 - 1


def arithmetic(sign: str, left: Any, right: Any) -> Value:
    if isinstance(left, Row) or isinstance(right, Row):
        raise Untraceable("it calculates with a whole row")
    if isinstance(left, Const) and isinstance(right, Const):
        try:
            return Const(_PYTHON[sign](left.value, right.value))
        except Exception as error:
            raise Untraceable(f"it raises {type(error).__name__}") from error
    kinds = type_name(left), type_name(right)
    if kinds == ("str", "str") and sign == "+":
        return text.concat([left, right])
    if not all(kind in ("int", "float", "bool", "npint", "npfloat", "npbool") for kind in kinds):
        raise Untraceable(f"it combines {kinds[0]} and {kinds[1]}")
    is_numpy = any(kind.startswith("np") for kind in kinds)
    if sign in "&|^" and kinds[0] == kinds[1] and kinds[0] in ("bool", "npbool"):
        return Vec(kinds[0], _NUMPY[sign](_raw(left), _raw(right)))
    if "npbool" in kinds:
        raise Untraceable("it calculates with a NumPy bool")
    has_float = any(kind in ("float", "npfloat") for kind in kinds)
    if has_float:
        return Vec("npfloat" if is_numpy else "float", _float_arithmetic(sign, left, right, kinds, is_numpy))
    if sign == "/":
        _check_exact(left)
        _check_exact(right)
        return Vec("npfloat" if is_numpy else "float", _float_arithmetic(sign, left, right, kinds, is_numpy))
    return Vec("npint" if is_numpy else "int", _int_arithmetic(sign, left, right))


def _raw(value: Any) -> Any:
    return value.value if isinstance(value, Const) else value.data


def _bounds(value: Any) -> tuple[int, int]:
    if isinstance(value, Const):
        return int(value.value), int(value.value)
    return int(value.data.min()), int(value.data.max())


def _check_exact(value: Any) -> None:
    """Integers that a float holds exactly."""
    if type_name(value) in ("int", "npint"):
        low, high = _bounds(value)
        if low < -(2**53) or high > 2**53:
            raise Untraceable("an integer is too large for a float")


def _floats(value: Any, kind: str) -> Any:
    if kind in ("int", "npint"):
        _check_exact(value)
    return float(value.value) if isinstance(value, Const) else value.data.astype(np.float64, copy=False)


def _float_arithmetic(sign: str, left: Any, right: Any, kinds: tuple[str, str], is_numpy: bool) -> Any:
    a, b = _floats(left, kinds[0]), _floats(right, kinds[1])
    if sign in ("/", "//", "%") and bool(np.any(b == 0)):
        raise Untraceable("it divides by zero")
    if sign in ("&", "|", "^", ">>"):
        raise Untraceable("it combines the bits of floats")
    if sign == "**":
        return _float_power(a, b, right)
    # What NumPy's numbers warn of, the function itself must do.
    try:
        with np.errstate(all="raise" if is_numpy else "ignore", under="ignore"):
            return _NUMPY[sign](a, b)
    except FloatingPointError as error:
        raise Untraceable(f"NumPy warns: {error}") from None


def _float_power(a: Any, b: Any, exponent: Any) -> Any:
    if not isinstance(exponent, Const) or not isinstance(a, np.ndarray) or not -8 <= b <= 8:
        raise Untraceable("it raises to a power that is not constant")
    if (b != int(b) and bool((a < 0).any())) or (b < 0 and bool((a == 0).any())):
        raise Untraceable("a power is not real")
    if not _power_is_exact(b):
        raise Untraceable("NumPy's power has other last digits than Python's")
    result = np.float_power(a, b)
    if bool((np.isinf(result) & np.isfinite(a)).any()):
        raise Untraceable("a power is too large")
    return result


_exact_powers: dict[float, bool] = {}


def _power_is_exact(exponent: float) -> bool:
    """Whether NumPy gives for many numbers exactly what Python gives; that depends on the processor."""
    if exponent not in _exact_powers:
        numbers = np.abs(np.random.default_rng(0).standard_normal(20_000)) * np.logspace(-3, 3, 20_000) + 1e-6
        _exact_powers[exponent] = np.float_power(numbers, exponent).tolist() == [x**exponent for x in numbers.tolist()]
    return _exact_powers[exponent]


def _int_arithmetic(sign: str, left: Any, right: Any) -> Any:
    (a_low, a_high), (b_low, b_high) = _bounds(left), _bounds(right)
    for bound in (a_low, a_high, b_low, b_high):
        if not -_INT_MAX <= bound <= _INT_MAX:
            raise Untraceable("an integer does not fit 64 bits")
    extremes: list[int] = []
    if sign == "+":
        extremes = [a_low + b_low, a_high + b_high]
    elif sign == "-":
        extremes = [a_low - b_high, a_high - b_low]
    elif sign == "*":
        extremes = [a_low * b_low, a_low * b_high, a_high * b_low, a_high * b_high]
    elif sign in ("//", "%"):
        if bool(np.any(_raw(right) == 0)):
            raise Untraceable("it divides by zero")
    elif sign == "**":
        if not isinstance(right, Const) or not 0 <= b_low <= 64:
            raise Untraceable("it raises to a power that is not constant")
        extremes = [abs(a_low) ** b_low, abs(a_high) ** b_low]
    elif sign == ">>" and not 0 <= b_low <= b_high < 64:
        raise Untraceable("it shifts too far")
    if any(not -_INT_MAX <= value <= _INT_MAX for value in extremes):
        raise Untraceable("an integer may not fit 64 bits")
    a, b = _as_int(left), _as_int(right)
    return _NUMPY[sign](a, b)


def _as_int(value: Any) -> Any:
    return np.int64(value.value) if isinstance(value, Const) else value.data.astype(np.int64, copy=False)


def unary(op: ast.unaryop, value: Any) -> Value:
    if isinstance(value, Const):
        try:
            return Const(_UNARY[type(op)](value.value))
        except Exception as error:
            raise Untraceable(f"it raises {type(error).__name__}") from error
    if isinstance(value, Row) or value.kind not in ("int", "float", "npint", "npfloat"):
        raise Untraceable("it negates what is not a number")
    if isinstance(op, ast.USub):
        if value.kind in ("int", "npint") and _bounds(value)[0] < -_INT_MAX:
            raise Untraceable("an integer does not fit 64 bits")
        return Vec(value.kind, -value.data)
    if isinstance(op, ast.UAdd):
        return value
    if value.kind in ("int", "npint"):
        return Vec(value.kind, ~value.data)
    raise Untraceable("it inverts what is not an integer")


def comparison(op: ast.cmpop, left: Any, right: Any) -> Value:
    if isinstance(left, Row) or isinstance(right, Row):
        raise Untraceable("it compares a whole row")
    if isinstance(op, (ast.Is, ast.IsNot)):
        if not (isinstance(right, Const) and right.value is None):
            raise Untraceable("it compares identities")
        is_none = isinstance(left, Const) and left.value is None
        return Const(is_none is isinstance(op, ast.Is))
    function = _COMPARE.get(type(op))
    if function is None:
        raise Untraceable("it compares in a way that is not known here")
    if isinstance(left, Const) and isinstance(right, Const):
        try:
            return Const(function(left.value, right.value))
        except Exception as error:
            raise Untraceable(f"it raises {type(error).__name__}") from error
    kinds = type_name(left), type_name(right)
    numbers = ("int", "float", "bool", "npint", "npfloat", "npbool")
    if all(kind in numbers for kind in kinds):
        if any(kind in ("float", "npfloat") for kind in kinds):
            a, b = _floats(left, kinds[0]), _floats(right, kinds[1])
        else:
            a, b = _raw(left), _raw(right)
            if any(isinstance(side, Const) and not is_exact_int(side.value) for side in (left, right)):
                raise Untraceable("an integer does not fit 64 bits")
        return Vec("npbool" if any(kind.startswith("np") for kind in kinds) else "bool", function(a, b))
    if kinds == ("str", "str"):
        return text.compare(function.__name__, left, right)
    if isinstance(op, (ast.Eq, ast.NotEq)) and all(kind in (*numbers, "str", "NoneType") for kind in kinds) and not any(k.startswith("np") for k in kinds):  # fmt: skip
        return Const(isinstance(op, ast.NotEq))
    raise Untraceable(f"it compares {kinds[0]} and {kinds[1]}")


def is_in(value: Any, container: Any, *, negate: bool) -> Value:
    if isinstance(value, Const):
        try:
            return Const((value.value in container) is not negate)
        except TypeError as error:
            raise Untraceable("it raises TypeError") from error
    items = list(container)
    wanted = {"str": str, "int": int, "npint": int}.get(value.kind)
    if wanted is None or not all(type(item) in (str, int, type(None)) for item in items):
        raise Untraceable("it looks for something in a container of several types")
    own: list[Any] = [item for item in items if type(item) is wanted]
    if wanted is str:
        found = text.is_in(value, own)
    else:
        if not all(is_exact_int(item) for item in own):
            raise Untraceable("an integer does not fit 64 bits")
        found = np.isin(value.data, np.array(own, dtype=np.int64))
    return Vec("bool", ~found if negate else found)
