"""Figures: what a run knows about itself, for handles, the web UI and the progress bar."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Figures:
    measures: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)  # Of each (stage, index); see Subtask.measures.
    snapshots_taken: int = 0
    snapshots: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=20))  # The newest.
    snapshot_failures: int = 0
    restarts: int = 0
    recovery_s: list[float] = field(default_factory=list)  # From noticing a death to the first epoch after it.
    last_failure: str = ""

    def add_snapshot(self, number: int, size_bytes: int, epoch_s: float) -> None:
        self.snapshots_taken += 1
        self.snapshots.append({"number": number, "size_bytes": size_bytes, "epoch_s": round(epoch_s, 4), "at_s": time.time()})
