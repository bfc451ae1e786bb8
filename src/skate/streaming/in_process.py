"""A run in the caller's process: the same subtasks and coordinator, and no actors. For debuggers, the inline backend, and simulations.

`choose(n)` picks which of n runnable subtasks goes next: seeded dice make it a simulation in which everything can overtake everything
that it may overtake in a real run; the default takes turns.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from skate.streaming.batch import Message
from skate.streaming.coordinator import Command, Commit, Coordinator, Discard, Finish, GiveUp, StartEpoch, WriteManifest
from skate.streaming.errors import StreamError
from skate.streaming.figures import Figures
from skate.streaming.graph import Plan, check_fit, fingerprint_of
from skate.streaming.host import Host
from skate.streaming.manifest import Manifest
from skate.streaming.snapshots import SnapshotStore
from skate.streaming.subtask import Sending

MEASURES_S = 0.25

SubtaskId = tuple[int, int]


class InProcessRun:
    def __init__(
        self,
        plan: Plan,
        store: SnapshotStore | None,
        *,
        epoch_s: float = 1.0,
        epoch_steps: int | None = None,
        choose: Callable[[int], int] | None = None,
        accept_changed_code: bool = False,
        is_stopped: Callable[[], bool] = lambda: False,
        on_measures: Callable[[Figures], None] = lambda figures: None,
        on_delivery: Callable[[int, list[Any]], None] = lambda sequence, records: None,
    ) -> None:
        """`epoch_steps`: an epoch is that many reads of each source subtask, whatever the clock says."""
        self.plan = plan
        self.store = store
        self.epoch_s = epoch_s
        self.epoch_steps = epoch_steps
        self.choose = choose
        self.accept_changed_code = accept_changed_code
        self.is_stopped = is_stopped
        self.on_measures = on_measures
        self.on_delivery = on_delivery
        self.figures = Figures()
        self.hosts: dict[SubtaskId, Host] = {}
        self.queues: dict[tuple[int, int, int], deque[Message]] = {}  # (exchange, sender, place) → messages under way.
        self._edges = {edge.id: edge for stage in plan.stages for edge in stage.outputs}
        self._steps_left: dict[SubtaskId, int] = {}
        self._epoch_started_s = self._epoch_ends_s = 0.0
        self._measured_s = 0.0
        self._commands: deque[Command] = deque()
        self._commits: deque[tuple[SubtaskId, int]] = deque()
        self._turn = 0

    def run(self) -> dict[int, list[Any]]:
        """Until the stream has ended. Returns sink's operator id → what each subtask returns."""
        manifest = None
        if self.store is not None:
            manifest = self.store.latest()
            if manifest is not None:
                check_fit(manifest.fingerprint, fingerprint_of(self.plan), accept_changed_code=self.accept_changed_code)
        splits = {stage.id: stage.source.splits() for stage in self.plan.stages if stage.source is not None}
        for subtask_id in self.plan.subtasks():
            host = Host(self.plan, *subtask_id, splits.get(subtask_id[0], []), self._snapshot_of(subtask_id))
            host.begin(self.store, manifest)
            self.hosts[subtask_id] = host
            self._deliver_results(host)
        try:
            if manifest is None or not manifest.is_final:
                self._loop(
                    Coordinator(
                        self.plan.sources(), self.plan.subtasks(), last_number=self.store.last_number() if self.store else 0
                    )
                )
            self._measure(is_forced=True)
            results: dict[int, list[Any]] = {}
            for host in self.hosts.values():
                for number, result in host.results().items():
                    results.setdefault(number, []).append(result)
            return results
        finally:
            for host in self.hosts.values():
                host.close()

    def _loop(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self._commands.extend(coordinator.start())
        while True:
            while self._commands:
                self._obey(self._commands.popleft())
            if coordinator.is_finished and not self._commits:
                return
            if self.is_stopped():
                coordinator.stop()
            self._measure()
            choices: list[Any] = [("deliver", key) for key, queue in self.queues.items() if queue]
            if self.choose is None and choices:
                choices = choices[:1]  # What is under way first: queues stay short.
            else:
                choices += [("read", subtask_id) for subtask_id in self._steps_left]
            if self._commits:
                choices.append(("commit", None))
            if not choices:
                raise StreamError(
                    "the stream stands still: nothing to read, nothing under way, and no end; this is a bug of skate"
                )
            self._turn += 1
            what, key = choices[self.choose(len(choices)) if self.choose is not None else self._turn % len(choices)]
            if what == "deliver":
                self._deliver(key)
            elif what == "read":
                self._read(key)
            else:
                subtask_id, number = self._commits.popleft()
                self.hosts[subtask_id].commit(number)
                self._deliver_results(self.hosts[subtask_id])

    def _deliver_results(self, host: Host) -> None:
        for sequence, records in host.take_deliveries():
            self.on_delivery(sequence, records)

    def _measure(self, *, is_forced: bool = False) -> None:
        now = time.monotonic()
        if is_forced or now - self._measured_s >= MEASURES_S:
            self._measured_s = now
            self.figures.measures = {
                key: {**host.measures(), "backpressure_s": 0.0, "cpu_s": 0.0} for key, host in self.hosts.items()
            }
            self.on_measures(self.figures)

    def _deliver(self, key: tuple[int, int, int]) -> None:
        exchange, sender, place = key
        receiver = (self._edges[exchange].to_stage, place)
        host = self.hosts[receiver]
        host.subtask.receive((exchange, sender), [self.queues[key].popleft()])
        self._send(receiver, host.subtask.flush())

    def _read(self, subtask_id: SubtaskId) -> None:
        host = self.hosts[subtask_id]
        had_any, sendings = host.step()
        self._send(subtask_id, sendings)
        self._steps_left[subtask_id] -= 1
        if self.epoch_steps is None:
            is_over = time.monotonic() >= self._epoch_ends_s or self.coordinator.is_stopping
        else:
            is_over = self._steps_left[subtask_id] <= 0
        if host.has_ended or is_over:
            del self._steps_left[subtask_id]
            number = self.coordinator.number
            self._send(subtask_id, host.end_epoch(number))
            self._commands.extend(self.coordinator.on_epoch_done(subtask_id, number, has_ended=host.has_ended))
        elif not had_any and self.choose is None:
            time.sleep(0.001)

    def _send(self, sender: SubtaskId, sendings: list[Sending]) -> None:
        for exchange, place, message in sendings:
            self.queues.setdefault((exchange, sender[1], place), deque()).append(message)

    def _snapshot_of(self, subtask_id: SubtaskId) -> Callable[[int, bytes], None]:
        def on_snapshot(number: int, data: bytes) -> None:
            if self.store is None:
                self._commands.extend(self.coordinator.on_part(subtask_id, number, None))
                return
            try:
                part = self.store.write_part(number, *subtask_id, data)
            except OSError as error:
                self._commands.extend(self.coordinator.on_part_failed(subtask_id, number, str(error)))
                return
            self._commands.extend(self.coordinator.on_part(subtask_id, number, part))

        return on_snapshot

    def _obey(self, command: Command) -> None:
        match command:
            case StartEpoch():
                self._epoch_started_s = time.monotonic()
                self._epoch_ends_s = self._epoch_started_s + self.epoch_s
                self._steps_left = dict.fromkeys(self.plan.sources(), self.epoch_steps or 0)
            case WriteManifest(number, parts, is_final):
                if self.store is not None:
                    try:
                        self.store.write_manifest(Manifest(number, fingerprint_of(self.plan), parts, is_final))
                    except OSError as error:
                        self._commands.extend(self.coordinator.on_manifest_failed(number, str(error)))
                        return
                self.figures.add_snapshot(
                    number, sum(part.size_bytes for part in parts), time.monotonic() - self._epoch_started_s
                )
                self._commands.extend(self.coordinator.on_manifest_written(number))
            case Commit(number):
                self._commits.extend((subtask_id, number) for subtask_id, host in self.hosts.items() if host.sinks())
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
