"""Coordinator: decides when epochs begin, when a snapshot is whole, and when sinks may commit. Pure: `on_…(event) → commands`.

    StartEpoch(n) ──► sources read until the epoch's time is over, then send barrier n ──► EpochDone(n) from each source subtask
                      every subtask, when barrier n has come on all its inputs, snapshots ──► PartDone(n) from each subtask
    all PartDone(n) ──► WriteManifest(n) ──► manifest_written(n) ──► Commit(n) to each sink subtask

Epoch n+1 starts as soon as every source has finished epoch n: the snapshot of n is written meanwhile (Carbone et al., "Lightweight
Asynchronous Snapshots for Distributed Dataflows", 2015). A snapshot that fails (a full disk) is given up; the records of its epoch are
committed with the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from skate.streaming.manifest import Part

SubtaskId = tuple[int, int]  # (stage, index)


@dataclass(frozen=True, slots=True)
class StartEpoch:
    number: int


@dataclass(frozen=True, slots=True)
class WriteManifest:
    number: int
    parts: tuple[Part, ...]
    is_final: bool


@dataclass(frozen=True, slots=True)
class Commit:
    number: int


@dataclass(frozen=True, slots=True)
class Discard:
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """All there is has been committed."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


Command = StartEpoch | WriteManifest | Commit | Discard | Finish | GiveUp


@dataclass
class _Snapshot:
    waiting: set[SubtaskId]
    parts: list[Part] = field(default_factory=list)
    failure: str = ""


class Coordinator:
    def __init__(
        self, sources: Sequence[SubtaskId], subtasks: Sequence[SubtaskId], *, last_number: int = 0, failures_max: int = 3
    ) -> None:
        self.sources = frozenset(sources)
        self.subtasks = frozenset(subtasks)
        self.number = last_number
        self.failures_max = failures_max
        self.failures = 0  # In a row.
        self.is_stopping = False
        self.final_number: int | None = None  # The snapshot after which nothing comes.
        self.ended: set[SubtaskId] = set()
        self.is_finished = False
        self._reading: set[SubtaskId] = set()
        self._snapshots: dict[int, _Snapshot] = {}

    def start(self) -> list[Command]:
        return self._start_epoch()

    def stop(self) -> None:
        """End with the snapshot of the epoch that runs."""
        self.is_stopping = True

    def on_epoch_done(self, source: SubtaskId, number: int, *, has_ended: bool) -> list[Command]:
        assert number == self.number
        self._reading.discard(source)
        if has_ended:
            self.ended.add(source)
        if self._reading:
            return []
        is_last = self.ended == self.sources or self.is_stopping
        if is_last:
            self.final_number = number
        commands = self._settle(number)  # Its parts may have come before.
        return commands if is_last else commands + self._start_epoch()

    def on_part(self, subtask: SubtaskId, number: int, part: Part | None) -> list[Command]:
        """A subtask has written its part (None: snapshots are not kept, the barrier has passed it)."""
        snapshot = self._snapshots[number]
        snapshot.waiting.discard(subtask)
        if part is not None:
            snapshot.parts.append(part)
        return self._settle(number)

    def on_part_failed(self, subtask: SubtaskId, number: int, reason: str) -> list[Command]:
        snapshot = self._snapshots[number]
        snapshot.waiting.discard(subtask)
        snapshot.failure = snapshot.failure or f"stage {subtask[0]}, subtask {subtask[1]}: {reason}"
        return self._settle(number)

    def on_manifest_written(self, number: int) -> list[Command]:
        self.failures = 0
        del self._snapshots[number]
        commands: list[Command] = [Commit(number)]
        if number == self.final_number:
            self.is_finished = True
            commands.append(Finish())
        return commands

    def on_manifest_failed(self, number: int, reason: str) -> list[Command]:
        self._snapshots[number].failure = reason
        return self._settle(number)

    def _start_epoch(self) -> list[Command]:
        self.number += 1
        self._reading = set(self.sources)
        self._snapshots[self.number] = _Snapshot(set(self.subtasks))
        return [StartEpoch(self.number)]

    def _settle(self, number: int) -> list[Command]:
        snapshot = self._snapshots[number]
        if snapshot.waiting or (number == self.number and self._reading):
            return []
        if not snapshot.failure:
            parts = tuple(sorted(snapshot.parts, key=lambda part: (part.stage, part.index)))
            # A stop leaves records unread: that snapshot is one to continue from.
            is_final = number == self.final_number and self.ended == self.sources
            return [WriteManifest(number, parts, is_final)]
        self.failures += 1
        del self._snapshots[number]
        if self.failures >= self.failures_max:
            return [
                Discard(number, snapshot.failure),
                GiveUp(f"{self.failures} snapshots in a row failed; the last: {snapshot.failure}"),
            ]
        commands: list[Command] = [Discard(number, snapshot.failure)]
        if number == self.final_number:
            self.final_number = None
            commands += self._start_epoch()  # Nothing is left to read; it only carries the barrier once more.
        return commands
