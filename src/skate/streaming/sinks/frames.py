"""A data frame of the results: of `skate.pandas` where it is installed, of pandas otherwise. The rows are part of snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from skate.streaming.sinks.memory import ListSink


class FrameSink(ListSink):
    kind = "data frame"

    def combine(self, results: Sequence[Any]) -> Any:
        try:
            pandas: Any = import_module("skate.pandas")
        except ImportError:
            try:
                pandas = import_module("pandas")
            except ImportError as error:
                raise ImportError("to_pandas needs pandas: pip install 'skate[pandas]'") from error
        rows = super().combine(results)
        columns = list(rows[0]._fields) if rows and hasattr(rows[0], "_fields") else None
        return pandas.DataFrame(rows, columns=columns)
