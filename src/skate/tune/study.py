"""A study in the driver: hands trials to runners, hears their events, asks searcher and scheduler, writes the journal.

PENDING ─► RUNNING ─┬─► TERMINATED      ended by itself, by `stop`, or by the scheduler
   ▲                ├─► ERROR           after its last retry
   │                └─► PAUSED ─► TERMINATED     waits for the others of its bracket (HyperBand)
   └────────────────┴───┘ failed and may be tried again; exploited another trial (PBT); released
"""

from __future__ import annotations

import collections
import math
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import skate
from skate.train.config import RunConfig
from skate.train.errors import CheckpointError
from skate.train.history import publish_metrics
from skate.train.policy import may_retry, rows_until
from skate.tune.journal import Journal
from skate.tune.runner import Assignment, TrialRunner, Work, should_stop
from skate.tune.schedulers import Decision, Exploit, Scheduler
from skate.tune.search import Searcher
from skate.tune.search_space import walk
from skate.tune.table import LiveTable

_WAIT_S = 0.5
_BATCH_S = 0.05  # A runner is given so much work at once, when trials are short.
_BATCH_MAX = 100
_SHORT_S = 0.02  # Trials that take longer are handed out one by one.
_DRAW_EVERY_S = 0.25
_PUBLISH_EVERY_S = 0.5
_PUBLISHED_MAX = 500
_ADOPT_TRIES = 10


@dataclass
class TrialState:
    """What the driver knows of a trial."""

    trial_id: str
    config: dict[str, Any]
    state: str = "PENDING"
    row: dict[str, Any] = field(default_factory=dict)  # The last report.
    rows: list[dict[str, Any]] = field(default_factory=list)
    checkpoint: str | None = None
    checkpoint_iteration: int = 0
    error: str = ""
    failures: int = 0


@dataclass
class _Runner:
    actor: Any
    ref: Any = None
    trials: dict[str, None] = field(default_factory=dict)  # Handed to it, in order.
    is_held_up: bool = False  # It gave trials back: the one it runs takes long, and nothing is to wait behind it.
    answers: dict[str, Any] = field(default_factory=dict)


