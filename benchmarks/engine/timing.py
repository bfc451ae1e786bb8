"""How long and how often: rates as Ray's microbenchmark takes them, and single durations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Effort:
    """How much work a measurement may take. `scale` shrinks counts (tasks, actors); 1.0 is the full size."""

    warm_up_s: float = 1.0
    period_s: float = 2.0
    periods: int = 4
    scale: float = 1.0

    def count(self, full: int, at_least: int = 1) -> int:
        return max(at_least, int(full * self.scale))

    @property
    def repeats(self) -> int:
        return self.periods


QUICK = Effort(warm_up_s=0.1, period_s=0.2, periods=1, scale=0.02)
FULL = Effort()


@dataclass(frozen=True)
class Result:
    """A figure in the row's unit, its spread, and what was computed: it must be the same on all peers."""

    value: float
    spread: float = 0.0
    answer: Any = None
    note: str = ""


def rate(effort: Effort, function: Callable[[], Any], per_call: float = 1.0, answer: Any = None) -> Result:
    """Calls per second, times `per_call`: the mean of some periods and their standard deviation."""
    end = time.perf_counter() + effort.warm_up_s
    calls = 0
    while time.perf_counter() < end or not calls:
        function()
        calls += 1
    stride = max(1, calls // 10)  # So that reading the clock costs nothing.
    rates = []
    for _ in range(effort.periods):
        count = 0
        start = now = time.perf_counter()
        while now - start < effort.period_s:
            for _ in range(stride):
                function()
            count += stride
            now = time.perf_counter()
        rates.append(count * per_call / (now - start))
    return Result(statistics.fmean(rates), statistics.pstdev(rates), answer)


def seconds(effort: Effort, function: Callable[[], Any], answer: Any = None) -> Result:
    """Seconds of one call: the median of some."""
    times = []
    for _ in range(effort.repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return Result(statistics.median(times), statistics.pstdev(times), answer)
