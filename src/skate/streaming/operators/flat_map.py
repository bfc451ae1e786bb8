"""flat_map: any number of records for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, repeat
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.operators.base import Emit, Operator, name_of, without


class FlatMap(Operator):
    kind = "flat_map"

    def __init__(self, function: Callable[[Any], Iterable[Any]]) -> None:
        super().__init__()
        self.function = function
        self.label = name_of(function)

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        if batch.times is None and batch.keys is None:
            values: list[Any] = []
            if self.function is not str.split or not _split_all(values, batch.values):
                self._extend(values, batch, emit)
            if values:
                emit(Batch(values, None, None, batch.origin))
            return
        lists, failed = self.mapped(self._listed, batch, emit)
        times, keys = without(batch.times, failed), without(batch.keys, failed)
        values = list(chain.from_iterable(lists))
        if values:
            emit(Batch(values, _repeated(times, lists), _repeated(keys, lists), batch.origin))

    def _extend(self, values: list[Any], batch: Batch, emit: Emit) -> None:
        function, extend, index = self.function, values.extend, 0
        records = iter(batch.values)
        while True:
            length = len(values)
            try:
                for record in records:
                    length = len(values)
                    extend(function(record))
                    index += 1
                return
            except Exception as error:
                del values[length:]  # A generator that raised half way gives nothing.
                self.fault(error, batch.values[index], batch, index, emit)
                index += 1

    def _listed(self, record: Any) -> list[Any]:
        return list(self.function(record))


def _split_all(words: list[Any], lines: list[Any]) -> bool:
    """`str.split` of all lines at once: halves the cost of a word count's mapper. False: a line is no string."""
    try:
        words.extend("\n".join(lines).split())
    except TypeError:
        return False
    return True


def _repeated(column: list[Any] | None, lists: list[list[Any]]) -> list[Any] | None:
    if column is None:
        return None
    return list(chain.from_iterable(repeat(item, len(values)) for item, values in zip(column, lists, strict=True)))
