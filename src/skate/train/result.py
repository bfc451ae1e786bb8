"""What `fit()` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skate.train.checkpoint import Checkpoint


@dataclass
class Result:
    """The end of a run.

    Attributes:
        metrics: The last report of rank 0.
        checkpoint: The latest one.
        path: The run's directory.
        error: Why training ended early; None when it ended by itself.
        best_checkpoints: All that were kept, with the metrics of their reports.
        metrics_history: Every report of rank 0; what was trained twice after a failure stands there once.
        returned: What the loop of rank 0 returned.
        failures: How often training started again.
        world_sizes: The number of workers of each attempt.
    """

    metrics: dict[str, Any]
    checkpoint: Checkpoint | None
    path: str
    error: BaseException | None = None
    best_checkpoints: list[tuple[Checkpoint, dict[str, Any]]] = field(default_factory=list)
    metrics_history: list[dict[str, Any]] = field(default_factory=list)
    returned: Any = None
    failures: int = 0
    world_sizes: list[int] = field(default_factory=list)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics_dataframe(self) -> Any:
        """The history as a pandas DataFrame, one row per report."""
        import pandas

        return pandas.DataFrame(self.metrics_history)

    def get_best_checkpoint(self, metric: str, mode: str) -> Checkpoint | None:
        """The kept checkpoint whose report had the best `metric`.

        Args:
            mode: "max" or "min".

        Raises:
            KeyError: No kept checkpoint has that metric.
        """
        if mode not in ("max", "min"):
            raise ValueError(f"mode={mode!r} must be 'max' or 'min'")
        scored = [(metrics[metric], checkpoint) for checkpoint, metrics in self.best_checkpoints if metric in metrics]
        if not scored:
            if not self.best_checkpoints:
                return None
            raise KeyError(f"no checkpoint's report has the metric {metric!r}; they have {sorted(self.best_checkpoints[0][1])}")
        return (max if mode == "max" else min)(scored, key=lambda pair: pair[0])[1]
