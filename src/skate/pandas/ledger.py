"""What was executed, where, how long it took and why pandas did it: the figures behind `pd.report()`. Times are seconds."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_lock = threading.Lock()
now = time.perf_counter


@dataclass(slots=True)
class Entry:
    """One line of the user's program, and one engine."""

    line: tuple[str, int] | None
    what: str
    engine: str
    calls: int = 0
    seconds: float = 0.0
    rows: int = 0
    reason: str = ""


entries: dict[tuple[Any, str, str], Entry] = {}
on_change: Callable[[], None] | None = None  # Who shows it.


def user_line() -> tuple[str, int] | None:
    """The innermost line that is neither ours nor pandas'."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if (
            not name.startswith(_PACKAGE)
            and f"{os.sep}pandas{os.sep}core" not in name
            and "<skate>" not in name
            and "functools" not in name
        ):
            return name, frame.f_lineno
        frame = frame.f_back
    return None


def record(plan: Any, engine: str, seconds: float, rows: int, reason: str) -> None:
    if plan.what == "source":
        return
    add(plan.line, plan.what, engine, seconds, rows, reason)


def add(line: tuple[str, int] | None, what: str, engine: str, seconds: float, rows: int, reason: str) -> None:
    with _lock:
        key = (line, what, engine)
        entry = entries.get(key)
        if entry is None:
            entry = entries[key] = Entry(line, what, engine)
        entry.calls += 1
        entry.seconds += seconds
        entry.rows = rows
        if reason:
            entry.reason = reason
    if on_change is not None:
        on_change()


def fallback(what: str, reason: str) -> None:
    """An operation on planned data was given to pandas before it became a plan."""
    add(user_line(), what, "pandas", 0.0, 0, reason)
