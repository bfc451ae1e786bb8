"""Whether a function may be called more than once, in another order and in another process, without anybody noticing.

`impurity(func)` reads the function's tree and says what speaks against it, or "" if nothing does. It errs on the side of no: what it does
not know (a method of a class that is not pandas', NumPy's or Python's own, a global list that the function changes, `print`, random
numbers, the time of day) keeps a function in this process, in order, once for each element, as pandas would call it.
The elements that it is called with are numbers, strings, booleans, times, rows, or groups.
"""

from __future__ import annotations

import ast
import builtins
import datetime
import decimal
import fractions
import functools
import re
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from skate.pandas.plain import PlainFrame, PlainSeries
from skate.pandas.udf.source import UNKNOWN, Function, function_of

_BUILTINS = frozenset(
    getattr(builtins, name)
    for name in (
        "abs", "all", "any", "ascii", "bin", "bool", "bytes", "callable", "chr", "complex", "dict", "divmod", "enumerate", "filter", "float",
        "format", "hex", "int", "isinstance", "issubclass", "iter", "len", "list", "map", "max", "min", "next", "oct", "ord", "pow", "range",
        "repr", "reversed", "round", "slice", "sorted", "str", "sum", "tuple", "type", "zip",
    )
)  # fmt: skip
_MODULES = frozenset({
    "math", "cmath", "re", "string", "unicodedata", "statistics", "itertools", "textwrap", "zlib", "binascii", "base64", "difflib", "bisect",
    "html", "urllib.parse", "fractions", "decimal", "datetime", "calendar", "colorsys", "collections", "json", "hashlib", "struct", "operator",
    "ipaddress", "keyword", "numbers", "fnmatch", "posixpath",
})  # fmt: skip
# What in those modules depends on more than its arguments, or changes them.
_NOT = frozenset({
    "now", "utcnow", "today", "setcontext", "getcontext", "localcontext", "dump", "load", "setitem", "delitem", "insort", "insort_left",
    "insort_right", "iadd", "iconcat", "imul", "ior", "iand", "isub", "ixor", "setfirstweekday", "purge", "tee", "seterr", "save",
    "savetxt", "savez", "savez_compressed", "fromfile", "genfromtxt", "loadtxt", "memmap", "copyto", "put", "place", "putmask",
    "fill_diagonal", "put_along_axis", "set_printoptions", "setbufsize", "seterrcall", "errstate", "realpath", "exists", "abspath",
    "isfile", "isdir", "getsize", "getmtime", "expanduser", "expandvars", "file_digest",
})  # fmt: skip
_PANDAS = frozenset({
    "isna", "isnull", "notna", "notnull", "to_datetime", "to_numeric", "to_timedelta", "Timestamp", "Timedelta", "Series", "DataFrame", "concat",
    "cut", "qcut", "NA", "NaT", "Index", "Interval", "Period", "date_range",
})  # fmt: skip
_TYPES = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, fractions.Fraction, re.Pattern, np.generic,
          int, float, complex, str, bytes, bool, type(None), type(Ellipsis), datetime.timezone, range, slice)  # fmt: skip
