"""The syntax tree of a function that a user gave, checked against its bytecode, and what the names in it stand for.

A lambda's text is found by its line; several may stand there, and the file may have changed since it was imported. So each candidate is
compiled again, and only one whose code is that of the function counts. Functions without a file (typed into `python -c`, made by `exec`)
have no tree: they run as they are, in this process.
"""

from __future__ import annotations

import ast
import builtins
import functools
import linecache
import types
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_NAME = "_sk_function"
_FUTURES = 0x1FF0000  # The bits of co_flags that `from __future__` sets.
_found: weakref.WeakKeyDictionary[types.CodeType, Any] = weakref.WeakKeyDictionary()


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Any = _Unknown()  # A name that stands for nothing we can see.


@dataclass(frozen=True, slots=True)
class Function:
    """A Python function with its tree.

    Attributes:
        real: The function itself.
        node: Its Lambda or FunctionDef.
        params: Its positional parameters' names; there are no others.
    """

    real: types.FunctionType
    node: ast.Lambda | ast.FunctionDef
    params: tuple[str, ...]

    @property
    def body(self) -> list[ast.stmt]:
        if isinstance(self.node, ast.Lambda):
            return [ast.copy_location(ast.Return(self.node.body), self.node.body)]
        return self.node.body

    def lookup(self, name: str) -> Any:
        """What a name that is not local stands for now; UNKNOWN if nothing."""
        code = self.real.__code__
        if name in code.co_freevars and self.real.__closure__ is not None:
            try:
                return self.real.__closure__[code.co_freevars.index(name)].cell_contents
            except ValueError:
                return UNKNOWN
        if name in self.real.__globals__:
            return self.real.__globals__[name]
        return getattr(builtins, name, UNKNOWN)


def function_of(func: Any) -> Function | None:
    """The function with its tree, or None if it has none that is certainly its own."""
    if not isinstance(func, types.FunctionType):
        return None
    code = func.__code__
    if code.co_flags & 0x2A0 or code.co_kwonlyargcount or code.co_flags & 0x0C:
        return None  # Generators, coroutines, *args, **kwargs, keyword-only parameters.
    node = _found.get(code, UNKNOWN)
    if node is UNKNOWN:
        node = _search(code)
        _found[code] = node
    if node is None:
        return None
    return Function(func, node, code.co_varnames[: code.co_argcount])


def _search(code: types.CodeType) -> ast.Lambda | ast.FunctionDef | None:
    lines = linecache.getlines(code.co_filename)
    if not lines:
        return None
    by_line, imports = _functions_by_line("".join(lines))
    for node in by_line.get(code.co_firstlineno, ()):
        if _is_same(compiled(node, code, imports), code):
            return node
    return None


@functools.lru_cache(maxsize=32)
def _functions_by_line(text: str) -> tuple[dict[int, list[ast.Lambda | ast.FunctionDef]], list[ast.stmt]]:
    """Functions by the line where they begin, and the imports of the module, which decide how `math.sin()` is compiled."""
    found: dict[int, list[ast.Lambda | ast.FunctionDef]] = {}
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        # A cell of a notebook may hold magics; its lambdas stay unknown.
        return found, []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Lambda, ast.FunctionDef)):
            line = node.lineno
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                line = node.decorator_list[0].lineno
            found.setdefault(line, []).append(node)
    return found, list(_imports(tree))


def _imports(parent: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.Import) or (
            isinstance(node, ast.ImportFrom) and node.module != "__future__" and node.names[0].name != "*"
        ):
            yield node
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)):
            yield from _imports(node)


def compiled(node: ast.Lambda | ast.FunctionDef, like: types.CodeType, imports: Sequence[ast.stmt] = ()) -> types.CodeType | None:
    """The code of the node, with the free variables, the file and the futures of another code."""
    inner: ast.stmt
    if isinstance(node, ast.Lambda):
        inner = ast.Return(node)
    else:
        # Under another name: a function that calls itself means the global of its name.
        inner = _definition(_NAME, node.args, node.body, node.returns)
    arguments = ast.arguments([], [ast.arg(name) for name in like.co_freevars], None, [], [], None, [])
    outer = _definition("outer", arguments, [inner], None)
    module = ast.Module([*imports, outer], [])  # The imports are compiled and never executed.
    ast.copy_location(inner, node)
    ast.copy_location(outer, node)
    ast.fix_missing_locations(module)
    try:
        whole = compile(module, like.co_filename, "exec", like.co_flags & _FUTURES, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    wanted = "<lambda>" if isinstance(node, ast.Lambda) else _NAME
    (around,) = (constant for constant in whole.co_consts if isinstance(constant, types.CodeType))
    # The last one: a lambda that is a default stands before the function that it belongs to.
    found = [one for one in around.co_consts if isinstance(one, types.CodeType) and one.co_name == wanted]
    return found[-1].replace(co_name=like.co_name, co_qualname=like.co_qualname) if found else None


def _definition(name: str, arguments: ast.arguments, body: list[ast.stmt], returns: ast.expr | None) -> ast.FunctionDef:
    node = ast.FunctionDef(name, arguments, body, [], returns)
    if "type_params" in ast.FunctionDef._fields:  # Python 3.12
        setattr(node, "type_params", [])  # noqa: B010 (mypy reads the stubs of 3.11)
    return node


def _is_same(one: types.CodeType | None, other: types.CodeType) -> bool:
    if one is None or one.co_code != other.co_code or one.co_names != other.co_names or one.co_varnames != other.co_varnames:
        return False
    if one.co_freevars != other.co_freevars or one.co_cellvars != other.co_cellvars or len(one.co_consts) != len(other.co_consts):
        return False
    for a, b in zip(one.co_consts, other.co_consts, strict=True):
        if isinstance(a, types.CodeType) and isinstance(b, types.CodeType):
            if not _is_same(a, b):
                return False
        elif isinstance(a, frozenset) and isinstance(b, frozenset):
            if {repr(item) for item in a} != {repr(item) for item in b}:
                return False
        elif type(a) is not type(b) or repr(a) != repr(b):  # repr: 0.0 and -0.0, (1,) and (1.0,).
            return False
    return True
