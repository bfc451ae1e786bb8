"""filter: the records for which a function is true."""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.operators.base import Emit, Operator, name_of, without


class Filter(Operator):
    kind = "filter"

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.label = name_of(function)

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        flags, failed = self.mapped(self.function, batch, emit)
        columns = [without(column, failed) for column in (batch.values, batch.times, batch.keys)]
        values, times, keys = [None if column is None else list(compress(column, flags)) for column in columns]
        if values:
            emit(Batch(values, times, keys, batch.origin))
