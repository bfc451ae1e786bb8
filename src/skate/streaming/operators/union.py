"""union: the records of several streams, as one. The watermark is the earliest of theirs."""

from __future__ import annotations

from typing import Any

from skate.streaming.operators.base import Emit, Operator


class Union(Operator):
    kind = "union"

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        emit(batch)