class Study:
    """One `fit()`."""

    def __init__(
        self,
        *,
        name: str,
        directory: Path,
        work: Work,
        searcher: Searcher,
        scheduler: Scheduler,
        metric: str | None,
        mode: str | None,
        run: RunConfig,
        runner_options: Mapping[str, Any],
        concurrency: int,
        wants_feedback: bool,
        time_budget_s: float | None,
    ) -> None:
        self.name, self.directory = name, directory
        self._work, self._searcher, self._scheduler = work, searcher, scheduler
        self._metric, self._mode, self._run = metric, mode, run
        self._options, self._concurrency, self._wants_feedback = dict(runner_options), concurrency, wants_feedback
        self._time_budget_s = time_budget_s
        self.trials: dict[str, TrialState] = {}
        self._pending: collections.deque[str] = collections.deque()
        self._exploiting: dict[str, Exploit] = {}
        self._pausing: set[str] = set()  # Told to end for now; their runners have not said yet that they did.
        self._verdicts: dict[str, Decision] = {}  # Of trials that are paused, or will be in a moment.
        self._runners: list[_Runner] = []
        self._journal = Journal(directory)
        self._entries: list[dict[str, Any]] = []
        self._durations: collections.deque[float] = collections.deque(maxlen=64)
        self._is_exhausted = False
        self._started_s = time.monotonic()
        self._published_s = 0.0

    # ------------------------------------------------------------ life

    def resume(self) -> int:
        """Take in the journal of before; returns the number of trials that are not tried again."""
        paused: set[str] = set()
        for entry in self._journal.read():
            note_entry(self.trials, entry)
            trial = self.trials.get(entry["id"])
            if trial is None:
                continue
            if entry["kind"] == "new":
                self._scheduler.on_start(trial.trial_id, trial.config)
            elif entry["kind"] == "report":
                paused.discard(trial.trial_id)
                if self._feed_scheduler(trial, entry["row"]) is Decision.PAUSE:
                    paused.add(trial.trial_id)
            elif entry["kind"] == "end":
                self._scheduler.on_complete(trial.trial_id)
            self._verdicts |= self._scheduler.released()
        done = 0
        for trial in self.trials.values():
            is_done = trial.state in ("TERMINATED", "ERROR")
            self._searcher.replay(
                trial.trial_id, trial.config, self._value(trial) if is_done and trial.state == "TERMINATED" else None
            )
            if is_done:
                done += 1
                continue
            self._go_back(trial)
            if trial.trial_id in paused and trial.checkpoint is not None:
                trial.state = "PAUSED"
            else:
                self._pending.append(trial.trial_id)
        return done

    def run(self) -> None:
        table = LiveTable(self._metric, self._mode, is_wanted=self._run.verbose > 0)
        drawn_s = 0.0
        try:
            self._hand_out()
            while refs := [runner.ref for runner in self._runners if runner.ref is not None]:
                ready, _ = skate.wait(refs, num_returns=1, timeout=_WAIT_S)
                for runner in [one for one in self._runners if one.ref in ready]:
                    self._hear(runner)
                self._journal.write(self._entries)
                self._entries.clear()
                self._hand_out()
                now_s = time.monotonic()
                if table.is_drawn and now_s - drawn_s > _DRAW_EVERY_S:
                    drawn_s = now_s
                    table.draw(list(self.trials.values()), self._searcher.total(), now_s - self._started_s)
                self._publish()
            table.draw(list(self.trials.values()), self._searcher.total(), time.monotonic() - self._started_s)
        finally:
            table.close()
            if self._entries and not isinstance(sys.exc_info()[1], CheckpointError):
                self._journal.write(self._entries)
            self._journal.close()
            for runner in self._runners:
                _end(runner.actor)
            self._publish(is_forced=True)

    # ------------------------------------------------------------ handing out

    def _hand_out(self) -> None:
        """Give each runner that waits what it needs: answers, and trials."""
        is_over = self._time_budget_s is not None and time.monotonic() - self._started_s > self._time_budget_s
        self._release(is_over=is_over)
        # A trial goes to a runner that has none, then to a new runner; only then behind another trial.
        batch = self._batch_size()
        for runner in self._runners:
            if runner.ref is None and not runner.trials:
                self._advance(runner, 0 if is_over else batch)
        while not is_over and len(self._runners) < self._concurrency and self._has_more():
            runner = _Runner(skate.remote(**self._options)(TrialRunner).remote(self._work))
            self._runners.append(runner)
            self._advance(runner, batch)
        for runner in self._runners:
            if runner.ref is None:
                self._advance(runner, 0 if is_over or runner.is_held_up else batch)

    def _advance(self, runner: _Runner, batch: int) -> None:
        new: list[Assignment] = []
        while len(runner.trials) < batch:
            trial = self._next_trial()
            if trial is None:
                break
            runner.trials[trial.trial_id] = None
            trial.state = "RUNNING"
            seconds = float(trial.row.get("time_total_s", 0.0)) if trial.checkpoint else 0.0
            new.append(
                Assignment(
                    trial.trial_id,
                    trial.config,
                    str(self.directory / trial.trial_id),
                    trial.checkpoint,
                    trial.checkpoint_iteration,
                    seconds,
                )
            )
        if not runner.trials:
            return
        answers, runner.answers = runner.answers, {}
        runner.ref = runner.actor.advance.remote(new, answers, _WAIT_S)

    def _batch_size(self) -> int:
        if self._wants_feedback or not self._durations:
            return 1
        mean_s = sum(self._durations) / len(self._durations)
        if mean_s > _SHORT_S:
            return 1
        left = self._searcher.total() - len(self.trials) + len(self._pending)
        fair = math.ceil(left / (2 * max(1, len(self._runners))))  # So that runners end together.
        return max(1, min(_BATCH_MAX, int(_BATCH_S / max(mean_s, 1e-5)) + 1, fair))

    def _has_more(self) -> bool:
        if not self._pending and not self._is_exhausted:
            trial = self._suggest()
            if trial is not None:
                self._pending.append(trial.trial_id)
        return bool(self._pending)

    def _next_trial(self) -> TrialState | None:
        if self._pending:
            return self.trials[self._pending.popleft()]
        return None if self._is_exhausted else self._suggest()

    def _suggest(self) -> TrialState | None:
        trial_id = f"trial_{len(self.trials):05d}"
        config = self._searcher.suggest(trial_id)
        if config is None:
            self._is_exhausted = True
            return None
        trial = self.trials[trial_id] = TrialState(trial_id, config)
        self._entries.append({"kind": "new", "id": trial_id, "config": config})
        self._scheduler.on_start(trial_id, config)
        return trial

    # ------------------------------------------------------------ hearing

    def _hear(self, runner: _Runner) -> None:
        ref, runner.ref = runner.ref, None
        try:
            events = skate.get(ref)
        except skate.exceptions.RayActorError as error:
            self._lose(runner, error)
            return
        for kind, trial_id, value, checkpoint in events:
            trial = self.trials[trial_id]
            if kind == "report":
                self._on_report(runner, trial, value, checkpoint)
                continue
            runner.trials.pop(trial_id, None)
            runner.is_held_up = kind == "returned"
            if kind == "returned":
                trial.state = "PENDING"
                self._pending.appendleft(trial_id)
            elif kind == "end":
                trial.checkpoint = checkpoint or trial.checkpoint
                self._durations.append(value)
                self._on_end(trial)
            else:
                self._on_error(trial, *value)

    def _on_report(self, runner: _Runner, trial: TrialState, row: dict[str, Any], checkpoint: str | None) -> None:
        note_report(trial, row, checkpoint)
        self._entries.append({"kind": "report", "id": trial.trial_id, "row": row, "checkpoint": checkpoint})
        if len(self.trials) <= _PUBLISHED_MAX:
            publish_metrics(row, row["training_iteration"], f"{self.name}/{trial.trial_id}")
        if not self._scheduler.asks:
            return
        if should_stop(self._run.stop, trial.trial_id, row):  # It ends by itself: nothing to decide.
            runner.answers[trial.trial_id] = "continue"
            return
        decision = self._scheduler.on_result(trial.trial_id, row)
        if isinstance(decision, Exploit):
            self._need_checkpoint(self.trials[decision.donor])
            self._exploiting[trial.trial_id] = decision
        elif decision is Decision.PAUSE:
            self._need_checkpoint(trial)
            self._pausing.add(trial.trial_id)
        runner.answers[trial.trial_id] = "continue" if decision is Decision.CONTINUE else "stop"

    def _need_checkpoint(self, trial: TrialState) -> None:
        if trial.checkpoint is None:
            raise ValueError(
                f"{type(self._scheduler).__name__}: trial {trial.trial_id} has no checkpoint to go on from: report(metrics, checkpoint=…), or a class "
                "with save_checkpoint"
            )

    def _release(self, *, is_over: bool) -> None:
        """Paused trials go on, or end, as the scheduler says."""
        self._verdicts |= self._scheduler.released()
        # Only where trials can be paused: this runs after each event, and there may be many trials.
        paused = [trial for trial in self.trials.values() if trial.state == "PAUSED"] if self._scheduler.needs_checkpoints else []
        if not paused:
            return
        is_idle = not any(runner.trials for runner in self._runners) and (is_over or not self._has_more())
        if is_idle and not any(trial.trial_id in self._verdicts for trial in paused):
            self._scheduler.close()
            self._verdicts |= self._scheduler.released()
        for trial in paused:
            verdict = self._verdicts.pop(trial.trial_id, Decision.STOP if is_over and is_idle else Decision.PAUSE)
            if verdict is Decision.CONTINUE and not is_over:
                self._go_back(trial)
                trial.state = "PENDING"
                self._pending.append(trial.trial_id)
            elif verdict is not Decision.PAUSE:
                self._finish(trial)

    def _on_end(self, trial: TrialState) -> None:
        if trial.trial_id in self._pausing:
            self._pausing.discard(trial.trial_id)
            trial.state = "PAUSED"
            return
        exploit = self._exploiting.pop(trial.trial_id, None)
        if exploit is not None:
            donor = self.trials[exploit.donor]
            trial.config = exploit.config
            # Its own clock goes on; the state is the donor's.
            trial.checkpoint, trial.checkpoint_iteration = self._adopt(donor, trial), int(trial.row["training_iteration"])
            adopted = {"config": trial.config, "checkpoint": trial.checkpoint, "iteration": trial.checkpoint_iteration}
            self._entries.append({"kind": "adopt", "id": trial.trial_id, **adopted})
            trial.state = "PENDING"
            self._pending.append(trial.trial_id)
            return
        self._finish(trial)

    def _finish(self, trial: TrialState) -> None:
        trial.state = "TERMINATED"
        self._entries.append({"kind": "end", "id": trial.trial_id, "state": trial.state})
        self._scheduler.on_complete(trial.trial_id)
        self._searcher.observe(trial.trial_id, self._value(trial))

    def _adopt(self, donor: TrialState, trial: TrialState) -> str:
        """The donor's latest checkpoint, in the trial's own directory: the donor goes on, and deletes what it does not keep."""
        target = self.directory / trial.trial_id / f"adopted_{int(trial.row['training_iteration']):06d}"
        shutil.rmtree(target, ignore_errors=True)
        found = [Path(donor.checkpoint)] if donor.checkpoint else []
        for _ in range(_ADOPT_TRIES):
            for source in found:
                try:
                    shutil.copytree(source, target)
                    return str(target)
                except (OSError, shutil.Error):  # Deleted meanwhile: there is a later one.
                    shutil.rmtree(target, ignore_errors=True)
            found = sorted((self.directory / donor.trial_id).glob("checkpoint_??????"), reverse=True)
        raise CheckpointError(f"{trial.trial_id} could not copy a checkpoint of {donor.trial_id}, from which it is to go on")

    def _on_error(self, trial: TrialState, text: str, trace: str) -> None:
        trial.failures += 1
        limit = self._run.failure_config.max_failures
        is_retried = may_retry(trial.failures, limit) and "CheckpointError" not in text
        self._say(f"{trial.trial_id} failed: {text}" + ("; it is tried again" if is_retried else ""))
        if is_retried:
            self._go_back(trial)
            trial.state = "PENDING"
            self._pending.append(trial.trial_id)
            return
        trial.state, trial.error = "ERROR", f"{text}\n\n{trace}"
        self._entries.append({"kind": "end", "id": trial.trial_id, "state": "ERROR", "error": trial.error})
        self._scheduler.on_complete(trial.trial_id)
        self._searcher.observe(trial.trial_id, None)

    def _lose(self, runner: _Runner, error: BaseException) -> None:
        """A runner's process died: the trial it ran has failed, those that waited go elsewhere."""
        self._runners.remove(runner)
        _end(runner.actor)
        trials = [self.trials[trial_id] for trial_id in runner.trials]
        for trial in reversed(trials[1:]):
            trial.state = "PENDING"
            self._pending.appendleft(trial.trial_id)
        if trials:
            cause = " ".join(str(error).split()).split(" is dead: ")[-1].split("; actor id")[0]
            self._on_error(trials[0], f"its process died: {cause}", "")

    def _go_back(self, trial: TrialState) -> None:
        trial.rows = rows_until(trial.rows, trial.checkpoint_iteration)
        trial.row = trial.rows[-1] if trial.rows else {}

    def _feed_scheduler(self, trial: TrialState, row: Mapping[str, Any]) -> Decision | Exploit:
        self._scheduler.on_start(trial.trial_id, trial.config)
        return self._scheduler.on_result(trial.trial_id, row) if self._scheduler.asks else Decision.CONTINUE

    def _value(self, trial: TrialState) -> float | None:
        value = trial.row.get(self._metric) if self._metric else None
        return float(value) if isinstance(value, int | float) else None

    # ------------------------------------------------------------ what others see

    def _publish(self, *, is_forced: bool = False) -> None:
        now_s = time.monotonic()
        if not is_forced and now_s - self._published_s < _PUBLISH_EVERY_S:
            return
        self._published_s = now_s
        latest = list(self.trials.values())[-_PUBLISHED_MAX:]
        document = {
            "metric": self._metric,
            "mode": self._mode,
            "total": self._searcher.total(),
            "seconds": round(now_s - self._started_s, 2),
            "trials": [
                {
                    "id": one.trial_id,
                    "state": one.state,
                    "config": _plain(one.config),
                    "metrics": one.row,
                    "failures": one.failures,
                }
                for one in latest
            ],
        }
        skate.publish("tune", self.name, document)

    def _say(self, text: str) -> None:
        if self._run.verbose:
            sys.stderr.write(f"[tune] {text}\n")
            sys.stderr.flush()


