"""Callbacks: look at a training as it goes, or stop it. Derive from `Callback`, or take one from here."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import skate

if TYPE_CHECKING:
    from skate.rl.algorithm import Algorithm


class Callback:
    def on_start(self, algorithm: Algorithm[Any]) -> None: ...

    def on_iteration(self, algorithm: Algorithm[Any], metrics: dict[str, float]) -> bool | None:
        """Called after each iteration; True ends the training."""
        return None

    def on_end(self, algorithm: Algorithm[Any]) -> None: ...


class Report(Callback):
    """Hands the metrics to `skate.report`, for the curves of the web UI; at most four times a second, so that fast trainings don't pay for it."""

    def __init__(self) -> None:
        self._report = skate.report
        self._last = 0.0

    def on_iteration(self, algorithm: Algorithm[Any], metrics: dict[str, float]) -> None:
        now = time.monotonic()
        if now - self._last >= 0.25:
            self._last = now
            self._report(metrics, step=algorithm.steps, run=f"{algorithm.name}-{algorithm.env_name}-{algorithm.seed}")


class Progress(Callback):
    """One line that is written again and again: steps, return, steps/s."""

    def __init__(self, total_steps: int) -> None:
        self._total = total_steps
        self._last = 0.0

    def on_iteration(self, algorithm: Algorithm[Any], metrics: dict[str, float]) -> None:
        now = time.monotonic()
        if now - self._last >= 0.2:
            self._last = now
            self._write(algorithm, metrics)

    def on_end(self, algorithm: Algorithm[Any]) -> None:
        self._write(algorithm, algorithm.metrics)
        sys.stderr.write("\n")

    def _write(self, algorithm: Algorithm[Any], metrics: dict[str, float]) -> None:
        share = min(1.0, algorithm.steps / self._total)
        bar = "█" * round(20 * share) + "·" * (20 - round(20 * share))
        score = f"return {metrics['return']:8.2f}" if "return" in metrics else "no episode yet"
        sys.stderr.write(
            f"\r{algorithm.name} {algorithm.env_name} {bar} {algorithm.steps:>9,} steps  {score}  {metrics.get('steps_per_s', 0):>7,.0f} steps/s "
        )
        sys.stderr.flush()


class TensorBoard(Callback):
    """Writes the metrics for `tensorboard --logdir`."""

    def __init__(self, directory: str) -> None:
        try:
            import tensorboard  # type: ignore[import-untyped]  # noqa: F401
        except ImportError as error:
            raise ImportError("TensorBoard files need tensorboard: pip install tensorboard") from error
        self._directory = directory

    def on_start(self, algorithm: Algorithm[Any]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped]

        self._writer = EventFileWriter(self._directory)  # One file for each `train`: its thread ends with it.

    def on_iteration(self, algorithm: Algorithm[Any], metrics: dict[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        values = [Summary.Value(tag=f"train/{name}", simple_value=value) for name, value in metrics.items()]
        self._writer.add_event(Event(wall_time=time.time(), step=algorithm.steps, summary=Summary(value=values)))

    def on_end(self, algorithm: Algorithm[Any]) -> None:
        self._writer.close()
