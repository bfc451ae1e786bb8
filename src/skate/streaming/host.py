"""Host: a subtask together with the reader of its source, if it has one. What both kinds of runs (in process, on actors) have in common."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from skate.streaming.graph import Plan
from skate.streaming.manifest import Manifest
from skate.streaming.sinks.base import Sink
from skate.streaming.snapshots import SnapshotStore
from skate.streaming.sources.base import Split
from skate.streaming.sources.splits import SplitReader
from skate.streaming.subtask import Sending, Subtask

LINGER_BOUNDED_S = float(
    "inf"
)  # How long a sender aggregates while records keep coming: to the next barrier; idle, it sends at once.
LINGER_S = 0.01


class Host:
    def __init__(
        self, plan: Plan, stage_id: int, index: int, splits: list[Split], on_snapshot: Callable[[int, bytes], None]
    ) -> None:
        self.plan = plan
        self.stage = plan.stages[stage_id]
        self.index = index
        self.splits = splits
        self.subtask = Subtask(plan, self.stage, index, on_snapshot)
        self.reader: SplitReader | None = None
        self.has_ended = False
        self._flushed_s = time.monotonic()
        self._linger_s = 0.0

    def begin(self, store: SnapshotStore | None, manifest: Manifest | None) -> None:
        """Restore what the snapshot has, or begin from nothing."""
        parts: list[dict[Any, Any]] = []
        if manifest is not None:
            assert store is not None
            parts = [store.read_part(manifest, part) for part in manifest.parts if part.stage == self.stage.id]
            self.subtask.restore(parts)
        else:
            for sink in self.sinks():
                sink.discard_prepared()
        if self.stage.source is not None:
            positions: dict[str, Any] = {}
            for part in parts:
                positions.update(part.get("source", {}))
            self.reader = SplitReader(self.stage.source, self.splits, self.index, self.stage.parallelism, positions)
            self.subtask.source_positions = lambda: dict(self.reader.positions) if self.reader is not None else {}
            self._linger_s = LINGER_BOUNDED_S if self.stage.source.is_bounded and not self.stage.source.is_live else LINGER_S

    def sinks(self) -> list[Sink]:
        return [operator for operator in self.subtask.operators.values() if isinstance(operator, Sink)]

    def step(self) -> tuple[bool, list[Sending]]:
        """Read once. Returns whether there was anything, and what to send."""
        assert self.reader is not None
        if self.has_ended:
            return False, []
        batch = self.reader.read()
        if batch is not None:
            self.subtask.feed(batch)
            now = time.monotonic()
            if now - self._flushed_s >= self._linger_s:
                self._flushed_s = now
                return True, self.subtask.flush()
            return True, self.subtask.take_outbox()
        if self.reader.has_ended:
            self.has_ended = True
            self.subtask.end()
            return True, self.subtask.take_outbox()
        self.subtask.tick()
        self._flushed_s = time.monotonic()
        return False, self.subtask.flush()

    def end_epoch(self, number: int) -> list[Sending]:
        self.subtask.barrier(number)
        return self.subtask.take_outbox()

    def commit(self, number: int) -> None:
        for sink in self.sinks():
            sink.commit(number)

    def take_deliveries(self) -> list[tuple[int, list[Any]]]:
        return [delivery for sink in self.sinks() for delivery in sink.take_deliveries()]

    def measures(self) -> dict[str, Any]:
        measures = self.subtask.measures()
        measures["pid"] = os.getpid()
        if self.reader is not None:
            measures["splits"], measures["splits_done"] = self.reader.counts()
        return measures

    def results(self) -> dict[int, Any]:
        """Sink's operator id → what it has to return."""
        return {number: operator.result() for number, operator in self.subtask.operators.items() if isinstance(operator, Sink)}

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
