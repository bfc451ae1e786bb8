"""Inside a worker: what the training loop asks for: `report`, `get_context`, `get_checkpoint`, `get_dataset_shard`.

One `Session` per attempt of a worker. `report` puts a row into a list and wakes the thread that answers the driver; it waits for nobody,
so it costs microseconds (a checkpoint's files are copied first, because the loop may delete them afterwards).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skate.train import policy
from skate.train.checkpoint import Checkpoint, CheckpointStore, add_files
from skate.train.config import CheckpointConfig
from skate.train.errors import CheckpointError, GroupStopped

_MAKE_ROOM_S = 5.0
_DELETE_S = 0.5  # For deleting, once the checkpoint before is complete.


@dataclass(frozen=True)
class Assignment:
    """What one worker is told for one attempt."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    node_rank: int
    attempt: int
    run_name: str
    run_directory: str
    checkpoint: str | None  # Where to start from.
    next_checkpoint: int  # The number of the next one to be written.
    iteration: int  # Reports that stand before this attempt.
    nan_policy: str
    rendezvous: dict[str, Any] = field(default_factory=dict)  # For the framework: addresses and ports.


@dataclass(slots=True)
class Row:
    """One report."""

    iteration: int
    metrics: dict[str, Any]
    checkpoint: int | None
    seconds: float


class Session:
    """This worker's part of an attempt."""

    def __init__(self, assignment: Assignment, shards: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        self.assignment = assignment
        self.shards = shards
        self.config = config
        self.framework: dict[str, Any] = {}  # What setting up the framework left: device, group, …
        self.stop = threading.Event()
        self._store = CheckpointStore(Path(assignment.run_directory), CheckpointConfig())
        self._changed = threading.Condition()
        self._rows: list[Row] = []
        self._iteration = assignment.iteration
        self._next_checkpoint = assignment.next_checkpoint

    def report(self, metrics: Mapping[str, Any], checkpoint: Checkpoint | None) -> None:
        import time

        if self.stop.is_set():
            raise GroupStopped("the group starts again")
        if not isinstance(metrics, Mapping):
            raise TypeError(f"report() takes a dict of metrics, such as {{'loss': 0.5}}, not {metrics!r}")
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            raise TypeError(f"report(checkpoint=…) takes Checkpoint.from_directory(path), not {type(checkpoint).__name__}")
        values = {name: number(value) for name, value in metrics.items()}
        index = None
        if checkpoint is not None:
            # A checkpoint of a model that has become NaN would be resumed from for ever.
            if self.assignment.nan_policy in ("raise", "restore") and policy.non_finite(values):
                checkpoint = None
            else:
                index = self._next_checkpoint
                self._add_files(checkpoint.path, index)
                self._next_checkpoint += 1
        with self._changed:
            self._iteration += 1
            self._rows.append(Row(self._iteration, values, index, time.time()))
            self._changed.notify_all()

    def _add_files(self, source: str, index: int) -> None:
        """Copy a checkpoint's files. A disk that is full may have room in a moment: the driver completes the one before this, and deletes older ones."""
        import time

        is_before_open, until_s = self._store.partial(index - 1).exists, time.monotonic() + _MAKE_ROOM_S
        while True:
            try:
                return add_files(source, self._store.partial(index))
            except CheckpointError:
                now_s = time.monotonic()
                if now_s > until_s or self.stop.is_set():
                    raise
                if not is_before_open():
                    until_s = min(until_s, now_s + _DELETE_S)
                time.sleep(0.05)  # Between looks at the disk.

    def take(self, timeout_s: float) -> list[Row]:
        """The reports since the last call; waits for one."""
        with self._changed:
            if not self._rows and not self.stop.is_set():
                self._changed.wait(timeout_s)
            rows, self._rows = self._rows, []
        return rows

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


_session: Session | None = None


def set_session(session: Session | None) -> None:
    global _session
    _session = session


def session() -> Session:
    """This worker's session.

    Raises:
        RuntimeError: Not inside a training loop.
    """
    if _session is None:
        raise RuntimeError(
            "this works inside a training loop only: pass the function that calls it to a trainer, and call trainer.fit()"
        )
    return _session


def is_training() -> bool:
    return _session is not None


def number(value: Any) -> Any:
    """A metric as plain Python: tensors and NumPy's scalars become numbers."""
    if type(value) in (int, float, str, bool) or value is None:
        return value
    if hasattr(value, "item") and getattr(value, "size", 1) is not None:
        try:
            return value.item()
        except (ValueError, RuntimeError, TypeError):  # More than one element.
            pass
    if hasattr(value, "numpy"):
        value = value.numpy()
        return value.item() if value.ndim == 0 else value.tolist()
    return value.tolist() if hasattr(value, "tolist") else value


# ---------------------------------------------------------------- public


class TrainContext:
    """Where this worker stands in its group."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment

    def get_world_size(self) -> int:
        return self._assignment.world_size

    def get_world_rank(self) -> int:
        return self._assignment.rank

    def get_local_rank(self) -> int:
        """The number of this worker on its machine."""
        return self._assignment.local_rank

    def get_local_world_size(self) -> int:
        return self._assignment.local_world_size

    def get_node_rank(self) -> int:
        return self._assignment.node_rank

    def get_experiment_name(self) -> str:
        return self._assignment.run_name

    def get_trial_name(self) -> str:
        return self._assignment.run_name

    def get_trial_dir(self) -> str:
        """The run's directory."""
        return self._assignment.run_directory

    def get_attempt(self) -> int:
        """0, and one more each time training started again."""
        return self._assignment.attempt

    def __repr__(self) -> str:
        one = self._assignment
        return f"TrainContext(rank {one.rank} of {one.world_size}, run {one.run_name!r}, attempt {one.attempt})"


def report(metrics: Mapping[str, Any], checkpoint: Checkpoint | None = None, **_of_ray: Any) -> None:
    """Tell the driver how training goes; optionally save a checkpoint.

    Does not wait: a worker may report in every step. A checkpoint's files are copied before this returns. It becomes complete when all workers that report
    have made this report; each may give files of its own (shards), which end up in one directory.

    Args:
        metrics: Name → number. The result's and the callbacks' are those of rank 0.

    Raises:
        CheckpointError: The disk is full.
    """
    session().report(metrics, checkpoint)


def get_context() -> TrainContext:
    """Rank, world size, …"""
    return TrainContext(session().assignment)


def get_checkpoint() -> Checkpoint | None:
    """Where to go on from: the last checkpoint of an attempt that failed, or what the trainer was told to resume from. None: start anew."""
    path = session().assignment.checkpoint
    return None if path is None else Checkpoint(path)


def get_dataset_shard(dataset_name: str = "train") -> Any:
    """This worker's rows of the dataset that the trainer was given by that name."""
    shards = session().shards
    if dataset_name not in shards:
        known = ", ".join(map(repr, shards)) or "none: pass datasets={…} to the trainer"
        raise KeyError(f"there is no dataset {dataset_name!r}; the trainer has {known}")
    return shards[dataset_name]
