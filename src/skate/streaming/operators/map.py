"""map: one record for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.operators.base import Emit, Operator, name_of, without


class Map(Operator):
    kind = "map"

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.label = name_of(function)

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        results, failed = self.mapped(self.function, batch, emit)
        emit(Batch(results, without(batch.times, failed), without(batch.keys, failed), batch.origin))
