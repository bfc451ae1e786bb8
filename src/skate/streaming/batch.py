"""Batch: what moves through a stream, and the marks that move with it.

Records move in batches: parallel lists of values and, where known, keys and event times (seconds). A partial is what a sender has
already aggregated. Marks keep their place between batches: a `Watermark` (no record before this time is expected), a `Barrier` (all
before it belongs to snapshot n), an `End`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NEVER = float("-inf")
ALWAYS = float("inf")


class Batch:
    """Records in order. `times` in seconds; `origin` says where they come from, for errors."""

    __slots__ = ("keys", "origin", "times", "values")

    def __init__(
        self, values: list[Any], times: list[float] | None = None, keys: list[Any] | None = None, origin: str = ""
    ) -> None:
        self.values = values
        self.times = times
        self.keys = keys
        self.origin = origin

    def __len__(self) -> int:
        return len(self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        # Keys that are the values themselves (count by the record) are sent once: pickle remembers the list.
        return Batch, (self.values, self.times, self.keys, self.origin)

    def __repr__(self) -> str:
        return f"Batch({len(self.values)} records from {self.origin or 'an operator'})"


class Partial:
    """What a combiner sends in place of records: its `content` is known to the operator that made the combiner."""

    __slots__ = ("content", "records")

    def __init__(self, content: Any, records: int) -> None:
        self.content = content
        self.records = records

    def __len__(self) -> int:
        return self.records

    def __reduce__(self) -> tuple[Any, ...]:
        return Partial, (self.content, self.records)


@dataclass(frozen=True, slots=True)
class Watermark:
    """No record with an event time below `time_s` is expected after this."""

    time_s: float


@dataclass(frozen=True, slots=True)
class Barrier:
    """What came before belongs to snapshot `number`; what comes after does not."""

    number: int


@dataclass(frozen=True, slots=True)
class End:
    """Nothing but barriers comes after this."""


Message = Batch | Partial | Watermark | Barrier | End
