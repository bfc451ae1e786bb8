"""Results in memory: what `.to_list().run()` returns. For tests, notebooks and bounded streams; each subtask's results in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skate.streaming.operators.base import Emit, Owns
from skate.streaming.sinks.base import Sink


class ListSink(Sink):
    """The list is state, and so part of every snapshot: keep it small."""

    kind = "list"
    is_stateful = True

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        self.records.extend(batch.values)

    def snapshot(self) -> Any:
        return self.records

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        for position, state in enumerate(states):
            if position % self.parallelism == self.index:
                self.records.extend(state)

    def result(self) -> Any:
        return self.records

    def combine(self, results: Sequence[Any]) -> Any:
        return [record for records in results for record in records]

    def state_size(self) -> int:
        return len(self.records)
