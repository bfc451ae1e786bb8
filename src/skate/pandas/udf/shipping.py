"""A user's function in a form that gives the same in another process: by value, with what its names stand for now.

A module that a worker imports anew would have the values that its text gives its names, not those that the program gave them since.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Iterator
from typing import Any

import skate
from skate.pandas.udf.purity import _is_library


def by_value(func: Any) -> Any:
    """The function, made again with copies of the functions that it calls, so that pickling takes none of them by name."""
    return _copy(func, {})


def _copy(value: Any, made: dict[int, Any]) -> Any:
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, functools.partial):
        return functools.partial(_copy(value.func, made), *value.args, **value.keywords)
    wrapped = getattr(value, "__wrapped__", None)
    if type(value).__name__ == "_lru_cache_wrapper" and wrapped is not None:
        return functools.lru_cache(maxsize=value.cache_parameters()["maxsize"])(_copy(wrapped, made))
    if not isinstance(value, types.FunctionType) or _is_library(value):
        return value
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    cells = tuple(types.CellType() for _ in value.__closure__ or ())
    copy = types.FunctionType(value.__code__, names, value.__name__, value.__defaults__, cells or None)
    copy.__kwdefaults__ = value.__kwdefaults__
    copy.__module__ = "__main__"
    copy.__qualname__ = f"<sent>.{value.__name__}"  # Nobody finds it by this name, so it is pickled by value.
    made[id(value)] = copy
    for name in _names(value.__code__):
        if name in value.__globals__:
            names[name] = _copy(value.__globals__[name], made)
    for cell, original in zip(cells, value.__closure__ or (), strict=True):
        try:
            cell.cell_contents = _copy(original.cell_contents, made)
        except ValueError:
            pass  # Not filled yet, as in the original.
    return copy


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def is_driver() -> bool:
    """Whether this process is a program, not a worker of one."""
    if not skate.is_initialized():
        return True
    context = skate.get_runtime_context()
    return context.get_task_id() is None and context.get_actor_id() is None


def processors() -> int:
    return len(os.sched_getaffinity(0))
