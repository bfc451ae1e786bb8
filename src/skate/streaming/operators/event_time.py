"""event_time: when each record happened, and how far time has come.

The watermark of a subtask is the latest time it saw, less `max_delay_s`: bounded out-of-orderness, as in Flink. A record that is
later than that is late. Processing time is the clock of the subtask that read the record.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from skate.streaming.batch import ALWAYS, NEVER, Batch
from skate.streaming.operators.base import Emit, Operator, Owns, name_of, without


class EventTime(Operator):
    kind = "event_time"

    def __init__(self, function: Callable[[Any], Any], max_delay_s: float) -> None:
        super().__init__()
        if max_delay_s < 0:
            raise ValueError(f"max_delay_s={max_delay_s}: not negative")
        self.function = function
        self.max_delay_s = max_delay_s
        self.label = name_of(function)
        self.latest_s = NEVER

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        times, failed = self.mapped(self.function, batch, emit)
        values, keys = without(batch.values, failed) or [], without(batch.keys, failed)
        if not (set(map(type, times)) == {float} and math.isfinite(sum(times))):
            times, failed = self.mapped(_Seconds(times), Batch(values, None, keys, batch.origin), emit)
            values, keys = without(values, failed) or [], without(keys, failed)
        if times:
            self.latest_s = max(self.latest_s, max(times))
            emit(Batch(values, times, keys, batch.origin))

    def watermark(self, time_s: float) -> float:
        return ALWAYS if time_s == ALWAYS else self.latest_s - self.max_delay_s

    def snapshot(self) -> Any:
        return self.latest_s

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        self.latest_s = states[self.index] if len(states) == self.parallelism else min(states)


class ProcessingTime(Operator):
    kind = "processing_time"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.clock = clock

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        emit(Batch(batch.values, [self.clock()] * len(batch), batch.keys, batch.origin))

    def watermark(self, time_s: float) -> float:
        return ALWAYS if time_s == ALWAYS else self.clock()


class _Seconds:
    """The times of records, one after the other, as seconds."""

    def __init__(self, moments: list[Any]) -> None:
        self.moments = iter(moments)

    def __call__(self, record: Any) -> float:
        moment = next(self.moments)
        seconds = moment.timestamp() if isinstance(moment, datetime.datetime) else float(moment)
        if not math.isfinite(seconds):
            raise ValueError(f"an event time must be finite, not {seconds}")
        return float(seconds)
