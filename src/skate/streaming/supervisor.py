"""Supervisor: starts the workers, carries out what the coordinator decides, and begins again from the last snapshot when one dies.

attempt ──► workers ──► reports ──► coordinator ──► commands ──► workers, snapshot store
   ▲                                   │ a worker died
   └───── kill the others, restore ◄───┘
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import skate
from skate.streaming.coordinator import Command, Commit, Coordinator, Discard, Finish, GiveUp, StartEpoch, WriteManifest
from skate.streaming.errors import StreamError
from skate.streaming.figures import Figures
from skate.streaming.graph import Plan, check_fit, fingerprint_of
from skate.streaming.manifest import Manifest
from skate.streaming.snapshots import SnapshotStore
from skate.streaming.worker import SubtaskId, Worker

POLL_S = 30.0  # A report wakes the supervisor at once; this is how long a quiet poll lasts.
SHUT_DOWN = "skate.shutdown() was called while the stream ran; stop it before: running.stop()"


class WorkerDiedError(Exception):
    """A worker is gone. Internal: the supervisor begins again."""


class Supervisor:
    def __init__(
        self,
        plan: Plan,
        store: SnapshotStore | None,
        *,
        epoch_s: float,
        restarts_max: int,
        accept_changed_code: bool,
        is_stopped: Callable[[], bool],
        on_measures: Callable[[Figures], None],
        on_delivery: Callable[[int, list[Any]], None],
        actor_options: dict[str, Any],
    ) -> None:
        self.plan = plan
        self.store = store
        self.epoch_s = epoch_s
        self.restarts_max = restarts_max
        self.accept_changed_code = accept_changed_code
        self.is_stopped = is_stopped
        self.on_measures = on_measures
        self.on_delivery = on_delivery
        self.actor_options = actor_options
        self.figures = Figures()
        self.workers: dict[SubtaskId, Any] = {}
        self._fingerprint = fingerprint_of(plan)
        self._epoch_started_s: dict[int, float] = {}

    def run(self) -> dict[int, list[Any]]:
        """To the end. Returns sink's operator id → what each subtask returns."""
        noticed_s: float | None = None
        in_a_row = snapshots = 0
        while True:
            try:
                return self._attempt(noticed_s)
            except WorkerDiedError as death:
                if not skate.is_initialized():
                    raise StreamError(SHUT_DOWN) from death
                noticed_s = time.monotonic()
                self.figures.restarts += 1
                self.figures.last_failure = str(death)
                if self.store is None:
                    raise StreamError(f"a worker died and there are no snapshots to go on from: {death}") from death
                in_a_row = in_a_row + 1 if self.figures.snapshots_taken == snapshots else 1
                snapshots = self.figures.snapshots_taken
                if in_a_row > self.restarts_max:
                    raise StreamError(
                        f"workers died {in_a_row} times in a row, without a snapshot between; the last: {death}. restarts_max={self.restarts_max}"
                    ) from death
            except Exception as error:
                if skate.is_initialized():
                    raise
                raise StreamError(SHUT_DOWN) from error
            finally:
                self._kill_all()

    def _attempt(self, noticed_s: float | None) -> dict[int, list[Any]]:
        manifest = None
        if self.store is not None:
            manifest = self.store.latest()
            if manifest is not None:
                check_fit(manifest.fingerprint, self._fingerprint, accept_changed_code=self.accept_changed_code)
        self._start_workers(manifest)
        if noticed_s is not None:
            self.figures.recovery_s.append(time.monotonic() - noticed_s)
        if manifest is None or not manifest.is_final:
            self._loop(
                Coordinator(self.plan.sources(), self.plan.subtasks(), last_number=self.store.last_number() if self.store else 0)
            )
        results: dict[int, list[Any]] = {}
        for one in self._get_all([worker.results.remote() for worker in self.workers.values()]):
            for number, result in one.items():
                results.setdefault(number, []).append(result)
        self._drain_measures()
        return results

    def _start_workers(self, manifest: Manifest | None) -> None:
        from skate import cloudpickle

        self.figures.measures.clear()
        try:
            plan_bytes = cloudpickle.dumps(self.plan)
        except Exception as error:
            raise StreamError(_what_cannot_travel(self.plan, error)) from error
        splits = {stage.id: stage.source.splits() for stage in self.plan.stages if stage.source is not None}
        actor: Any = skate.remote(concurrency_groups={"control": 2}, num_cpus=0, max_restarts=0, **self.actor_options)(Worker)
        directory = None if self.store is None else self.store.directory
        for stage, index in self.plan.subtasks():
            self.workers[stage, index] = actor.remote(plan_bytes, stage, index, splits.get(stage, []), directory)
        answers = {}
        for (stage, _), worker in self.workers.items():
            targets = {edge.to_stage for edge in self.plan.stages[stage].outputs}
            peers = {key: peer for key, peer in self.workers.items() if key[0] in targets}
            answers[worker.begin.remote(peers, manifest)] = worker
        for began, worker in zip(self._get_all(list(answers)), answers.values(), strict=True):
            if not began:
                for report in skate.get(_control(worker.next_report, 0.0)):
                    if report[0] == "failed":
                        raise report[1]

    # ---------------------------------------------------------------- the loop

    def _loop(self, coordinator: Coordinator) -> None:
        polls = {_control(worker.next_report, POLL_S): key for key, worker in self.workers.items()}
        self._commits_left: set[tuple[SubtaskId, int]] = set()
        commands: deque[Command] = deque(coordinator.start())
        is_stopping = False
        while True:
            while commands:
                commands.extend(self._obey(commands.popleft(), coordinator))
            if coordinator.is_finished and not self._commits_left:
                self._polls = polls
                return
            if not is_stopping and self.is_stopped():
                is_stopping = True
                coordinator.stop()
                for worker in self.workers.values():
                    _control(worker.stop)
            ready, _ = skate.wait(list(polls), num_returns=1, timeout=0.2)
            if not skate.is_initialized():  # The next call would start another engine.
                raise WorkerDiedError("all of them")
            for ref in ready:
                key = polls.pop(ref)
                try:
                    reports = skate.get(ref)
                except skate.exceptions.RayError as error:
                    raise WorkerDiedError(f"{self.plan.stages[key[0]].name}, subtask {key[1]}: {error}") from error
                for report in reports:
                    commands.extend(self._hear(key, report, coordinator))
                polls[_control(self.workers[key].next_report, POLL_S)] = key
            self.on_measures(self.figures)

    def _hear(self, key: SubtaskId, report: tuple[Any, ...], coordinator: Coordinator) -> list[Command]:
        match report:
            case ("measures", measures):
                self.figures.measures[key] = measures
            case ("delivery", sequence, records):
                self.on_delivery(sequence, records)
            case ("epoch", number, has_ended):
                return coordinator.on_epoch_done(key, number, has_ended=has_ended)
            case ("part", number, part):
                return coordinator.on_part(key, number, part)
            case ("part-failed", number, reason):
                return coordinator.on_part_failed(key, number, reason)
            case ("committed", number):
                self._commits_left.discard((key, number))
            case ("failed", error):
                raise error
        return []

    def _obey(self, command: Command, coordinator: Coordinator) -> list[Command]:
        match command:
            case StartEpoch(number):
                self._epoch_started_s[number] = time.monotonic()
                for key in self.plan.sources():
                    self.workers[key].run_epoch.remote(number, self.epoch_s)
            case WriteManifest(number, parts, is_final):
                size = sum(part.size_bytes for part in parts)
                if self.store is not None:
                    try:
                        self.store.write_manifest(Manifest(number, self._fingerprint, parts, is_final))
                    except OSError as error:
                        return coordinator.on_manifest_failed(number, str(error))
                took_s = time.monotonic() - self._epoch_started_s.pop(number, 0.0)
                self.figures.add_snapshot(number, size, took_s)
                return coordinator.on_manifest_written(number)
            case Commit(number):
                for key, worker in self.workers.items():
                    if any(_is_transactional(plan.operator) for plan in self.plan.stages[key[0]].operators):
                        self._commits_left.add((key, number))
                        worker.commit.remote(number)
                if self.store is not None:
                    self.store.prune()
            case Discard(number, reason):
                self.figures.snapshot_failures += 1
                self.figures.last_failure = reason
                if self.store is not None:
                    self.store.discard(number)
            case GiveUp(reason):
                raise StreamError(f"the stream can't go on: {reason}")
            case Finish():
                pass
        return []

    def _drain_measures(self) -> None:
        """The last figures, for the progress that is shown at the end."""
        for key, worker in self.workers.items():
            with contextlib.suppress(skate.exceptions.RayError):
                for report in skate.get(_control(worker.next_report, 0.0)):
                    if report[0] == "measures":
                        self.figures.measures[key] = report[1]
        self.on_measures(self.figures)

    def _get_all(self, refs: list[Any]) -> list[Any]:
        try:
            return list(skate.get(refs))
        except skate.exceptions.RayActorError as error:
            raise WorkerDiedError(str(error)) from error

    def _kill_all(self) -> None:
        if not skate.is_initialized():
            self.workers = {}
        for worker in self.workers.values():
            with contextlib.suppress(Exception):
                skate.kill(worker)
        for worker in self.workers.values():  # Nobody of this attempt may still write when the next begins.
            with contextlib.suppress(Exception):
                skate.get(_control(worker.stop), timeout=2.0)
        self.workers = {}


def _what_cannot_travel(plan: Plan, error: Exception) -> str:
    from skate import cloudpickle

    for stage in plan.stages:
        for part in [stage.source, *(operator_plan.operator for operator_plan in stage.operators)]:
            try:
                cloudpickle.dumps(part)
            except Exception as cause:
                return (
                    f"{part.name} can't be sent to workers ({type(cause).__name__}: {cause}): its function refers to something "  # type: ignore[union-attr]
                    f"that can't be pickled, such as a lock, a connection or an open file; make that in the function itself"
                )
    return f"the program can't be sent to workers: {type(error).__name__}: {error}"


def _control(method: Any, *arguments: Any) -> Any:
    return method.options(concurrency_group="control").remote(*arguments)


def _is_transactional(operator: Any) -> bool:
    from skate.streaming.sinks.base import Sink

    return isinstance(operator, Sink) and operator.is_transactional
