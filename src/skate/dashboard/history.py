"""A run as a whole: its rows sorted out by what they are about. What `why` and `explain` reason over; pure but for the reading of rows.

Times are microseconds since the epoch. A task is named by its key (owner, number), and for people by its label: `square-12`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from skate import run_format as f
from skate.run_format import Row

Key = tuple[int, int]  # (owner, number) of a task


@dataclass(slots=True)
class Attempt:
    """One attempt of a task or actor call."""

    key: Key
    attempt: int
    kind: int  # run_format.TASK, ACTOR_CREATION or ACTOR_CALL
    name: str
    lane: int
    start_us: float
    end_us: float  # 0 while it runs.
    state: int

    @property
    def duration_us(self) -> float:
        return max(0.0, self.end_us - self.start_us)


@dataclass(slots=True)
class Lane:
    """A process: the driver, or a worker."""

    number: int
    name: str = ""
    pid: int = 0
    came_us: float = 0.0
    went_us: float = 0.0


@dataclass(slots=True)
class Packing:
    """A large value that was serialized."""

    site: str
    of: str
    size_kib: int
    duration_us: float


@dataclass
class History:
    """What happened in a run. `read` more rows at any time."""

    names: Mapping[int, str]
    attempts: dict[tuple[int, int, int], Attempt] = field(default_factory=dict)  # (owner, number, attempt)
    last: dict[Key, Attempt] = field(default_factory=dict)  # The last attempt of each task.
    needs: dict[Key, list[Key]] = field(default_factory=dict)
    needed_us: dict[Key, float] = field(default_factory=dict)  # When a task with arguments of others was submitted.
    blocked: dict[Key, list[tuple[float, float]]] = field(default_factory=dict)  # (start, duration)
    spilled: dict[Key, list[float]] = field(default_factory=dict)
    restored: dict[Key, list[float]] = field(default_factory=dict)
    lanes: dict[int, Lane] = field(default_factory=dict)
    packings: list[Packing] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    _marks: dict[int, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    _by_lane: dict[int, list[Attempt]] | None = None

    def read(self, rows: Iterable[Row]) -> None:
        names = self.names
        for row in rows:
            kind = row.kind
            if kind in f.TASK_KINDS:
                key = (row.owner, int(row.number))
                known = self.attempts.get((*key, row.attempt))
                if row.state == f.RUNNING and known is not None:
                    continue
                end_us = 0.0 if row.state == f.RUNNING else row.time_us + row.duration_us
                attempt = Attempt(key, row.attempt, kind, names.get(row.name, "…"), row.lane, row.time_us, end_us, row.state)
                self.attempts[(*key, row.attempt)] = attempt
                before = self.last.get(key)
                if before is None or before.attempt <= row.attempt:
                    self.last[key] = attempt
            elif kind == f.NEEDS:
                key = (row.owner, int(row.number))
                self.needs.setdefault(key, []).append((row.lane, row.name))
                self.needed_us.setdefault(key, row.time_us)
            elif kind == f.SUBMITTED:
                self._marks[row.owner].append((int(row.number), row.time_us))
            elif kind == f.BLOCKED:
                self.blocked.setdefault((row.owner, int(row.number)), []).append((row.time_us, row.duration_us))
            elif kind == f.SPILLED:
                self.spilled.setdefault((row.owner, int(row.number)), []).append(row.time_us)
            elif kind == f.RESTORED:
                self.restored.setdefault((row.owner, int(row.number)), []).append(row.time_us)
            elif kind == f.LANE:
                lane = self.lanes.setdefault(row.lane, Lane(row.lane))
                if row.state == f.CAME:
                    lane.name, lane.pid, lane.came_us = names.get(row.name, ""), int(row.number), row.time_us
                else:
                    lane.went_us = row.time_us
            elif kind == f.PACKED:
                self.packings.append(
                    Packing(names.get(row.name, "?"), names.get(row.owner, "?"), int(row.number), row.duration_us)
                )
            elif kind == f.DROPPED:
                what = names.get(row.name, "…")
                self.dropped[what] = self.dropped.get(what, 0) + int(row.number)
        self._by_lane = None

    # ------------------------------------------------------------ questions

    def by_lane(self) -> dict[int, list[Attempt]]:
        """Attempts of each lane that have ended, in order of their start."""
        if self._by_lane is None:
            lanes: dict[int, list[Attempt]] = defaultdict(list)
            for attempt in self.attempts.values():
                lanes[attempt.lane].append(attempt)
            for attempts in lanes.values():
                attempts.sort(key=lambda attempt: attempt.start_us)
            self._by_lane = dict(lanes)
        return self._by_lane

    def work_us(self, attempt: Attempt) -> float:
        """How long it worked: without the time it waited in get or wait."""
        waited = sum(duration for _, duration in self.blocked.get(attempt.key, ()))
        return max(0.0, attempt.duration_us - waited)

    def submitted_us(self, key: Key) -> float | None:
        """When a task was submitted, to about a millisecond; None when nothing tells."""
        if key in self.needed_us:
            return self.needed_us[key]
        marks = self._marks.get(key[0])
        if not marks:
            return None
        position = bisect_right(marks, (key[1], float("inf")))
        if position == len(marks):
            return None
        number, time_us = marks[position]
        if position:
            before, before_us = marks[position - 1]
            share = (key[1] - before + 1) / max(1, number - before)
            time_us = before_us + (time_us - before_us) * min(1.0, share)
        attempt = self.last.get(key)
        return min(time_us, attempt.start_us) if attempt is not None else time_us

    def ran_on(self, lane: int, at_us: float) -> Attempt | None:
        """What ran in a lane at a time."""
        attempts = self.by_lane().get(lane, [])
        position = bisect_right([attempt.start_us for attempt in attempts], at_us) - 1
        for attempt in reversed(attempts[max(0, position - 50) : position + 1]):
            if not attempt.end_us or attempt.end_us >= at_us:
                return attempt
        return None

    def before_on(self, lane: int, at_us: float) -> Attempt | None:
        """The attempt in a lane that ended last before a time."""
        attempts = self.by_lane().get(lane, [])
        position = bisect_left([attempt.start_us for attempt in attempts], at_us) - 1
        return attempts[position] if position >= 0 else None

    def label(self, key: Key) -> str:
        """A task's short name: `square-12`; with its owner when a worker submitted it: `square-3.12`."""
        attempt = self.last.get(key)
        name = attempt.name if attempt is not None else "task"
        owner = self.lanes.get(key[0])
        is_driver = owner is None or not owner.name.startswith("worker")
        return f"{name}-{key[1]}" if is_driver else f"{name}-{key[0]}.{key[1]}"

    def find(self, text: str) -> Key:
        """The task that a label, an id in hex (or its beginning), or a function's name means; of a function the failed or slowest one.

        Raises:
            LookupError: None, with names that there are.
        """
        name, _, number = text.rpartition("-")
        owner, _, rest = number.rpartition(".")
        if name and rest.isdigit() and (not owner or owner.isdigit()):
            fits = [
                key
                for key in self.last
                if key[1] == int(rest) and (not owner or key[0] == int(owner)) and self.last[key].name == name
            ]
            if fits:
                return min(fits)
        if len(text) >= 9 and all(char in "0123456789abcdef" for char in text.lower()):
            digits = text.lower()[8:]
            fits = [key for key in self.last if f"{key[0]:08x}{key[1]:016x}".startswith(digits)]
            if len(fits) == 1:
                return fits[0]
        fits = [key for key, attempt in self.last.items() if attempt.name == text or attempt.name.rpartition(".")[2] == text]
        if fits:
            return max(fits, key=lambda key: (self.last[key].state == f.FAILED, self.last[key].duration_us))
        names = sorted({attempt.name for attempt in self.last.values()})
        known = ", ".join(names[:8]) or "none"
        raise LookupError(
            f"no task {text!r} is on record; functions that ran: {known}. Write a label such as {names[0] if names else 'square'}-12, or an id"
        )


def words(duration_us: float) -> str:
    """A duration for a person."""
    if duration_us < 1000:
        return f"{duration_us:.0f} µs"
    if duration_us < 1_000_000:
        return f"{duration_us / 1000:.3g} ms" if duration_us < 999_500 else "1 s"
    if duration_us < 120_000_000:
        return f"{duration_us / 1_000_000:.3g} s"
    return f"{duration_us / 60_000_000:.3g} min"
