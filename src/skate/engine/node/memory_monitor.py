"""The memory monitor: says when the machine (or our cgroup) is nearly out of memory, before the kernel kills somebody at random.

    MEMORY_CHECK_S while leases are out · once a second while only actors live · never while nothing runs

It reads a few small files of /proc and /sys and decides nothing: the scheduler chooses who has to go.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from skate.config import MEMORY_CHECK_S, MEMORY_PRESSURE_FRACTION
from skate.engine.node.detect import Cgroup
from skate.engine.node.loop import Loop, Timer

_ACTORS_ONLY_CHECK_S = 1.0
_RELIEF_S = 1.0  # After a report: time for a process to die and its memory to come back.
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryGauge:
    """How much of what we may use is in use."""

    def __init__(self, limit_bytes: int | None, pids: Callable[[], Iterable[int]], cgroup: Cgroup | None = None) -> None:
        """`limit_bytes`: count only our own processes (`pids`), against this limit. None: all of the machine or our cgroup."""
        self._limit_bytes = limit_bytes
        self._pids = pids
        self._cgroup = cgroup or Cgroup()
        self._oom_kills = self._count_oom_kills()

    def read(self) -> tuple[int, int]:
        """(used, limit) in bytes, of whichever limit is nearer."""
        if self._limit_bytes is not None:
            return sum(map(private_bytes, self._pids())), self._limit_bytes
        readings = [self._machine()]
        for directory, limit in self._cgroup.memory_limits():
            used = self._cgroup_used(directory)
            if used is not None:
                readings.append((used, limit))
        return max(readings, key=lambda reading: reading[0] / max(1, reading[1]))

    def _machine(self) -> tuple[int, int]:
        values = _fields("/proc/meminfo")
        total = values.get("MemTotal:", 0) * 1024
        return total - values.get("MemAvailable:", 0) * 1024, total

    def _cgroup_used(self, directory: str) -> int | None:
        usage, inactive = (
            ("memory.current", "inactive_file") if self._cgroup.is_v2 else ("memory.usage_in_bytes", "total_inactive_file")
        )
        try:
            with open(f"{directory}/{usage}") as file:
                used = int(file.read())
        except (OSError, ValueError):
            return None
        return max(0, used - _fields(f"{directory}/memory.stat").get(inactive, 0))  # Cached files can be dropped.

    def was_oom_kill(self) -> bool:
        """Whether the kernel killed somebody for memory since we asked last."""
        before, self._oom_kills = self._oom_kills, self._count_oom_kills()
        return self._oom_kills > before

    def _count_oom_kills(self) -> int:
        kills = _fields("/proc/vmstat").get("oom_kill", 0)
        for directory in self._cgroup.levels("memory"):
            name = "memory.events" if self._cgroup.is_v2 else "memory.oom_control"
            kills += _fields(f"{directory}/{name}").get("oom_kill", 0)
        return kills


class MemoryMonitor:
    def __init__(self, loop: Loop, gauge: MemoryGauge, report: Callable[[int, int], None]) -> None:
        """`report(used_bytes, limit_bytes)` when the gauge is above MEMORY_PRESSURE_FRACTION."""
        self._loop = loop
        self._gauge = gauge
        self._report = report
        self._timer: Timer | None = None
        self._at_s = 0.0
        self._leases = self._actors = 0

    def set_load(self, *, leases: int, actors: int) -> None:
        self._leases, self._actors = leases, actors
        if (leases or actors) and (self._timer is None or (leases and self._at_s > time.monotonic() + MEMORY_CHECK_S)):
            self._schedule(MEMORY_CHECK_S)

    def _schedule(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at_s = time.monotonic() + delay_s
        self._timer = self._loop.set_timer(self._at_s, self._check)

    def _check(self) -> None:
        self._timer = None
        if not (self._leases or self._actors):
            return
        delay_s = MEMORY_CHECK_S if self._leases else _ACTORS_ONLY_CHECK_S
        used, limit = self._gauge.read()
        if used > MEMORY_PRESSURE_FRACTION * limit:
            delay_s = _RELIEF_S
            self._report(used, limit)
        if self._timer is None:
            self._schedule(delay_s)


def rss_bytes(pid: int) -> int:
    return _statm(pid)[0]


def private_bytes(pid: int) -> int:
    """Resident memory that is not shared: without the arena, and without what a fork shares of its parent's files."""
    resident, shared = _statm(pid)
    return max(0, resident - shared)


def _statm(pid: int) -> tuple[int, int]:
    try:
        with open(f"/proc/{pid}/statm") as file:
            words = file.read().split()
        return int(words[1]) * _PAGE_BYTES, int(words[2]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0, 0


def _fields(path: str) -> dict[str, int]:
    """Files of "name number" lines."""
    values: dict[str, int] = {}
    try:
        with open(path) as file:
            for line in file:
                words = line.split()
                if len(words) >= 2 and words[1].isdigit():
                    values[words[0]] = int(words[1])
    except OSError:
        pass
    return values
