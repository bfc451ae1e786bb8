"""What a run's time went into, and what would make it faster: efficiency, overhead, imbalance, serialization, more workers. Pure, over a `History`.

The speed-up to expect comes from replaying the recorded tasks (their work, their arguments, the moments at which they were submitted) by list scheduling on
another number of workers (Graham, "Bounds on multiprocessing timing anomalies", 1969: at most twice the optimum). Where the driver had waited for everything
before it went on, phases begin: each is replayed by itself, and the driver's own time between them stays what it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

from skate import run_format as f
from skate.dashboard.history import Attempt, History, Key, words

REPLAY_TASKS_MAX = 200_000
SHORT_US = 500.0
MANY = 200
NOT_WORTH_IT_US = 500_000.0  # A shorter run is mostly its own start.


@dataclass(slots=True)
class Function:
    """All attempts of one function."""

    name: str
    count: int = 0
    failed: int = 0
    total_us: float = 0.0
    mean_us: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    share: float = 0.0  # Of all work.


@dataclass(slots=True)
class Summary:
    """A run in numbers. Times in µs."""

    wall_us: float = 0.0
    work_us: float = 0.0
    waited_us: float = 0.0  # Tasks in get or wait.
    cores: float = 0.0
    workers: int = 0
    tasks: int = 0
    failed: int = 0
    efficiency: float = 0.0  # Work / (wall × cores).
    overhead_us: float = 0.0  # Per task, where tasks follow one another without a pause.
    imbalance: float = 1.0  # The busiest worker / the mean.
    tail_us: float = 0.0  # At the end, with at most one worker busy.
    functions: list[Function] = field(default_factory=list)
    packings: list[tuple[str, int, int, float]] = field(default_factory=list)  # (call site, times, KiB, µs)
    speedups: list[tuple[int, float]] = field(default_factory=list)  # (workers, times as fast as now)
    advice: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarize(history: History, cores: float = 0.0) -> Summary:
    """Everything `skate explain` tells. `cores`: those the session had; 0: as many as worked."""
    ended = [attempt for attempt in history.attempts.values() if attempt.end_us]
    summary = Summary(tasks=len(ended))
    if not ended:
        summary.advice.append("nothing has ended yet")
        return summary
    start_us = min(attempt.start_us for attempt in ended)
    end_us = max(attempt.end_us for attempt in ended)
    busy: dict[int, float] = defaultdict(float)
    for attempt in ended:
        work = history.work_us(attempt)
        busy[attempt.lane] += work
        summary.work_us += work
        summary.waited_us += attempt.duration_us - work
        summary.failed += attempt.state == f.FAILED
    summary.workers = len(busy)
    summary.cores = cores or float(len(busy))
    summary.wall_us = max(1.0, end_us - start_us)
    summary.efficiency = min(1.0, summary.work_us / (summary.wall_us * summary.cores))
    summary.imbalance = max(busy.values()) / max(1.0, summary.work_us / len(busy))
    summary.functions = _functions(history, ended, summary.work_us)
    summary.overhead_us = _overhead(history)
    summary.tail_us = _tail(ended, end_us)
    summary.packings = _packings(history)
    summary.speedups = _speedups(history, ended, max(1, round(summary.cores)))
    summary.advice = _advice(history, summary)
    return summary


def _functions(history: History, ended: list[Attempt], work_us: float) -> list[Function]:
    durations: dict[str, list[float]] = defaultdict(list)
    failed: dict[str, int] = defaultdict(int)
    for attempt in ended:
        durations[attempt.name].append(history.work_us(attempt))
        failed[attempt.name] += attempt.state == f.FAILED
    found = []
    for name, times in durations.items():
        times.sort()
        total = sum(times)
        found.append(
            Function(
                name,
                len(times),
                failed[name],
                total,
                total / len(times),
                quantile(times, 0.5),
                quantile(times, 0.99),
                total / max(work_us, 1.0),
            )
        )
    return sorted(found, key=lambda function: -function.total_us)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of a sorted sequence, by the nearest rank."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _overhead(history: History) -> float:
    """The median gap between tasks of a lane that follow one another at once: what a task costs besides its work."""
    gaps: list[float] = []
    for attempts in history.by_lane().values():
        for before, after in pairwise(attempts):
            if before.end_us and before.kind == after.kind == f.TASK:
                gap = after.start_us - before.end_us
                if 0 <= gap < 2000:
                    gaps.append(gap)
    gaps.sort()
    return quantile(gaps, 0.5)


def _tail(ended: list[Attempt], end_us: float) -> float:
    """How long, at the end, at most one worker was busy."""
    ends: dict[int, float] = {}
    for attempt in ended:
        ends[attempt.lane] = max(ends.get(attempt.lane, 0.0), attempt.end_us)
    ordered = sorted(ends.values())
    return end_us - ordered[-2] if len(ordered) > 1 else 0.0


def _packings(history: History) -> list[tuple[str, int, int, float]]:
    sites: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for packing in history.packings:
        entry = sites[f"{packing.site} ({packing.of})"]
        entry[0] += 1
        entry[1] += packing.size_kib
        entry[2] += packing.duration_us
    return sorted(((site, int(times), int(kib), spent) for site, (times, kib, spent) in sites.items()), key=lambda row: -row[3])[
        :10
    ]


# ---------------------------------------------------------------- replaying


def replay(jobs: Sequence[tuple[Key, float, float]], needs: dict[Key, list[Key]], workers: int) -> float:
    """When the last of these jobs would end on so many workers.

    Args:
        jobs: (key, when it was submitted, its work), in any order; times from the start of the phase.
        needs: Jobs that have to end first; those that are not among `jobs` count as done.
    """
    work = {key: duration for key, _, duration in jobs}
    submitted = {key: at for key, at, _ in jobs}
    missing: dict[Key, int] = {}
    dependents: dict[Key, list[Key]] = defaultdict(list)
    ready: list[tuple[float, Key]] = []
    for key, at, _ in jobs:
        before = {dep for dep in needs.get(key, ()) if dep in work and dep != key}
        if before:
            missing[key] = len(before)
            for dep in before:
                dependents[dep].append(key)
        else:
            heappush(ready, (at, key))
    free = [0.0] * max(1, workers)
    end = 0.0
    while ready:
        at, key = heappop(ready)
        ends = max(at, heappop(free)) + work[key]
        heappush(free, ends)
        end = max(end, ends)
        for dependent in dependents.get(key, ()):
            missing[dependent] -= 1
            submitted[dependent] = max(submitted[dependent], ends)
            if not missing[dependent]:
                heappush(ready, (submitted[dependent], dependent))
    return end


def phases(jobs: Sequence[tuple[Key, float, float, float]]) -> list[list[tuple[Key, float, float, float]]]:
    """Jobs (key, submitted, work, ended) cut where one was submitted after everything before it had ended: there the driver had waited."""
    found: list[list[tuple[Key, float, float, float]]] = []
    latest = float("-inf")
    for job in sorted(jobs, key=lambda job: job[1]):
        if not found or job[1] >= latest:
            found.append([])
        found[-1].append(job)
        latest = max(latest, job[3])
    return found


def _speedups(history: History, ended: list[Attempt], cores: int) -> list[tuple[int, float]]:
    """For half, as many, twice and more workers: how many times as fast as with as many as now."""
    tasks = [attempt for attempt in ended if attempt.kind == f.TASK and history.last.get(attempt.key) is attempt]
    if not tasks or len(tasks) > REPLAY_TASKS_MAX:
        return []
    jobs = []
    for attempt in tasks:
        submitted = history.submitted_us(attempt.key)
        jobs.append((attempt.key, attempt.start_us if submitted is None else submitted, history.work_us(attempt), attempt.end_us))
    parts = phases(jobs)
    between = 0.0
    for before, after in pairwise(parts):
        between += max(0.0, after[0][1] - max(job[3] for job in before))

    def length(workers: int) -> float:
        total = between
        for part in parts:
            begin = part[0][1]
            total += replay([(key, at - begin, work) for key, at, work, _ in part], history.needs, workers)
        return total

    now = length(cores)
    counts = sorted({1, cores, 2 * cores, 4 * cores, 16 * cores})
    return [(count, now / max(length(count), 1.0)) for count in counts]


# ---------------------------------------------------------------- in words


def _advice(history: History, summary: Summary) -> list[str]:
    advice: list[str] = []
    for function in summary.functions[:3]:
        if function.count >= MANY and function.mean_us < SHORT_US and "." not in function.name and function.share > 0.05:
            size = max(10, round(5000 / max(function.mean_us, 1.0)))
            advice.append(
                f"your {function.name} tasks take {words(function.mean_us)} each, and a task costs about {words(max(summary.overhead_us, 20.0))} besides: "
                f"batch them, about {size} to a task:\n"
                f"    @skate.remote\n"
                f"    def {function.name}_many(items): return [{function.name}(item) for item in items]   # {function.name}: the plain function\n"
                f"    skate.get([{function.name}_many.remote(items[i:i+{size}]) for i in range(0, len(items), {size})])"
            )
            break
    is_long = summary.wall_us > NOT_WORTH_IT_US
    if summary.speedups and is_long:
        by_count = dict(summary.speedups)
        cores = max(1, round(summary.cores))
        twice = by_count.get(2 * cores, 1.0)
        if twice > 1.5:
            advice.append(
                f"with {2 * cores} workers it would take {1 / twice:.0%} of the time ({twice:.2g} times as fast), by replaying the recorded tasks"
            )
        elif summary.efficiency < 0.7:
            advice.append(
                f"more workers would not help ({twice:.2g} times as fast with {2 * cores}): tasks wait for one another, or are submitted too slowly; "
                "submit all that can run before the first get, and look at `skate why` of the last task"
            )
    if is_long and summary.tail_us > 0.2 * summary.wall_us and summary.workers > 1:
        advice.append(
            f"for the last {words(summary.tail_us)} ({summary.tail_us / summary.wall_us:.0%}) only one worker was busy: submit the long tasks first, or cut them smaller"
        )
    if is_long and summary.imbalance > 1.5 and summary.workers > 1:
        advice.append(
            f"the busiest worker did {summary.imbalance:.2g} times the work of the mean: cut the work into more, even pieces"
        )
    packing = sum(spent for _, _, _, spent in summary.packings)
    if summary.packings and packing > 0.1 * summary.wall_us:
        site, times, kib, spent = summary.packings[0]
        advice.append(
            f"serializing took {words(packing)}; most at {site}: {times} times, {kib / 1024:.3g} MiB in {words(spent)}. "
            "Put a value that several tasks need once: ref = skate.put(value), and pass the ref"
        )
    if summary.failed:
        advice.append(f"{summary.failed} attempts failed: skate errors shows how")
    if not advice:
        advice.append(f"nothing stands out: {summary.efficiency:.0%} of the cores' time was work")
    return advice
