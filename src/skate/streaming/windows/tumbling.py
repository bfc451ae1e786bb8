"""Tumbling windows: one after another, aligned to multiples of their size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skate.streaming.windows.base import Window, check_positive


class Tumbling(Window):
    kind = "tumbling"

    def __init__(self, size_s: float, offset_s: float = 0.0) -> None:
        self.size_s = check_positive("size_s", size_s)
        self.offset_s = offset_s

    def assign(self, time_s: float) -> Sequence[tuple[float, float]]:
        # Counted from the number of the window, so that one's end is exactly the next one's start.
        number = (time_s - self.offset_s) // self.size_s
        return ((number * self.size_s + self.offset_s, (number + 1) * self.size_s + self.offset_s),)

    def settings(self) -> dict[str, Any]:
        return {"window": self.kind, "size_s": self.size_s, "offset_s": self.offset_s}