_METHODS = frozenset({
    # str, bytes
    "capitalize", "casefold", "center", "count", "encode", "decode", "endswith", "expandtabs", "find", "format", "format_map", "index",
    "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle",
    "isupper", "join", "ljust", "lower", "lstrip", "maketrans", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex",
    "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "translate", "upper",
    "zfill", "hex", "fromhex",
    # numbers
    "bit_length", "bit_count", "is_integer", "conjugate", "as_integer_ratio", "item", "to_bytes", "quantize",
    # dict, list, set: reading
    "get", "items", "keys", "values", "copy", "union", "intersection", "difference", "issubset", "issuperset", "isdisjoint",
    "symmetric_difference", "most_common", "elements", "total",
    # regular expressions
    "match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "group", "groups", "groupdict", "start", "end", "span",
    # times
    "year", "date", "time", "timetuple", "weekday", "isoweekday", "isocalendar", "isoformat", "strftime", "timestamp", "total_seconds",
    "astimezone", "tz_localize", "tz_convert", "normalize", "floor", "ceil", "round", "to_pydatetime", "to_datetime64", "to_period", "toordinal",
    "day_name", "month_name", "utctimetuple", "utcoffset", "date_range",
    # arrays, series, frames: reading
    "sum", "mean", "std", "var", "sem", "min", "max", "median", "quantile", "prod", "abs", "any", "all", "nunique", "unique", "first", "last",
    "head", "tail", "nlargest", "nsmallest", "cumsum", "cumprod", "cummax", "cummin", "diff", "shift", "pct_change", "rank", "clip", "idxmax",
    "idxmin", "argmax", "argmin", "fillna", "isna", "isnull", "notna", "notnull", "dropna", "astype", "tolist", "to_list", "to_numpy",
    "to_dict", "value_counts", "mode", "skew", "kurt", "sort_values", "sort_index", "reset_index", "set_index", "drop", "drop_duplicates",
    "duplicated", "isin", "between", "where", "mask", "rename", "assign", "agg", "aggregate", "rolling", "expanding", "ewm", "size", "iterrows",
    "itertuples", "corr", "cov", "dot", "describe", "ffill", "bfill", "interpolate", "nth", "groupby", "reshape", "ravel", "flatten",
    "transpose", "searchsorted", "argsort", "ptp", "cat", "contains", "extract", "len", "add", "mul", "div", "squeeze", "to_frame",
    "combine_first", "merge", "pivot_table", "melt", "autocorr", "nonzero", "eq", "ne", "lt", "le", "gt", "ge", "truediv", "floordiv",
    "mod", "multiply", "divide", "subtract", "count_nonzero", "filter", "reindex", "loc", "iloc", "apply", "map", "transform",
})  # fmt: skip
_MUTATORS = frozenset({
    "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "add", "discard", "update", "setdefault", "popitem", "appendleft",
    "popleft", "extendleft", "rotate", "subtract", "difference_update", "intersection_update",
})  # fmt: skip
_MAKERS = frozenset({list, dict, set, tuple, sorted, str, int, float, bool, complex, bytes, bytearray, len, sum, abs, round, zip, range, enumerate, map, filter})  # fmt: skip
_READERS = frozenset({
    len, sum, min, max, any, all, sorted, enumerate, zip, range, list, tuple, dict, map, filter, isinstance, reversed, iter, bool
})  # fmt: skip
_CONTAINER_ITEMS_MAX = 100_000

_ALLOWED = (
    ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.JoinedStr, ast.FormattedValue, ast.Subscript, ast.Slice,
    ast.Tuple, ast.List, ast.Dict, ast.ListComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.Starred, ast.NamedExpr, ast.Return,
    ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.For, ast.While, ast.Break, ast.Continue, ast.Pass, ast.Expr, ast.Try, ast.ExceptHandler,
    ast.Raise, ast.Assert, ast.keyword, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context, ast.arguments, ast.arg, ast.Lambda,
    ast.FunctionDef, ast.Import, ast.ImportFrom, ast.alias, ast.Name, ast.Attribute, ast.Call, ast.Set, ast.SetComp,
)  # fmt: skip


class _Impure(Exception):
    """The reason, in words for a report."""


def impurity(func: Any, *, rows: bool = False) -> str:
    """Why the function can't be called elsewhere or again; "" if it can.

    Args:
        rows: It is called with rows or groups, which it could change.
    """
    try:
        _callable(func, frozenset(), is_rows=rows)
    except _Impure as why:
        return str(why)
    except RecursionError:
        return "it is nested too deeply to be read"
    return ""


def _callable(func: Any, seen: frozenset[int], *, is_rows: bool = False) -> None:
    """Raise _Impure unless calling `func` is pure."""
    if id(func) in seen:
        return
    seen = seen | {id(func)}
    if isinstance(func, functools.partial):
        _callable(func.func, seen, is_rows=is_rows)
        for value in (*func.args, *func.keywords.values()):
            if not _is_constant(value):
                raise _Impure(f"functools.partial holds a {type(value).__name__}, which may change")
        return
    wrapped = getattr(func, "__wrapped__", None)
    if wrapped is not None and type(func).__name__ == "_lru_cache_wrapper":
        _callable(wrapped, seen, is_rows=is_rows)
        return
    if isinstance(func, types.FunctionType) and not _is_library(func):
        function = function_of(func)
        if function is None:
            raise _Impure(f"the source of {func.__qualname__} can't be found, so nobody can tell whether it has side effects")
        _Reader(function, seen, is_rows).read()
        return
    if not _is_known(func):
        raise _Impure(f"nobody can tell whether {getattr(func, '__qualname__', type(func).__name__)} has side effects")


