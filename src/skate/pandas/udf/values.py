"""What stands for a Python value while a function is traced: a constant, or a column of values of one Python type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa


class Untraceable(Exception):
    """The function can't be traced, for the reason given: it must be called."""


@dataclass(frozen=True, slots=True)
class Const:
    """The same Python value for each row."""

    value: Any


@dataclass(frozen=True, slots=True)
class Vec:
    """A value for each row.

    Attributes:
        kind: Its type in Python: "int", "float", "bool", "str", or NumPy's "npint" (int64), "npfloat" (float64), "npbool".
        data: An array of int64, float64 or bool, or an Arrow array of large_string (with nulls only before a column is split by them).
    """

    kind: str
    data: Any

    def take(self, chosen: Any) -> Vec:
        if chosen is None:
            return self
        if self.kind == "str":
            return Vec("str", self.data.take(pa.array(chosen)))
        return Vec(self.kind, self.data[chosen])


Value = Const | Vec

_NAMES = {np.float64: "npfloat", np.int64: "npint", np.bool_: "npbool"}


def type_name(value: Any) -> str:
    """The kind of a value, constants included."""
    if isinstance(value, Vec):
        return value.kind
    if isinstance(value, Const):
        return _NAMES.get(type(value.value), type(value.value).__name__)
    return type(value).__name__


def is_exact_int(value: Any) -> bool:
    """A number that is an int64 without loss."""
    return not isinstance(value, (int, np.integer)) or -(2**63) <= int(value) < 2**63
