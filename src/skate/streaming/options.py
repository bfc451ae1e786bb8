"""Options of a run. Apart from what runs, so that an engine can start before all of that is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class RunOptions:
    """How a stream runs."""

    snapshots: str | Path | None = (
        None  # A directory; a run that was cut short goes on from it. On a cluster: one that all nodes see.
    )
    parallelism: int | None = None  # Subtasks of each stage; the session's CPUs if not given. May change between runs.
    interval_s: float = 1.0  # Between snapshots; results of transactional sinks become visible that often.
    keep: int = 3  # Snapshots to keep.
    restarts_max: int = 5  # Deaths of workers in a row, without a snapshot between them.
    in_process: bool | None = None  # Run in this process, without actors; None: on the inline backend.
    accept_changed_code: bool = False  # Go on from a snapshot although functions that made its state have changed.
    progress: bool | None = None  # A progress bar on bounded inputs; None: when standard error is a terminal.
    name: str | None = None  # In the web UI.
    actor_options: dict[str, Any] = field(default_factory=dict)  # For the workers, such as {"resources": …}.

    def __post_init__(self) -> None:
        if self.interval_s <= 0:
            raise ValueError(f"interval_s={self.interval_s}: above zero")
        if self.parallelism is not None and self.parallelism < 1:
            raise ValueError(f"parallelism={self.parallelism}: at least 1")
        if self.keep < 1:
            raise ValueError(f"keep={self.keep}: at least 1")
