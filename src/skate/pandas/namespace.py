"""The names of `pandas` as `skate.pandas` shows them: its classes replaced, its functions made to give back ours, the rest as it is."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.io.parsers import TextFileReader

from skate.pandas import lazy
from skate.pandas.csvscan import read_csv
from skate.pandas.frame import DataFrame
from skate.pandas.readers import read_parquet
from skate.pandas.series import Series
from skate.pandas.warning_lines import counts_as_pandas


def _merge(left: Any, right: Any, *args: Any, **kwargs: Any) -> Any:
    if type(left) in lazy.ours:
        return left.merge(right, *args, **kwargs)
    return lazy.adopt(_real_merge(left, right, *args, **kwargs))


_real_merge = pd.merge
_merge = counts_as_pandas(functools.wraps(pd.merge)(_merge))
REPLACED: dict[str, Any] = {
    "DataFrame": DataFrame,
    "Series": Series,
    "merge": _merge,
    "read_csv": read_csv,
    "read_parquet": read_parquet,
}


def get(name: str) -> Any:
    """What `skate.pandas.<name>` is.

    Raises:
        AttributeError: pandas has no such name.
    """
    if name in REPLACED:
        return REPLACED[name]
    try:
        value = getattr(pd, name)
    except AttributeError as error:
        raise AttributeError(f"module 'skate.pandas' has no attribute {name!r}, nor has pandas") from error
    if isinstance(value, types.FunctionType) and not name.startswith("_"):
        value = adopting(value)
        REPLACED[name] = value
    return value


def adopting(function: Any) -> Any:
    """The function, with frames and series among its results made ours."""

    if function is pd.eval:
        function = _one_level_up(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return adopt_reader(result)

    return counts_as_pandas(call)


def _one_level_up(function: Any) -> Any:
    """pd.eval looks for names in its caller's frame, which is ours."""

    @functools.wraps(function)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        kwargs["level"] = kwargs.get("level", 0) + 2
        return function(*args, **kwargs)

    return counts_as_pandas(evaluate)


class _ChunkReader(TextFileReader):
    """What read_csv(chunksize=…) gives: its chunks are ours, too."""

    def read(self, nrows: int | None = None) -> Any:
        return lazy.adopt(super().read(nrows))


def adopt_reader(read: Any) -> Any:
    """What a reader gave, as ours: a frame, or what gives frames one after another."""
    if not isinstance(read, TextFileReader):
        return lazy.adopt(read)
    if type(read) is TextFileReader:
        read.__class__ = _ChunkReader
    return read


class SubmoduleFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """`from skate.pandas.api.types import …` finds pandas' own submodule."""

    prefix = "skate.pandas."

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if not name.startswith(self.prefix):
            return None
        below = name[len(self.prefix) :]
        try:
            importlib.import_module(f"pandas.{below}")
        except ImportError:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: Any) -> Any:
        # A module of its own that hands names on: pandas' module must keep its own spec.
        module = types.ModuleType(spec.name)
        real = sys.modules["pandas." + spec.name[len(self.prefix) :]]
        module.__dict__.update({key: value for key, value in vars(real).items() if not key.startswith("__") or key == "__all__"})
        if hasattr(real, "__path__"):
            module.__path__ = []
        return module

    def exec_module(self, module: Any) -> None:
        return None


def add_submodule_finder() -> None:
    if not any(isinstance(finder, SubmoduleFinder) for finder in sys.meta_path):
        sys.meta_path.append(SubmoduleFinder())
