"""map_batches: a function of a list of records gives a list of records (any length); for NumPy, models, bulk look-ups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.operators.base import FAIL, Emit, Operator, name_of


class MapBatches(Operator):
    kind = "map_batches"

    def __init__(self, function: Callable[[list[Any]], Sequence[Any]]) -> None:
        super().__init__()
        self.function = function
        self.label = name_of(function)

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        try:
            values = list(self.function(batch.values))
        except Exception as error:
            if self.on_error == FAIL or len(batch) == 1:
                self.fault(error, batch.values[0] if len(batch) == 1 else batch.values, batch, 0, emit)
                return
            for index, value in enumerate(batch.values):  # Find the records that raise: one at a time.
                time = None if batch.times is None else [batch.times[index]]
                self.process(Batch([value], time, None, f"{batch.origin}, record {index}"), emit)
            return
        if not values:
            return
        same = len(values) == len(batch.values)
        if batch.times is not None and not same:
            times = [max(batch.times)] * len(values)  # Not late for any of them.
        else:
            times = batch.times
        emit(Batch(values, times, batch.keys if same else None, batch.origin))
