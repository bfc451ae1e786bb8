"""Exchange: the sender's side of the way to another stage: aggregates where it can, splits by key, and says what to send. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skate.blocks.partition import Partitioner
from skate.streaming.batch import NEVER, Barrier, Batch, End, Message, Watermark
from skate.streaming.graph import KEY, ONE, ExchangePlan
from skate.streaming.operators.base import Combiner

BATCH_RECORDS = 4096
COMBINED_ENTRIES_MAX = 500_000


class Exchange:
    """`outbox` receives (place, message), in the order to send them."""

    def __init__(self, plan: ExchangePlan, index: int, places: int, combiner: Combiner | None) -> None:
        self.plan = plan
        self.places = places
        self.combiner = combiner if plan.how == KEY else None
        self.partitioner = Partitioner(places)
        self.outbox: list[tuple[int, Message]] = []
        self.watermark_s = NEVER
        self._sent_watermark_s = NEVER
        self._place = 0 if plan.how == ONE else index % places
        self._held: list[tuple[list[Any], list[float], list[Any]]] = [([], [], []) for _ in range(places)]
        self._has_times = False
        self._held_records = 0

    def add(self, batch: Any) -> None:
        if self.plan.how != KEY:
            self.outbox.append((self._place, batch))
        elif batch.keys is None:
            raise ValueError("a record has no key here: write .key_by(…) directly before the operator that needs keys")
        elif self.combiner is not None:
            self.combiner.add(batch)
            if self.combiner.size() >= COMBINED_ENTRIES_MAX:
                self._drain()
        elif self.places == 1:
            self.outbox.append((0, batch))
        else:
            self._split(batch)

    def flush(self) -> None:
        """Put all that the receiver waits for, and then the watermark, into the outbox."""
        if self.combiner is None or not self.combiner.holds:
            self._drain()
        if self.watermark_s > self._sent_watermark_s:
            self._sent_watermark_s = self.watermark_s
            self._send_to_all(Watermark(self.watermark_s))

    def barrier(self, number: int) -> None:
        self.flush()
        self._send_to_all(Barrier(number))

    def end(self) -> None:
        self._drain()
        self.flush()
        self._send_to_all(End())

    def snapshot(self) -> Any:
        """What is held beyond a barrier; None if nothing ever is."""
        return self.combiner.snapshot() if self.combiner is not None and self.combiner.holds else None

    def held_size(self) -> int:
        """How many entries are held beyond barriers."""
        return self.combiner.size() if self.combiner is not None and self.combiner.holds else 0

    def restore(self, states: Sequence[Any]) -> None:
        assert self.combiner is not None
        self.combiner.restore(states)

    def _send_to_all(self, message: Message) -> None:
        self.outbox.extend((place, message) for place in range(self.places))

    def _split(self, batch: Batch) -> None:
        partitioner, held = self.partitioner, self._held
        self._has_times = batch.times is not None
        if batch.times is None:
            for key, value in zip(batch.keys or (), batch.values, strict=True):
                values, _, keys = held[partitioner[key]]
                values.append(value)
                keys.append(key)
        else:
            for key, value, time_s in zip(batch.keys or (), batch.values, batch.times, strict=True):
                values, times, keys = held[partitioner[key]]
                values.append(value)
                times.append(time_s)
                keys.append(key)
        self._held_records += len(batch)
        if self._held_records >= BATCH_RECORDS * self.places:
            self._drain(batch.origin)

    def _drain(self, origin: str = "") -> None:
        if self.combiner is not None:
            for place, partial in enumerate(self.combiner.drain(self.partitioner)):
                if partial is not None:
                    self.outbox.append((place, partial))
            return
        if not self._held_records:
            return
        for place, (values, times, keys) in enumerate(self._held):
            if values:
                self.outbox.append((place, Batch(values, times if self._has_times else None, keys, origin)))
                self._held[place] = ([], [], [])
        self._held_records = 0