def read_trials(directory: Path) -> list[TrialState]:
    """The trials of a study on disk, as far as its journal goes."""
    trials: dict[str, TrialState] = {}
    for entry in Journal(directory).read():
        note_entry(trials, entry)
    return list(trials.values())


def note_entry(trials: dict[str, TrialState], entry: dict[str, Any]) -> None:
    """One line of the journal."""
    trial = trials.get(entry["id"])
    if entry["kind"] == "new":
        trials[entry["id"]] = TrialState(entry["id"], entry["config"])
    elif trial is None:
        return
    elif entry["kind"] == "report":
        note_report(trial, entry["row"], entry["checkpoint"])
    elif entry["kind"] == "adopt":
        trial.config, trial.checkpoint, trial.checkpoint_iteration = entry["config"], entry["checkpoint"], entry["iteration"]
    else:
        trial.state, trial.error = entry["state"], entry.get("error", "")


def note_report(trial: TrialState, row: dict[str, Any], checkpoint: str | None) -> None:
    # A trial that was started again after a crash reports some iterations a second time.
    if trial.rows and row["training_iteration"] <= trial.rows[-1]["training_iteration"]:
        trial.rows = rows_until(trial.rows, row["training_iteration"] - 1)
    trial.row = row
    trial.rows.append(row)
    if checkpoint is not None and checkpoint != trial.checkpoint:
        trial.checkpoint, trial.checkpoint_iteration = checkpoint, row["training_iteration"]


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Path → value: each setting is an axis of the page's parallel coordinates."""
    return {
        path: value if isinstance(value, int | float | str | bool | None) else getattr(value, "__name__", str(value))
        for path, value in walk(config)
    }


def _end(actor: Any) -> None:
    try:
        skate.kill(actor)
    except (skate.exceptions.RayError, RuntimeError):
        pass