def _is_library(func: Any) -> bool:
    root = (getattr(func, "__module__", None) or "").partition(".")[0]
    return root in ("numpy", "pandas") or (getattr(func, "__module__", None) or "") in _MODULES or root == "skate"


def _is_known(func: Any) -> bool:
    """A function or class of the libraries that is known to be pure."""
    try:
        if func in _BUILTINS:
            return True
    except TypeError:
        return False
    if isinstance(func, np.ufunc):
        return True
    if isinstance(func, type) and issubclass(func, (*_TYPES, BaseException)):
        known = ("builtins", "datetime", "decimal", "fractions", "numpy")
        return func.__module__ in known or issubclass(func, Exception) or func in (pd.Timestamp, pd.Timedelta)
    if isinstance(func, type) and func.__module__ == "collections":
        return True
    if isinstance(func, type) and issubclass(func, tuple) and hasattr(func, "_fields"):
        return func.__init__ is tuple.__init__  # A named tuple.
    name = getattr(func, "__name__", "")
    owner = getattr(func, "__self__", None)
    if (
        isinstance(func, (types.BuiltinMethodType, types.MethodType))
        and owner is not None
        and not isinstance(owner, types.ModuleType)
    ):
        # A method of an object that the function holds: PATTERN.match, str.upper, "…".format, datetime.strptime.
        if name in _NOT or name in _MUTATORS:
            return False
        return isinstance(owner, _TYPES) or (isinstance(owner, type) and issubclass(owner, _TYPES)) or owner in (dict, list)
    if isinstance(func, types.MethodDescriptorType):
        return name in _METHODS
    module = getattr(func, "__module__", None) or ""
    if name in _NOT or name.startswith("_"):
        return False
    if module in _MODULES or module in ("_operator", "_bisect", "_struct", "_json", "_hashlib", "_statistics", "_functools"):
        return True
    root = module.partition(".")[0]
    if root == "numpy":
        return not module.startswith("numpy.random") and not module.startswith("numpy.testing")
    if root == "pandas" or module.startswith("skate.pandas"):
        return name in _PANDAS
    return func is functools.reduce or func is str.maketrans


def _is_constant(value: Any, depth: int = 0) -> bool:
    """Nothing that anybody can change."""
    if isinstance(value, (tuple, frozenset)):
        return depth < 4 and len(value) <= _CONTAINER_ITEMS_MAX and all(_is_constant(item, depth + 1) for item in value)
    return type(value) in _TYPES or isinstance(value, (np.generic, re.Pattern, datetime.tzinfo)) or value is pd.NA or value is pd.NaT or isinstance(value, (pd.Timestamp, pd.Timedelta))  # fmt: skip


def _is_readable(value: Any, depth: int = 0) -> bool:
    """Python's own containers of constants, or an array: what a function may read if it does not change it."""
    if isinstance(value, np.ndarray):
        return value.dtype != object
    if isinstance(value, (PlainSeries, PlainFrame)):
        return True
    if type(value).__module__ not in ("builtins", "collections") or depth > 3:
        return False
    if isinstance(value, dict):
        if len(value) > _CONTAINER_ITEMS_MAX or (hasattr(value, "__missing__") and type(value).__name__ != "Counter"):
            return False
        return all(_is_constant(key) and (_is_constant(item) or _is_readable(item, depth + 1)) for key, item in value.items())
    if isinstance(value, (list, set, tuple)):
        return len(value) <= _CONTAINER_ITEMS_MAX and all(_is_constant(item) or _is_readable(item, depth + 1) for item in value)
    return False


