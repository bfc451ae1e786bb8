"""Reads a source as a subtask does, stopping and going on at will: for tests of sources."""

from __future__ import annotations

import time
from typing import Any

from skate.streaming.sources.base import Source
from skate.streaming.sources.splits import SplitReader


def read_all(source: Source, parallelism: int = 1, *, interrupt_after: int | None = None, timeout_s: float = 10.0) -> list[Any]:
    """All records, in the order of subtasks. With `interrupt_after`, each subtask is replaced by another, which gets the positions
    alone, after so many reads: that is a recovery from a snapshot."""
    values: list[Any] = []
    splits = source.splits()
    for index in range(parallelism):
        reader = SplitReader(source, splits, index, parallelism, {})
        reads = 0
        ends_s = time.monotonic() + timeout_s
        while not reader.has_ended:
            assert time.monotonic() < ends_s, "the source does not end"
            batch = reader.read()
            if batch is not None:
                values.extend(batch.values)
                reads += 1
                if interrupt_after is not None and reads % interrupt_after == 0:
                    positions = dict(reader.positions)
                    reader.close()
                    reader = SplitReader(source, source.splits(), index, parallelism, positions)
        reader.close()
    return values
