"""`skate.report(metrics)` and `skate.publish(kind, key, document)`: what a program tells whoever looks at it.

Reports become curves (loss by step), a published document becomes a page (a stream's stages, a DataFrame's plan). Both may be called from the
driver, tasks and actors, often: a call appends to a list; a thread sends what has gathered every SEND_S. Nobody has to look: what was told is in the
run file (docs/architecture/run-file.md), and nothing fails when there is no session.

How it travels: as rows of `Backend.report_metrics`,

    ["report", run, step or None, time in µs since the epoch, {metric: value}]
    ["publish", kind, key, time in µs, document as JSON]
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from time import time_ns
from typing import Any

from skate.backends import current

SEND_S = 0.1
WAITING_MAX = 100_000  # Without a session, or with one that does not listen, older reports go.
ROWS_PER_MESSAGE = 500
DOCUMENT_BYTES_MAX = 1_000_000


class _Outbox:
    """What this process has told and not sent yet."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, int | None, int, dict[str, float]]] = []
        self.documents: dict[tuple[str, str], tuple[int, Any]] = {}
        self.is_dirty = threading.Event()
        self._sending = threading.Lock()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def mark(self) -> None:
        """Something waits."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="skate-report", daemon=True)
                    self._thread.start()
                    atexit.register(self.send)
        self.is_dirty.set()

    def _run(self) -> None:
        stop = threading.Event()
        while self.is_dirty.wait():
            stop.wait(SEND_S)  # Gathers what comes in the meantime.
            self.send()
            if self.reports and current.peek() is None:
                stop.wait(SEND_S)

    def send(self) -> None:
        backend = current.peek()
        with self._sending:
            self.is_dirty.clear()
            if backend is None:
                del self.reports[:-WAITING_MAX]
                return  # Kept for the next session of this program.
            reports, self.reports = self.reports, []
            documents, self.documents = self.documents, {}
            rows: list[Any] = [["report", run, step, time_us, _numbers(metrics)] for run, step, time_us, metrics in reports]
            rows += [
                ["publish", kind, key, time_us, _json(kind, key, document)]
                for (kind, key), (time_us, document) in documents.items()
            ]
            try:
                for piece in _pieces(rows):
                    backend.report_metrics(piece)
            except Exception:  # The session ends: a report must not be what a program fails by.
                pass


_outbox = _Outbox()


def _start_anew() -> None:
    """In a forked child: what the parent told is the parent's, and its thread is not here."""
    global _outbox
    _outbox = _Outbox()


os.register_at_fork(after_in_child=_start_anew)


def report(metrics: Mapping[str, float], *, step: int | None = None, run: str | None = None) -> None:
    """Tell numbers of this moment: `skate.report({"loss": 0.3}, step=10)`. They become curves in the web UI. Takes about a microsecond.

    Args:
        metrics: Numbers by name: float, int, or anything that `float()` takes (a NumPy scalar, a tensor of one element).
        step: What the curve is drawn over; the time, without.
        run: Which curves these belong to, such as the id of a trial; the program's own without.

    Raises:
        TypeError: `metrics` is no mapping, or `step` no whole number.
    """
    outbox = _outbox
    if step is not None and type(step) is not int:
        step = _whole(step)
    # The mapping is copied: callers fill one dict again and again.
    try:
        outbox.reports.append((run or "", step, time_ns() // 1000, dict(metrics)))
    except (TypeError, ValueError):
        raise TypeError(f'report() takes numbers by name, such as {{"loss": 0.3}}, not {type(metrics).__name__}') from None
    if not outbox.is_dirty.is_set():
        outbox.mark()


def publish(kind: str, key: str, document: Mapping[str, Any]) -> None:
    """Show a document on a page of its kind: a stream's stages, a DataFrame's plan. The latest of each (kind, key) counts.

    Args:
        kind: "stream", "dataframe", "training", "tune", or one of yours.
        key: Which of them, such as the id of the run.
        document: Data that JSON knows, with keys of str; at most a megabyte. It is read a moment later: don't change it afterwards.

    Raises:
        TypeError: `document` is no mapping.
    """
    if not isinstance(document, Mapping):
        raise TypeError(f'publish() takes a document as a mapping, such as {{"stages": []}}, not {type(document).__name__}')
    outbox = _outbox
    outbox.documents[str(kind), str(key)] = (time_ns() // 1000, document)
    if not outbox.is_dirty.is_set():
        outbox.mark()


def flush() -> None:
    """Send what this process has told, now."""
    if _outbox.reports or _outbox.documents:
        _outbox.send()


def _whole(step: Any) -> int:
    try:
        return int(step.__index__())
    except (AttributeError, TypeError):
        if isinstance(step, float) and step.is_integer():
            return int(step)
        raise TypeError(f"step must be a whole number, not {step!r}") from None


def _numbers(metrics: dict[str, float]) -> dict[str, float]:
    """What can't be read as a number is left out: a report is made deep in loops, and fails nothing."""
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError):
            continue
    return numbers


def _json(kind: str, key: str, document: Any) -> bytes:
    import json

    try:
        data = json.dumps(document, default=_plain, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        data = json.dumps({"trouble": f"the document {kind} {key} is not JSON: {type(error).__name__}: {error}"}).encode()
    if len(data) > DOCUMENT_BYTES_MAX:
        return json.dumps(
            {"trouble": f"the document {kind} {key} has {len(data):,} bytes; at most {DOCUMENT_BYTES_MAX:,} are shown"}
        ).encode()
    return data


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays, sets, dates: as JSON can say them."""
    for method in ("tolist", "isoformat"):
        convert = getattr(value, method, None)
        if callable(convert):
            return convert()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


def _pieces(rows: list[Any]) -> list[list[Any]]:
    """Messages of a bounded size: documents go alone."""
    reports = [row for row in rows if row[0] == "report"]
    pieces = [reports[start : start + ROWS_PER_MESSAGE] for start in range(0, len(reports), ROWS_PER_MESSAGE)]
    return pieces + [[row] for row in rows if row[0] != "report"]
