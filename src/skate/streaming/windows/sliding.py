"""Sliding windows: of one size, a new one every `step_s`; a record belongs to size/step of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skate.streaming.windows.base import Window, check_positive


class Sliding(Window):
    kind = "sliding"

    def __init__(self, size_s: float, step_s: float) -> None:
        self.size_s = check_positive("size_s", size_s)
        self.step_s = check_positive("step_s", step_s)
        if step_s > size_s:
            raise ValueError(f"step_s={step_s} is above size_s={size_s}: records between two windows would be lost")

    def assign(self, time_s: float) -> Sequence[tuple[float, float]]:
        number = time_s // self.step_s
        windows = []
        while number * self.step_s + self.size_s > time_s:
            start = number * self.step_s
            windows.append((start, start + self.size_s))
            number -= 1
        return windows[::-1]

    def settings(self) -> dict[str, Any]:
        return {"window": self.kind, "size_s": self.size_s, "step_s": self.step_s}
