"""One piece of work on all cores: this process goes through it from the front, the engine's workers take pieces from the end.

    rows   |■■■■■■■■■■■■■■■■■■■■■■■ ─────►        ◄───── ■■■■|■■■■|■■■■|
            here, in order, without a pause              workers, a piece each

So nothing waits for workers that are still starting, the function's cost is measured on real work, and what is cheaper here stays here.
A piece whose function raised or warned in a worker is done again here, in its turn: exceptions and warnings are what they would have been.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import skate
from skate.blocks.elements import Packed, evaluate, pack
from skate.pandas.udf import shipping
from skate.progressing import DRAW_S, bar

PIECE_S = 0.03  # Of work here between two looks at the workers.
REMOTE_PIECE_S = 0.12
WARM_S = 0.06  # Work that is left must be longer for workers that run already …
COLD_S = 0.8  # … and for workers that have to be started and to import.
BAR_AFTER_S = 1.0
FIRST_ROWS = 64

_evaluate_remotely: Any = None
_pool_is_ready = threading.Event()
_pool_is_starting = threading.Lock()


def run(
    work: Callable[[int, int], list[Any]], count: int, label: str, make_sendable: Callable[[], Any]
) -> tuple[list[Packed], int]:
    """The results of `work` over rows 0 to count, in order, and how many rows the workers did.

    Args:
        work: Calls the function for the rows from a start to a stop.
        label: In front of the progress bar.
        make_sendable: `work` in a form for workers; called only if they are needed. What it raises keeps the work here.

    Raises:
        Exception: What the function raised.
    """
    done: list[tuple[int, Packed]] = []
    low, high, size = 0, count, min(FIRST_ROWS, count)
    helpers: _Helpers | None = None
    can_help = True
    began = now = time.perf_counter()
    progress = _Bar(label, count, began)
    try:
        while low < high:
            stop = min(low + size, high)
            done.append((low, pack(work(low, stop))))
            took, now = time.perf_counter() - now, time.perf_counter()
            low = stop
            seconds_per_row = (now - began) / low
            left_s = (high - low) * seconds_per_row
            size = max(1, min(size * 4, int(PIECE_S / max(took / max(size, 1), 1e-9))))
            if helpers is None and can_help and left_s > WARM_S and now - began > WARM_S / 4:
                if not _can_distribute():
                    can_help = False
                elif _pool_is_ready.is_set() and skate.is_initialized():
                    try:
                        helpers = _Helpers(make_sendable())
                    except Exception:
                        can_help = False
                elif left_s > COLD_S:
                    _start_pool()
            if helpers is not None:
                high = helpers.feed(low, high, seconds_per_row)
            progress.draw(low + (helpers.finished_rows if helpers is not None else 0), now)
        if helpers is not None:
            for start, stop, packed in helpers.rest(progress, low):
                if packed is None:
                    packed = pack(work(start, stop))
                done.append((start, packed))
    finally:
        if helpers is not None:
            helpers.cancel()
        progress.end()
    done.sort(key=lambda one: one[0])
    return [packed for _, packed in done], 0 if helpers is None else helpers.finished_rows


class _Helpers:
    """Pieces that workers have, from the end of the rows."""

    def __init__(self, sendable: Any) -> None:
        global _evaluate_remotely
        if _evaluate_remotely is None:
            _evaluate_remotely = skate.remote(evaluate)
        self.call = _evaluate_remotely
        self.work = skate.put(sendable)
        self.count = max(1, int(skate.cluster_resources().get("CPU", 1)) - 1)
        self.waiting: dict[Any, tuple[int, int]] = {}
        self.found: list[tuple[int, int, Packed | None]] = []
        self.finished_rows = 0

    def feed(self, low: int, high: int, seconds_per_row: float) -> int:
        """Gather what is done, hand out more, and return where the rows end that nobody has."""
        self.gather(0)
        size = max(1, int(REMOTE_PIECE_S / max(seconds_per_row, 1e-9)))
        # The last pieces are small, so that nobody waits long for another.
        size = max(1, min(size, (high - low) // (2 * self.count + 1)))
        while len(self.waiting) < 2 * self.count and (high - low) * seconds_per_row > WARM_S / 2 and high - size > low:
            start = high - size
            self.waiting[self.call.remote(self.work, start, high)] = (start, high)
            high = start
        return high

    def gather(self, timeout_s: float, *, most: int | None = None) -> None:
        if not self.waiting:
            return
        refs = list(self.waiting)
        ready, _ = skate.wait(refs, num_returns=most or len(refs), timeout=timeout_s)
        for ref in ready:
            start, stop = self.waiting.pop(ref)
            try:
                packed = skate.get(ref)
            except Exception:  # The worker died, or can't import what the function needs.
                packed = None
            if packed is not None:
                self.finished_rows += stop - start
            self.found.append((start, stop, packed))

    def rest(self, progress: _Bar, here: int) -> list[tuple[int, int, Packed | None]]:
        """Wait for all pieces; in order."""
        while self.waiting:
            self.gather(DRAW_S, most=1)
            progress.draw(here + self.finished_rows, time.perf_counter())
        return sorted(self.found, key=lambda one: one[0])

    def cancel(self) -> None:
        """Nobody wants what is still being calculated."""
        for ref in self.waiting:
            try:
                skate.cancel(ref)
            except Exception:
                pass
        self.waiting.clear()


def _can_distribute() -> bool:
    """Not in a worker, whose tasks would wait for a processor that it holds itself, and not where there is only one."""
    return shipping.is_driver() and shipping.processors() > 1


def _start_pool() -> None:
    """Start a session if there is none, and let a worker import what it needs, while this thread goes on."""
    if _pool_is_ready.is_set() and skate.is_initialized():
        return
    if not _pool_is_starting.acquire(blocking=False):
        return

    def start() -> None:
        try:
            if not skate.is_initialized():
                skate.init(log_to_driver=False)
            skate.get([skate.remote(evaluate).remote(_nothing, 0, 1) for _ in range(max(1, shipping.processors() - 1))])
            _pool_is_ready.set()
        except Exception:
            pass  # Then the work is done here.
        finally:
            _pool_is_starting.release()

    threading.Thread(target=start, name="skate-pandas-start", daemon=True).start()


def _nothing(start: int, stop: int) -> list[Any]:
    import pyarrow  # noqa: F401

    return ["", 1.0]


class _Bar:
    """A progress bar on a terminal, once it has taken a while."""

    def __init__(self, label: str, total: int, began: float) -> None:
        self.label, self.total, self.began = label, total, began
        self.drawn = 0.0
        self.stream = sys.stderr
        try:
            self.is_terminal = bool(self.stream.isatty())
        except (AttributeError, ValueError):
            self.is_terminal = False

    def draw(self, done: int, now: float) -> None:
        if self.is_terminal and now - self.began > BAR_AFTER_S and now - self.drawn > DRAW_S:
            self.drawn = now
            self.stream.write("\r" + bar(self.label, done, self.total, now - self.began) + "\x1b[K")
            self.stream.flush()

    def end(self) -> None:
        if self.drawn:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
