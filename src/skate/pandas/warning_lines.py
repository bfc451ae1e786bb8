"""pandas' warnings name the first line outside pandas: the user's. Our methods stand between the two, so they must count as pandas."""

from __future__ import annotations

import os
import types
import warnings
from typing import Any

import pandas
from pandas.compat import CHAINED_WARNING_DISABLED
from pandas.compat._constants import REF_COUNT, REF_COUNT_METHOD
from pandas.core.common import is_local_in_caller_frame, is_setitem_syntax_in_caller_frame
from pandas.errors.cow import _chained_assignment_method_msg, _chained_assignment_msg

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


# pandas warns of chained assignment (`df["a"][0] = 1`, `df["a"].fillna(0, inplace=True)`) by how often the object is referred to and whether its
# caller has a name for it. Our override refers to it once more, so that pandas is silent there and the override has to look, as pandas would.
CHAINED_ITEM = -1 if CHAINED_WARNING_DISABLED else REF_COUNT
CHAINED_METHOD = -1 if CHAINED_WARNING_DISABLED else REF_COUNT_METHOD


def warn_of_chained_item() -> None:
    warnings.warn(_chained_assignment_msg, pandas.errors.ChainedAssignmentError, stacklevel=3)


def warn_of_chained_method() -> None:
    warnings.warn(_chained_assignment_method_msg, pandas.errors.ChainedAssignmentError, stacklevel=3)


__all__ = [
    "CHAINED_ITEM", "CHAINED_METHOD", "counts_as_pandas", "is_local_in_caller_frame", "is_setitem_syntax_in_caller_frame", "warn_of_chained_item",
    "warn_of_chained_method",
]  # fmt: skip
