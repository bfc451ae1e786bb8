"""The actor that runs trials, one after another: a process serves many, so a short trial costs no process start.

    driver ── advance(new trials, answers) ─► runner: queue ─► thread: the trial's function ─ report ─► events
           ◄─ events: report · end · error · returned ────────────────────────────────────────────────┘

Where a scheduler asks, the function waits in `report` for the driver's answer; otherwise it goes on at once, and many trials' events travel in one
answer. Trials that wait behind a long one are given back, so that an idle runner can have them.
"""

from __future__ import annotations

import collections
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skate.train.checkpoint import Checkpoint, CheckpointStore, add_files
from skate.train.config import CheckpointConfig, RunConfig
from skate.train.context import number

_GIVE_BACK_S = 0.3  # A trial behind another is given back after so long.


class StopTrial(BaseException):
    """Raised by `report` in a trial that is to end. Not an Exception: `except Exception` in a trial must not stop it."""


@dataclass
class Assignment:
    """One trial, or the rest of one."""

    trial_id: str
    config: dict[str, Any]
    directory: str
    checkpoint: str | None = None
    iteration: int = 0
    fixed_s: float = 0.0  # Seconds it had run before.


@dataclass
class Work:
    """What all trials of a study share."""

    trainable: Any
    asks: bool
    saves_each_step: bool
    stop: Any
    checkpoint_config: CheckpointConfig = field(default_factory=CheckpointConfig)


class Trial:
    """The trial that runs; `report` and the others come here."""

    def __init__(self, runner: TrialRunner, assignment: Assignment) -> None:
        self.assignment = assignment
        self.checkpoint = assignment.checkpoint
        self._runner = runner
        self._iteration = assignment.iteration
        self._started_s = time.monotonic() - assignment.fixed_s
        self._store: CheckpointStore | None = None
        self.has_saved = False  # Whether the report that is under way has a checkpoint.

    def report(self, metrics: Mapping[str, Any], checkpoint: Checkpoint | None) -> None:
        if not isinstance(metrics, Mapping):
            raise TypeError(f"report() takes a dict of metrics, such as {{'loss': 0.5}}, not {metrics!r}")
        self._iteration += 1
        row = {name: number(value) for name, value in metrics.items()}
        row["training_iteration"] = self._iteration
        row["time_total_s"] = round(time.monotonic() - self._started_s, 5)
        self.has_saved = checkpoint is not None
        if checkpoint is not None:
            self.checkpoint = self._save(checkpoint, row)
        self._runner.on_report(self, row)
        if should_stop(self._runner.work.stop, self.assignment.trial_id, row):
            raise StopTrial

    def _save(self, checkpoint: Checkpoint, row: Mapping[str, Any]) -> str:
        if self._store is None:
            self._store = CheckpointStore(Path(self.assignment.directory), self._runner.work.checkpoint_config)
            self._store.open()
        latest = self._store.latest
        index = latest.index + 1 if latest else 0
        add_files(checkpoint.path, self._store.partial(index))
        return str(self._store.commit(index, self._iteration, row).path)


def should_stop(stop: Any, trial_id: str, row: Mapping[str, Any]) -> bool:
    """RunConfig(stop=…): metric → the value at which a trial ends, or a function of trial id and result."""
    if stop is None:
        return bool(row.get("done"))
    if callable(stop):
        return bool(stop(trial_id, row))
    return bool(row.get("done")) or any(name in row and row[name] >= value for name, value in stop.items())


