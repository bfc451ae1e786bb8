"""Session windows: a key's records with gaps below `gap_s` between them; from the first record to `gap_s` after the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skate.streaming.windows.base import Window, check_positive


class Session(Window):
    kind = "session"
    merges = True

    def __init__(self, gap_s: float) -> None:
        self.gap_s = check_positive("gap_s", gap_s)

    def assign(self, time_s: float) -> Sequence[tuple[float, float]]:
        return ((time_s, time_s + self.gap_s),)

    def settings(self) -> dict[str, Any]:
        return {"window": self.kind, "gap_s": self.gap_s}