class _Reader:
    """Reads one function."""

    def __init__(self, function: Function, seen: frozenset[int], is_rows: bool) -> None:
        self.function = function
        self.seen = seen
        self.is_rows = is_rows
        self.parents: dict[ast.AST, ast.AST] = {}
        self.bindings: dict[str, list[ast.AST | None]] = {}  # None: bound to something that is not made here.
        self.local_functions: set[str] = set()
        self.imported: dict[str, Any] = {}
        self.holds_mutable = False

    def read(self) -> None:
        body = self.function.body
        for statement in body:
            for parent in ast.walk(statement):
                for child in ast.iter_child_nodes(parent):
                    self.parents[child] = parent
        for name in self.function.params:
            self.bindings[name] = [None]
        nodes = [node for statement in body for node in ast.walk(statement)]
        for node in nodes:
            self._bind(node)
        for default in (*self.function.node.args.defaults, *self.function.node.args.kw_defaults):
            if default is not None and not isinstance(default, ast.Constant):
                # The parameter is not made here, so it can't be changed; it may be read.
                continue
        for node in nodes:
            if not isinstance(node, _ALLOWED):
                raise _Impure(f"it uses `{type(node).__name__.lower()}`, which may have side effects")
            self._check(node)

    # ------------------------------------------------------------- names

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind_target(target, node.value)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            self._bind_target(node.target, node.value)
        elif isinstance(node, (ast.For, ast.comprehension)):
            self._bind_target(node.target, None)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            self.bindings.setdefault(node.name, []).append(None)
        elif isinstance(node, ast.FunctionDef):
            self.local_functions.add(node.name)
            self.bindings.setdefault(node.name, []).append(None)
            self._bind_parameters(node.args)
            if node.decorator_list:
                raise _Impure("it defines a decorated function")
        elif isinstance(node, ast.Lambda):
            self._bind_parameters(node.args)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self._bind_import(node)

    def _bind_parameters(self, arguments: ast.arguments) -> None:
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
            if argument is not None:
                self.bindings.setdefault(argument.arg, []).append(None)

    def _bind_target(self, target: ast.AST, value: ast.AST | None) -> None:
        if isinstance(target, ast.Name):
            self.bindings.setdefault(target.id, []).append(value)
            if isinstance(value, ast.Lambda):
                self.local_functions.add(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = value.elts if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts) else None
            for place, element in enumerate(target.elts):
                self._bind_target(element, values[place] if values is not None else None)
        elif isinstance(target, ast.Starred):
            self._bind_target(target.value, None)

    def _bind_import(self, node: ast.Import | ast.ImportFrom) -> None:
        import importlib

        if isinstance(node, ast.ImportFrom):
            if node.level or node.module not in _MODULES | {"numpy", "functools"}:
                raise _Impure(f"it imports {node.module}")
            for alias in node.names:
                self.imported[alias.asname or alias.name] = getattr(importlib.import_module(node.module), alias.name, UNKNOWN)
            return
        for alias in node.names:
            if alias.name not in _MODULES | {"numpy", "functools"}:
                raise _Impure(f"it imports {alias.name}")
            module = importlib.import_module(alias.name)
            self.imported[alias.asname or alias.name.partition(".")[0]] = module

    def _resolve(self, name: str) -> Any:
        return self.imported[name] if name in self.imported else self.function.lookup(name)

    def _static(self, node: ast.AST) -> Any:
        """What a name or a dotted name outside the function stands for; UNKNOWN if it depends on values."""
        if isinstance(node, ast.Name):
            return UNKNOWN if node.id in self.bindings else self._resolve(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._static(node.value)
            if isinstance(owner, (types.ModuleType, type)):
                return getattr(owner, node.attr, UNKNOWN)
            if owner is not UNKNOWN and isinstance(owner, _TYPES):
                return getattr(owner, node.attr, UNKNOWN)
        return UNKNOWN

    def _is_fresh(self, node: ast.AST, depth: int = 0) -> bool:
        """Whether the value was made by this call, so that nobody else can see it change."""
        if depth > 5:
            return False
        if isinstance(
            node, (ast.Constant, ast.JoinedStr, ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp, ast.Compare)
        ):
            return True
        if isinstance(node, ast.BinOp):
            return True
        if isinstance(node, ast.UnaryOp):
            return True
        if isinstance(node, ast.Call):
            target = self._static(node.func)
            try:
                if target in _MAKERS or (isinstance(target, type) and target.__module__ in ("collections", "builtins")):
                    return True
            except TypeError:
                return False
            if getattr(target, "__module__", "") in ("numpy", "math") and getattr(target, "__name__", "") not in (
                "asarray",
                "asanyarray",
            ):
                return getattr(target, "__name__", "") in ("zeros", "ones", "array", "arange", "empty", "full", "linspace", "sort", "zeros_like") or getattr(target, "__module__", "") == "math"  # fmt: skip
            return isinstance(node.func, ast.Attribute) and node.func.attr in ("split", "rsplit", "splitlines", "findall", "lower", "upper", "strip", "replace", "copy", "tolist", "to_list", "partition")  # fmt: skip
        if isinstance(node, ast.IfExp):
            return self._is_fresh(node.body, depth + 1) and self._is_fresh(node.orelse, depth + 1)
        if isinstance(node, ast.Name):
            bound = self.bindings.get(node.id)
            if bound is None:
                return False
            return all(
                value is not None and (self._is_own(value, node.id) or self._is_fresh(value, depth + 1)) for value in bound
            )
        return False

    def _is_own(self, value: ast.AST, name: str) -> bool:
        return isinstance(value, ast.Name) and value.id == name

    # ------------------------------------------------------------- nodes

    def _check(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            self._check_name(node)
        elif isinstance(node, ast.Attribute):
            if not isinstance(node.ctx, ast.Load):
                raise _Impure(f"it sets the attribute {node.attr}")
            if node.attr.startswith("_"):
                raise _Impure(f"it uses {node.attr}")
        elif isinstance(node, ast.Call):
            self._check_call(node)
        elif isinstance(node, (ast.Set, ast.SetComp)):
            self._check_set(node)
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            if not (isinstance(node.value, ast.Name) and self._is_fresh(node.value)):
                raise _Impure(f"it changes an item of `{ast.unparse(node.value)}`, which it did not make itself")
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            bound = self.bindings.get(name, [None])
            is_parameter = bound == [None] and name in self.function.params and not self.is_rows
            if not is_parameter and not all(value is not None and self._is_fresh(value) for value in bound):
                # The number that a loop gives can't be told from a list that it gives.
                raise _Impure(f"`{name} {_sign(node.op)}= …` may change what `{name}` stands for elsewhere")

    def _check_name(self, node: ast.Name) -> None:
        if node.id in self.bindings:
            return
        value = self._resolve(node.id)
        parent = self.parents.get(node)
        if value is UNKNOWN:
            return  # A NameError, which comes here as it would in pandas.
        if isinstance(value, types.ModuleType):
            if isinstance(parent, ast.Attribute):
                self._check_static(parent)
                return
            raise _Impure(f"it hands on the module {node.id}")
        if isinstance(value, type):
            if isinstance(parent, ast.Attribute):
                self._check_static(parent)
            return  # As in isinstance(x, str); a call of it is checked as a call.
        if callable(value):
            _callable(value, self.seen)
            return
        if _is_constant(value):
            return
        if not _is_readable(value):
            raise _Impure(f"`{node.id}` is a {type(value).__name__}, which may change")
        self.holds_mutable = True
        if not self._is_read(node, parent, is_set=isinstance(value, (set, frozenset))):
            raise _Impure(f"`{node.id}` is a {type(value).__name__} that it might change or hand on")

    def _check_static(self, node: ast.Attribute) -> None:
        """A dotted name that begins with a module or class: what it ends at must be constant or pure."""
        while True:
            value = self._static(node)
            parent = self.parents.get(node)
            if isinstance(value, (types.ModuleType, type)) and isinstance(parent, ast.Attribute):
                node = parent
                continue
            break
        if value is UNKNOWN or isinstance(value, types.ModuleType):
            raise _Impure(f"nobody can tell what `{ast.unparse(node)}` does")
        if isinstance(value, type):
            if isinstance(parent, ast.Call) and parent.func is node and not _is_known(value):
                raise _Impure(f"nobody can tell whether {ast.unparse(node)} has side effects")
            return
        if callable(value):
            _callable(value, self.seen)
        elif not _is_constant(value):
            raise _Impure(f"`{ast.unparse(node)}` may change")

    def _is_read(self, node: ast.AST, parent: ast.AST | None, *, is_set: bool) -> bool:
        """Whether a container that is not the function's own is only looked into."""
        if isinstance(parent, ast.Compare):
            return True
        if is_set:
            return isinstance(parent, ast.Call) and self._static(parent.func) in (len, sorted)
        if isinstance(parent, ast.Subscript) and parent.value is node:
            return isinstance(parent.ctx, ast.Load)
        if isinstance(parent, ast.Attribute):
            grand = self.parents.get(parent)
            return isinstance(grand, ast.Call) and grand.func is parent and parent.attr in _METHODS
        if isinstance(parent, ast.Call) and node in parent.args:
            target = self._static(parent.func)
            return target is not UNKNOWN and (isinstance(target, np.ufunc) or _in(target, _READERS) or getattr(target, "__module__", "") in ("bisect", "_bisect", "math", "statistics"))  # fmt: skip
        return isinstance(parent, (ast.For, ast.comprehension)) and parent.iter is node

    def _check_set(self, node: ast.AST) -> None:
        """The order of a set's items is another one in another process."""
        parent = self.parents.get(node)
        while isinstance(parent, ast.BinOp):
            node, parent = parent, self.parents.get(parent)
        if isinstance(parent, ast.Compare):
            return
        if isinstance(parent, ast.Call) and self._static(parent.func) in (len, sorted, bool, min, max):
            return
        raise _Impure("the order of a set is another one in another process")

    def _check_call(self, node: ast.Call) -> None:
        if any(keyword.arg in ("inplace", "out", "random_state") for keyword in node.keywords):
            raise _Impure("it works in place")
        if any(keyword.arg is None for keyword in node.keywords):
            raise _Impure("it passes ** arguments")
        func = node.func
        if isinstance(func, ast.Name):
            if func.id in self.bindings:
                if func.id not in self.local_functions or len(self.bindings[func.id]) != 1:
                    raise _Impure(f"nobody can tell what `{func.id}` is when it is called")
                return
            value = self._resolve(func.id)
            if value is set or value is frozenset:
                self._check_set(node)
            elif value is type and len(node.args) != 1:
                raise _Impure("it makes a class")
            elif value is not UNKNOWN:
                _callable(value, self.seen)
            return
        if isinstance(func, ast.Attribute):
            target = self._static(func)
            if target is not UNKNOWN:
                _callable(target, self.seen)
                return
            root: ast.AST = func
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and isinstance(self._static(root), types.ModuleType):
                raise _Impure(f"nobody can tell whether {ast.unparse(func)} has side effects")
            if func.attr in _MUTATORS and func.attr not in _METHODS:
                if isinstance(func.value, ast.Name) and self._is_fresh(func.value):
                    return
                raise _Impure(f"`{ast.unparse(func)}` changes what it did not make itself")
            if func.attr in ("subtract", "add", "update") and func.attr in _MUTATORS and not isinstance(func.value, ast.Name):
                raise _Impure(f"`{ast.unparse(func)}` may change what it did not make itself")
            if func.attr in _MUTATORS and isinstance(func.value, ast.Name) and not self._is_fresh(func.value):
                raise _Impure(f"`{ast.unparse(func)}` may change what it did not make itself")
            if func.attr not in _METHODS:
                raise _Impure(f"nobody can tell whether the method {func.attr} has side effects")
            return
        if isinstance(func, ast.Lambda):
            return
        raise _Impure(f"nobody can tell what `{ast.unparse(func)}` does")


def _in(value: Any, known: frozenset[Any]) -> bool:
    try:
        return value in known
    except TypeError:
        return False


def _sign(op: ast.operator) -> str:
    return {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}.get(type(op), "…")


def loads(function: Function) -> Iterator[ast.Name]:
    """Names that the function reads."""
    for statement in function.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                yield node
