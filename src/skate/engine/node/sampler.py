"""The sampler: what the machine and each worker use, into the run file, every SAMPLE_S while something runs.

An idle session is not measured: it must cost nothing. Names of samples, with the unit in the name: `cpu_percent` (all cores together: 100),
`memory_bytes`, `memory_total_bytes`, `disk_bytes`, `disk_total_bytes`, `store_bytes`, `store_total_bytes`, `spilled_bytes`, `gpuN_percent`,
`gpuN_memory_bytes`, `gpuN_memory_total_bytes` of the machine (lane 0); `cpu_percent` (one core: 100) and `memory_bytes` of a worker's lane.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from skate.engine.node.gpus import Gpus
from skate.engine.node.loop import Loop
from skate.engine.node.recorder import Recorder

SAMPLE_S = 1.0
_IDLE_SAMPLES_MAX = 3  # So that curves come down to zero before they stop.
_WORKERS_MAX = 64  # Each takes 30 µs to look at.
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Load(NamedTuple):
    workers: Mapping[int, int]  # lane → pid
    store: Mapping[str, Any]
    busy: int  # Leases and actors.


class Sampler:
    def __init__(self, loop: Loop, recorder: Recorder, look: Callable[[], Load], gpus: Gpus | None = None) -> None:
        self._loop = loop
        self._gpus = gpus or Gpus()
        self._recorder = recorder
        self._look = look
        self._is_awake = False
        self._idle_samples = 0
        self._machine = (0, 0)
        self._workers: dict[int, int] = {}
        self._at_s = 0.0

    def rouse(self) -> None:
        """Something begins to run."""
        self._idle_samples = 0
        if not self._is_awake and self._recorder.is_on:
            self._is_awake = True
            self._machine = _machine_ticks()
            self._at_s = time.monotonic()
            self._loop.set_timer_after(SAMPLE_S, self._sample)

    def _sample(self) -> None:
        if not self._recorder.is_on:
            self._is_awake = False
            return
        load = self._look()
        self._idle_samples = 0 if load.busy else self._idle_samples + 1
        if self._idle_samples > _IDLE_SAMPLES_MAX:
            self._is_awake = False
            return
        self._loop.set_timer_after(SAMPLE_S, self._sample)
        now_s = time.monotonic()
        passed_s, self._at_s = max(now_s - self._at_s, 1e-3), now_s
        sample = self._recorder.sample
        busy, total = _machine_ticks()
        before_busy, before_total = self._machine
        self._machine = busy, total
        sample(0, "cpu_percent", 100 * (busy - before_busy) / max(1, total - before_total))
        used, memory = _memory_bytes()
        sample(0, "memory_bytes", used)
        sample(0, "memory_total_bytes", memory)
        disk = os.statvfs("/")
        sample(0, "disk_total_bytes", disk.f_blocks * disk.f_frsize)
        sample(0, "disk_bytes", (disk.f_blocks - disk.f_bfree) * disk.f_frsize)
        for name, field in (
            ("store_bytes", "used_bytes"),
            ("store_total_bytes", "capacity_bytes"),
            ("spilled_bytes", "spilled_bytes"),
        ):
            sample(0, name, float(load.store.get(field) or 0))
        for index, gpu in enumerate(self._gpus.loads()):
            sample(0, f"gpu{index}_percent", gpu.percent)
            sample(0, f"gpu{index}_memory_bytes", gpu.memory_bytes)
            sample(0, f"gpu{index}_memory_total_bytes", gpu.memory_total_bytes)
        seen: dict[int, int] = {}
        for lane, pid in list(load.workers.items())[:_WORKERS_MAX]:
            ticks, rss = _process(pid)
            seen[lane] = ticks
            if lane in self._workers:
                sample(lane, "cpu_percent", 100 * (ticks - self._workers[lane]) / _TICKS_PER_S / passed_s)
            sample(lane, "memory_bytes", rss)
        self._workers = seen


def _machine_ticks() -> tuple[int, int]:
    """(busy, total) ticks of all cores since the machine started."""
    try:
        with open("/proc/stat", "rb") as file:
            ticks = [int(part) for part in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)


def _memory_bytes() -> tuple[float, float]:
    """(used, total)."""
    found: dict[bytes, int] = {}
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                name, _, rest = line.partition(b":")
                found[name] = int(rest.split()[0]) * 1024
                if len(found) > 3:
                    break
    except (OSError, ValueError, IndexError):
        return 0.0, 0.0
    total = found.get(b"MemTotal", 0)
    return float(total - found.get(b"MemAvailable", 0)), float(total)


def _process(pid: int) -> tuple[int, float]:
    """(ticks, resident bytes) of a process; zeros when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[11]) + int(fields[12]), float(int(fields[21]) * _PAGE_BYTES)
    except (OSError, ValueError, IndexError):
        return 0, 0.0
