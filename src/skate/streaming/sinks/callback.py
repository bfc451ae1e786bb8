"""A function called with each record. At least once: after a recovery it sees the records since the last snapshot again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.streaming.operators.base import Emit, name_of
from skate.streaming.sinks.base import Sink


class CallbackSink(Sink):
    kind = "callback"
    is_transactional = False

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.label = name_of(function)

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        self.mapped(self.function, batch, emit)