class TrialRunner:
    """The actor."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._function = as_function(work)
        self._changed = threading.Condition()
        self._queue: collections.deque[Assignment] = collections.deque()
        self._events: list[tuple[str, str, Any, Any]] = []
        self._answers: dict[str, Any] = {}
        self._current: str | None = None
        self._thread: threading.Thread | None = None
        self._is_waiting = False  # The trial waits for an answer.
        self._calls = 0

    def advance(self, new: list[Assignment], answers: Mapping[str, Any], wait_s: float) -> list[tuple[str, str, Any, Any]]:
        """Go on; return what has happened: (kind, trial id, value, checkpoint). Waits for something to happen, at most `wait_s`."""
        with self._changed:
            self._calls += 1
            self._queue.extend(new)
            self._answers.update(answers)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="skate-trials", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            until_s = time.monotonic() + (min(wait_s, _GIVE_BACK_S) if self._queue else wait_s)
            # An answer with everything that short trials bring in this time, or at once when somebody waits for it.
            while time.monotonic() < until_s and not self._is_answer_due():
                self._changed.wait(until_s - time.monotonic())
            if self._current is not None and self._queue and not self._is_answer_due():
                self._events += [("returned", one.trial_id, None, None) for one in self._queue]
                self._queue.clear()
            events, self._events = self._events, []
        return events

    def _is_answer_due(self) -> bool:
        is_idle = self._current is None and not self._queue
        return bool(self._events) and (
            self._is_waiting
            or is_idle
            or len(self._events) >= 256
            or (any(e[0] == "report" for e in self._events[-1:]) and not self._queue)
        )

    def on_report(self, trial: Trial, row: dict[str, Any]) -> None:
        """Called in the trial's thread."""
        trial_id = trial.assignment.trial_id
        with self._changed:
            self._events.append(("report", trial_id, row, trial.checkpoint))
            if trial.has_saved and not self.work.asks:
                # The driver's next call shows that it has heard of the checkpoint: a process that dies now loses nothing.
                calls, self._is_waiting = self._calls, True
                self._changed.notify_all()
                while self._calls == calls:
                    self._changed.wait()
                self._is_waiting = False
                return
            if not self.work.asks:
                if self._answers.get(trial_id) == "stop":
                    raise StopTrial
                if not self._queue or len(self._events) >= 256:
                    self._changed.notify_all()
                return
            self._is_waiting = True
            self._changed.notify_all()
            while trial_id not in self._answers:
                self._changed.wait()
            self._is_waiting = False
            answer = self._answers.pop(trial_id)
        if answer != "continue":
            raise StopTrial

    def _run(self) -> None:
        while True:
            with self._changed:
                self._current = None
                if not self._queue:
                    self._changed.notify_all()
                while not self._queue:
                    self._changed.wait()
                assignment = self._queue.popleft()
                self._current = assignment.trial_id
                self._answers.pop(assignment.trial_id, None)
            self._run_one(assignment)

    def _run_one(self, assignment: Assignment) -> None:
        trial = Trial(self, assignment)
        _local.trial = trial
        started_s = time.monotonic()
        try:
            last = self._function(assignment.config)
            if isinstance(last, Mapping):
                trial.report(last, None)
            elif last is not None:
                raise TypeError(f"a trial returns a dict of metrics, such as {{'loss': 0.5}}, or nothing, not {last!r}")
            end: tuple[str, str, Any, Any] = ("end", assignment.trial_id, time.monotonic() - started_s, trial.checkpoint)
        except StopTrial:
            end = ("end", assignment.trial_id, time.monotonic() - started_s, trial.checkpoint)
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            end = ("error", assignment.trial_id, (text, traceback.format_exc()), trial.checkpoint)
        finally:
            _local.trial = None
        with self._changed:
            self._events.append(end)


_local = threading.local()


def current_trial() -> Trial:
    """The trial of this thread.

    Raises:
        RuntimeError: There is none.
    """
    trial = getattr(_local, "trial", None)
    if trial is None:
        raise RuntimeError("this works inside a trial only: pass the function that calls it to a Tuner, and call tuner.fit()")
    return trial  # type: ignore[no-any-return]


# ---------------------------------------------------------------- what a trial may be


class Trainable:
    """A trial as a class: derive from it. `step` is called until `stop` of RunConfig, a scheduler, or a result with "done" ends it."""

    checkpoint_frequency = 0  # Steps between checkpoints; 0: only where the scheduler needs them.

    def setup(self, config: dict[str, Any]) -> None:
        """Called once, before the first step."""

    def step(self) -> dict[str, Any]:
        """One iteration; returns its metrics."""
        raise NotImplementedError

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        """Write the state into a directory."""
        raise NotImplementedError

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Read it back."""
        raise NotImplementedError

    def cleanup(self) -> None:
        """Called at the end."""


def as_function(work: Work) -> Callable[[dict[str, Any]], Any]:
    """Any trainable as a function of its configuration."""
    trainable = work.trainable
    if isinstance(trainable, type):
        return lambda config: _run_class(trainable, config, saves_each_step=work.saves_each_step)
    if hasattr(trainable, "with_config"):
        return lambda config: _run_trainer(trainable, config)
    return trainable  # type: ignore[no-any-return]


def _run_class(cls: type, config: dict[str, Any], *, saves_each_step: bool) -> None:
    trial = current_trial()
    instance = cls()
    instance.setup(config)
    if trial.checkpoint is not None:
        instance.load_checkpoint(trial.checkpoint)
    every = 1 if saves_each_step else instance.checkpoint_frequency
    step = trial.assignment.iteration
    try:
        while True:
            result = instance.step()
            step += 1
            if not every or step % every:
                trial.report(result, None)
                continue
            with tempfile.TemporaryDirectory() as directory:
                instance.save_checkpoint(directory)
                trial.report(result, Checkpoint(directory))
    finally:
        instance.cleanup()


def _run_trainer(trainer: Any, config: dict[str, Any]) -> None:
    from skate.train.callbacks import Callback

    trial = current_trial()

    class Forward(Callback):
        def on_report(self, row: Mapping[str, Any]) -> None:
            hidden = ("training_iteration", "time_total_s", "timestamp")
            trial.report({name: value for name, value in row.items() if name not in hidden}, None)

        def on_checkpoint(self, checkpoint: Checkpoint, metrics: Mapping[str, Any]) -> None:
            trial.checkpoint = checkpoint.path

    run = RunConfig(
        name=f"train_{os.getpid()}_{time.time_ns()}",
        storage_path=trial.assignment.directory,
        failure_config=trainer.run_config.failure_config,
        checkpoint_config=trainer.run_config.checkpoint_config,
        callbacks=[Forward()],
        verbose=0,
    )
    start = Checkpoint(trial.checkpoint) if trial.checkpoint else None
    trainer.with_config(config.get("train_loop_config", config), run, start).fit()
