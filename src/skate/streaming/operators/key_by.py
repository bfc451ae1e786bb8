"""key_by: the key of each record. Records with the same key meet in the same subtask of the next stateful operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.operators.base import Emit, Operator, name_of, without


class KeyBy(Operator):
    kind = "key_by"

    def __init__(self, function: Callable[[Any], Any] | None) -> None:
        """`function` None: a record is its own key."""
        super().__init__()
        self.function = function
        self.label = "" if function is None else name_of(function)

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        if self.function is None:
            emit(Batch(batch.values, batch.times, batch.values, batch.origin))
            return
        keys, failed = self.mapped(self.function, batch, emit)
        emit(Batch(without(batch.values, failed) or [], without(batch.times, failed), keys, batch.origin))

    def functions(self) -> dict[str, Any]:
        return {"key": self.function}
