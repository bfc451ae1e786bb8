"""pandas' warnings name the first line outside pandas: the user's. Our methods stand between the two, so they must count as pandas."""

from __future__ import annotations

import os
import types
from typing import Any

import pandas

MARK = "<skate>"
_FOLDER = os.path.join(os.path.dirname(pandas.__file__), MARK)


def counts_as_pandas(cls: Any) -> Any:
    """The class or function, with its code said to stand in a folder of pandas (where pandas' `find_stack_level` goes on upwards)."""
    if isinstance(cls, types.FunctionType):
        _move(cls)
        return cls
    for value in vars(cls).values():
        if isinstance(value, types.FunctionType):
            _move(value)
        elif isinstance(value, property):
            for function in (value.fget, value.fset):
                if isinstance(function, types.FunctionType):
                    _move(function)
    return cls


def _move(function: types.FunctionType) -> None:
    name = os.path.basename(function.__code__.co_filename)
    function.__code__ = function.__code__.replace(co_filename=os.path.join(_FOLDER, name))
