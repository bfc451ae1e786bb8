"""Sources in memory: a list of records, and a feed that a test or a program appends to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.sources.base import BATCH_RECORDS, Reader, Source, Split


class MemorySource(Source):
    """A list; it travels with the program. Split so that subtasks share it."""

    kind = "memory"

    def __init__(self, records: Iterable[Any], splits: int = 8, batch_records: int = BATCH_RECORDS) -> None:
        self.records: Sequence[Any] = records if isinstance(records, Sequence) else list(records)
        self.count = max(1, min(splits, len(self.records)))
        self.batch_records = batch_records

    def splits(self) -> list[Split]:
        size = -(-len(self.records) // self.count) if len(self.records) else 0
        return [Split(f"memory-{i}", (i * size, min((i + 1) * size, len(self.records)))) for i in range(self.count)]

    def open(self, split: Split, position: Any) -> Reader:
        start, stop = split.detail
        return _MemoryReader(self, start if position is None else position, stop)

    def settings(self) -> dict[str, Any]:
        return {"records": len(self.records), "splits": self.count}


class _MemoryReader(Reader):
    def __init__(self, source: MemorySource, position: int, stop: int) -> None:
        self.source = source
        self.position: int = position
        self.stop = stop
        self.is_done = position >= stop

    def read(self) -> Batch | None:
        start = self.position
        self.position = min(start + self.source.batch_records, self.stop)
        self.is_done = self.position >= self.stop
        values = list(self.source.records[start : self.position])
        return Batch(values, None, None, f"the list in memory, from record {start:,}") if values else None
