"""What recording, and an open UI, take from the engine's throughput: pairs of short slices that alternate in one process.

On a machine that others use too, the rate of the same program differs by a third from one minute to the next; neighbouring slices share the
weather. So each round runs every row of work with and without, half a second each, in an order that alternates, and the median of the rounds'
ratios counts; its quartiles are told beside it.

    record   a session with the run file, against one with SKATE_RECORD=0 (which packs rows for `skate tasks`, but writes no file)
    rows     workers that pack no rows at all, against those of now: what the whole trail costs (private functions are replaced for this)
    ui       one session, with the page Live of the UI open in Chromium on this machine, against the page closed
    socket   the same with a reader of the WebSocket in place of a browser: as if the browser were on another machine
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import skate

ROWS = ("tasks_sync", "tasks_async", "actor_sync", "actor_async", "n_n")


@skate.remote
def empty() -> None:
    return None


@skate.remote
def become(packs: bool) -> int:
    _patch(packs)
    time.sleep(0.005)  # So that another worker gets one as well.
    return os.getpid()


@skate.remote(num_cpus=0)
class Server:
    def empty(self) -> None:
        return None

    def call(self, others: list[Any], calls: int) -> None:
        skate.get([other.empty.remote() for _ in range(calls) for other in others])

    def become(self, packs: bool) -> None:
        _patch(packs)


def _patch(packs: bool) -> None:
    """Whether calls in this worker leave rows."""
    from skate.engine.worker import execution

    executor: Any = execution.Executor
    if not hasattr(executor, "with_rows"):
        executor.with_rows = executor.finished

        def without_rows(self: Any, running: Any, outcome: Any, error_row: str, end_ns: int) -> None:
            outcome.duration_us = max(0, end_ns // 1000 - running.start_us)
            running.bound.is_quick = outcome.duration_us < execution.QUICK_US
            running.link.results.add(outcome, end_ns)

        executor.without_rows = without_rows
    executor.finished = executor.with_rows if packs else executor.without_rows


class Work:
    """The rows of work, in the session of now."""

    def __init__(self) -> None:
        self.servers = [Server.remote() for _ in range(4)]
        server, others = self.servers[0], self.servers[:2]
        self.pieces: dict[str, tuple[int, Callable[[], object]]] = {
            "tasks_sync": (200, lambda: [skate.get(empty.remote()) for _ in range(200)]),
            "tasks_async": (2000, lambda: skate.get([empty.remote() for _ in range(2000)])),
            "actor_sync": (200, lambda: [skate.get(server.empty.remote()) for _ in range(200)]),
            "actor_async": (2000, lambda: skate.get([server.empty.remote() for _ in range(2000)])),
            "n_n": (2000, lambda: skate.get([caller.call.remote(others, 500) for caller in self.servers[2:]])),
        }
        for _, piece in self.pieces.values():
            piece()

    def set_packing(self, packs: bool) -> None:
        skate.get([server.become.remote(packs) for server in self.servers])
        while len(set(skate.get([become.remote(packs) for _ in range(2)]))) < 2:
            pass

    def rate(self, row: str, slice_s: float) -> float:
        """Calls per second."""
        calls, piece = self.pieces[row]
        done, start_s = 0, time.perf_counter()
        while (passed_s := time.perf_counter() - start_s) < slice_s:
            piece()
            done += calls
        return done / passed_s


def compare(what: str, rounds: int, slice_s: float, rows: tuple[str, ...] = ROWS) -> dict[str, Any]:
    """Median rates with and without, and the median and quartiles of their ratios, by row of work."""
    pairs: dict[str, list[tuple[float, float]]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SKATE_RUNS_DIR"] = folder
        for number, measure in zip(range(rounds), _KINDS[what](slice_s, rows), strict=False):
            order = (True, False) if number % 2 else (False, True)
            rates = {with_it: measure(with_it) for with_it in order}
            for row in rows:
                pairs[row].append((rates[True][row], rates[False][row]))
    return {row: _summary(found) for row, found in pairs.items()}


def _summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    ratios = sorted(with_it / without for with_it, without in pairs)
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "with_per_s": round(statistics.median(pair[0] for pair in pairs)),
        "without_per_s": round(statistics.median(pair[1] for pair in pairs)),
        "ratio": round(middle, 3), "ratio_quartiles": [round(low, 3), round(high, 3)], "rounds": len(pairs),
    }  # fmt: skip


Measure = Callable[[bool], dict[str, float]]


def _record(slice_s: float, rows: tuple[str, ...]) -> Iterator[Measure]:
    def measure(with_it: bool) -> dict[str, float]:
        os.environ["SKATE_RECORD"] = "1" if with_it else "0"
        skate.init(num_cpus=2, log_to_driver=False)
        work = Work()
        rates = {row: work.rate(row, slice_s) for row in rows}
        skate.shutdown()
        return rates

    while True:
        yield measure


def _rows(slice_s: float, rows: tuple[str, ...]) -> Iterator[Measure]:
    skate.init(num_cpus=2, log_to_driver=False)
    work = Work()

    def measure(with_it: bool) -> dict[str, float]:
        work.set_packing(with_it)
        return {row: work.rate(row, slice_s) for row in rows}

    try:
        while True:
            yield measure
    finally:
        skate.shutdown()


def _looked_at(open_page: Callable[[str], Any]) -> Callable[[float, tuple[str, ...]], Iterator[Measure]]:
    def measures(slice_s: float, rows: tuple[str, ...]) -> Iterator[Measure]:
        from skate.dashboard import open as open_ui

        skate.init(num_cpus=2, log_to_driver=False)
        work = Work()
        with open_page(open_ui(browser=False)) as set_open:

            def measure(with_it: bool) -> dict[str, float]:
                set_open(with_it)
                time.sleep(1.0)  # It reads what there is.
                return {row: work.rate(row, slice_s) for row in rows}

            try:
                while True:
                    yield measure
            finally:
                skate.shutdown()

    return measures


@contextmanager
def _chromium(url: str) -> Iterator[Callable[[bool], None]]:
    from benchmarks.ui.__main__ import Browser

    with Browser() as browser:
        page = browser._chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()

        def set_open(is_open: bool) -> None:
            page.goto(url if is_open else "about:blank")
            seen = -1
            while is_open and seen != (seen := page.evaluate("skateApp.model.n")):  # What was there before is read once.
                time.sleep(0.5)

        yield set_open


@contextmanager
def _socket(url: str) -> Iterator[Callable[[bool], None]]:
    import subprocess
    import sys

    reading: list[subprocess.Popen[bytes]] = []

    def set_open(is_open: bool) -> None:
        while reading:
            process = reading.pop()
            process.kill()
            process.wait()
        if is_open:
            reading.append(subprocess.Popen([sys.executable, "-m", "benchmarks.recording.reader", url]))

    try:
        yield set_open
    finally:
        set_open(False)


_KINDS = {"record": _record, "rows": _rows, "ui": _looked_at(_chromium), "socket": _looked_at(_socket)}
