"""One piece of work on all cores: this process goes through it from the front, the engine's workers take pieces from the end.

    rows   |■■■■■■■■■■■■■■■■■■■■■■■ ─────►        ◄───── ■■■■|■■■■|■■■■|
            here, in order, without a pause              workers, a piece each

So nothing waits for workers that are still starting, the function's cost is measured on real work, and what is cheaper here stays here.
A piece whose function raised or warned in a worker is done again here, in its turn: exceptions and warnings are what they would have been.
"""

from __future__ import annotations

import os
import sys
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
COLD_S = 1.2  # … and for workers that have to be started and to import.
BAR_AFTER_S = 1.0
FIRST_ROWS = 64


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
    spent_s = 0.0
    progress = _Bar(label, count, began)
    try:
        while low < high:
            stop = min(low + size, high)
            done.append((low, pack(work(low, stop))))
            took, now = time.perf_counter() - now, time.perf_counter()
            low = stop
            spent_s += took
            seconds_per_row = spent_s / low
            left_s = (high - low) * seconds_per_row
            size = max(1, min(size * 4, int(PIECE_S / max(took / max(size, 1), 1e-9))))
            if helpers is None and can_help and left_s > WARM_S and now - began > WARM_S / 4:
                try:
                    if not _can_distribute():
                        can_help = False
                    elif _pool.is_ready():
                        helpers = _Helpers(make_sendable())
                    elif left_s > COLD_S or skate.is_initialized():
                        _pool.start()
                except Exception:  # There are no workers, or it can't be sent: all of it is done here.
                    can_help = False
                now = time.perf_counter()
            if helpers is not None:
                high = helpers.feed(low, high, seconds_per_row)
                now = time.perf_counter()
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
        self.call = skate.remote(evaluate)
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


class _Pool:
    """The workers of this program's session. Which session there is may change (`skate.shutdown()`), and so may the process (a fork)."""

    def __init__(self) -> None:
        self.session: Any = None
        self.warming: list[Any] = []

    def is_ready(self) -> bool:
        """Whether workers have imported what they need."""
        if not skate.is_initialized() or self.session != _session():
            return False
        if self.warming:
            _, self.warming = skate.wait(self.warming, num_returns=len(self.warming), timeout=0)
        return not self.warming

    def start(self) -> None:
        """Begin to get ready; a session is started if there is none, which takes a moment."""
        if skate.is_initialized() and self.session == _session():
            return
        if not skate.is_initialized():
            skate.init(log_to_driver=False)
        self.session = _session()
        call = skate.remote(evaluate)
        self.warming = [call.remote(_nothing, 0, 1) for _ in range(max(1, shipping.processors() - 1))]


def _session() -> Any:
    return os.getpid(), skate.get_runtime_context().get_session_name()


_pool = _Pool()


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
