"""What must happen at a later time. The shell asks `next_deadline_s` and sends a Tick when it has come. Times in seconds."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Timers:
    """A heap of callbacks. Nothing is cancelled: a callback looks whether it is still wanted."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()  # Equal times fire in the order they were set: replays must not differ.

    def set(self, at_s: float, callback: Callable[[], None]) -> None:
        heappush(self._heap, (at_s, next(self._order), callback))

    def next_deadline_s(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def fire(self, now_s: float) -> None:
        """Run what is due. What a callback sets anew, even for now, waits for the next call: no endless loop."""
        due: list[Callable[[], None]] = []
        while self._heap and self._heap[0][0] <= now_s:
            due.append(heappop(self._heap)[2])
        for callback in due:
            callback()
