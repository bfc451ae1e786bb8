"""What follows a run: a progress bar, TensorBoard, MLflow, CSV and JSON files. They run in the driver, and see the reports of rank 0.

A callback of one's own derives from `Callback` and overrides what it wants to hear of. An error in one does not end training.
"""

from __future__ import annotations

import csv
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skate.train.checkpoint import Checkpoint, plain

if TYPE_CHECKING:
    from skate.train.result import Result


@dataclass(frozen=True)
class RunInfo:
    """What a callback knows of its run."""

    name: str
    directory: Path
    config: dict[str, Any]
    framework: str
    num_workers: int


class Callback:
    """Hears of a run's events; does nothing by itself."""

    def on_run_start(self, run: RunInfo) -> None: ...
    def on_attempt_start(self, attempt: int, world_size: int) -> None: ...
    def on_report(self, row: Mapping[str, Any]) -> None: ...
    def on_checkpoint(self, checkpoint: Checkpoint, metrics: Mapping[str, Any]) -> None: ...
    def on_failure(self, error: BaseException, failures: int) -> None: ...
    def on_run_end(self, result: Result) -> None: ...


class ProgressBar(Callback):
    """One line in the terminal, with the latest metrics."""

    def __init__(self, total: int | None = None, every_s: float = 0.1) -> None:
        """
        Args:
            total: Reports until the end, when that is known.
        """
        self._total, self._every_s = total, every_s
        self._bar: Any = None
        self._task: Any = None
        self._drawn_s = 0.0

    def on_run_start(self, run: RunInfo) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[shown]}"),
        )
        self._task = self._bar.add_task(run.name, total=self._total, shown="")
        self._bar.start()

    def on_report(self, row: Mapping[str, Any]) -> None:
        now_s = time.monotonic()
        if now_s - self._drawn_s < self._every_s and row["training_iteration"] != self._total:
            return
        self._drawn_s = now_s
        shown = " ".join(f"{name} {value:.4g}" for name, value in _numbers(row).items())
        self._bar.update(self._task, completed=row["training_iteration"], shown=shown)

    def on_run_end(self, result: Result) -> None:
        self._bar.stop()


class CSVLogger(Callback):
    """progress.csv in the run's directory. Written at the end of the run and every few seconds: columns may come later, rows may be taken back."""

    def __init__(self, path: str | Path | None = None, every_s: float = 2.0) -> None:
        self._path = Path(path) if path else None
        self._every_s = every_s
        self._rows: list[dict[str, Any]] = []
        self._written_s = 0.0

    def on_run_start(self, run: RunInfo) -> None:
        self._path = self._path or run.directory / "progress.csv"

    def on_report(self, row: Mapping[str, Any]) -> None:
        self._rows = (
            [one for one in self._rows if one["training_iteration"] < row["training_iteration"]]
            if self._is_back(row)
            else self._rows
        )
        self._rows.append(dict(row))
        if time.monotonic() - self._written_s > self._every_s:
            self._write(self._rows)

    def on_run_end(self, result: Result) -> None:
        self._write(result.metrics_history)

    def _is_back(self, row: Mapping[str, Any]) -> bool:
        return bool(self._rows) and self._rows[-1]["training_iteration"] >= row["training_iteration"]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        assert self._path is not None
        self._written_s = time.monotonic()
        columns = list(dict.fromkeys(name for row in rows for name in row))
        passing = self._path.with_name(f".{self._path.name}")
        with open(passing, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        passing.replace(self._path)


class JSONLogger(Callback):
    """result.json: the config, the last metrics and the whole history, when the run ends. (progress.jsonl is always written.)"""

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = Path(path) if path else None
        self._run: RunInfo | None = None

    def on_run_start(self, run: RunInfo) -> None:
        self._run = run

    def on_run_end(self, result: Result) -> None:
        assert self._run is not None
        document = {
            "name": self._run.name,
            "config": self._run.config,
            "metrics": result.metrics,
            "history": result.metrics_history,
            "error": str(result.error) if result.error else None,
        }
        path = self._path or self._run.directory / "result.json"
        path.write_text(json.dumps(document, default=plain, indent=1), encoding="utf-8")


class TensorBoardLogger(Callback):
    """Event files for TensorBoard in the run's directory: `tensorboard --logdir …`. Needs `pip install tensorboard`."""

    def __init__(self, directory: str | Path | None = None) -> None:
        self._directory = directory
        self._writer: Any = None

    def on_run_start(self, run: RunInfo) -> None:
        try:
            modules = [import_module(f"tensorboard.{name}") for name in _TENSORBOARD]
        except ImportError as error:
            raise ImportError("TensorBoardLogger needs tensorboard: pip install tensorboard") from error
        self._event, self._summary = modules[0].Event, modules[1].Summary
        directory = Path(self._directory or run.directory / "tensorboard")
        directory.mkdir(parents=True, exist_ok=True)
        now_s = time.time()
        name = f"events.out.tfevents.{int(now_s):010d}.{socket.gethostname()}.{os.getpid()}.{time.time_ns() % 1_000_000_000}"
        # Not tensorboard's own EventFileWriter: it imports TensorFlow, where that is installed, which takes seconds.
        self._writer = modules[2].RecordWriter(open(directory / name, "wb"))  # noqa: SIM115
        self._write(self._event(wall_time=now_s, file_version="brain.Event:2"))

    def on_report(self, row: Mapping[str, Any]) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in _numbers(row).items()]
        step, when = row["training_iteration"], row.get("timestamp", time.time())
        self._write(self._event(wall_time=when, step=step, summary=self._summary(value=values)))

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def on_run_end(self, result: Result) -> None:
        if self._writer is not None:
            self._writer.close()


class MLflowLogger(Callback):
    """Metrics, config and the last checkpoint as a run in MLflow. Needs `pip install 'skate[mlflow]'`, or the whole of MLflow."""

    def __init__(self, tracking_uri: str | None = None, experiment_name: str = "skate", *, log_checkpoint: bool = False) -> None:
        self._uri, self._experiment, self._with_checkpoint = tracking_uri, experiment_name, log_checkpoint
        self._client: Any = None
        self._run_id = ""

    def on_run_start(self, run: RunInfo) -> None:
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise ImportError("MLflowLogger needs MLflow: pip install 'skate[mlflow]'") from error
        self._client = MlflowClient(self._uri)
        experiment = self._client.get_experiment_by_name(self._experiment)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(self._experiment)
        self._run_id = self._client.create_run(experiment_id, run_name=run.name).info.run_id
        for name, value in run.config.items():
            self._client.log_param(self._run_id, name, value)

    def on_report(self, row: Mapping[str, Any]) -> None:
        for name, value in _numbers(row).items():
            self._client.log_metric(self._run_id, name, value, step=row["training_iteration"])

    def on_run_end(self, result: Result) -> None:
        if self._with_checkpoint and result.checkpoint is not None:
            self._client.log_artifacts(self._run_id, result.checkpoint.path, "checkpoint")
        self._client.set_terminated(self._run_id, "FAILED" if result.error else "FINISHED")


_TENSORBOARD = ("compat.proto.event_pb2", "compat.proto.summary_pb2", "summary.writer.record_writer")


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    hidden = ("training_iteration", "timestamp", "time_total_s")
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float) and name not in hidden}
