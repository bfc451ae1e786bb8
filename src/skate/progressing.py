"""`skate.progress(refs)`: a bar while values come, on a terminal; silent in pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from skate.api import get, wait
from skate.object_ref import ObjectRef

DRAW_S = 0.1
_WIDTH = 24
_PARTS = " ▏▎▍▌▋▊▉█"


def progress(refs: Sequence[ObjectRef[Any]], label: str = "", *, file: Any = None) -> list[Any]:
    """Wait for values and show how many have come: `values = skate.progress(refs, "training")`.

    Args:
        refs: As for `get`.
        label: In front of the bar.
        file: Where to draw; standard error without. Nothing is drawn when it is no terminal.

    Returns:
        The values, in the order of `refs`.

    Raises:
        Exception: What the first failed task raised, as `get` does; at once, without waiting for the others.
    """
    refs = list(refs)
    stream = sys.stderr if file is None else file
    if not _is_terminal(stream):
        return list(get(refs))
    start_s = time.monotonic()
    missing = refs
    try:
        while missing:
            came, missing = wait(missing, num_returns=len(missing), timeout=DRAW_S)
            get(came)  # An error ends it now.
            stream.write("\r" + bar(label, len(refs) - len(missing), len(refs), time.monotonic() - start_s) + "\x1b[K")
            stream.flush()
    finally:
        stream.write("\n")
        stream.flush()
    return list(get(refs))


def bar(label: str, done: int, total: int, passed_s: float) -> str:
    """One line: label, bar, per cent, count, rate, time left."""
    share = done / total if total else 1.0
    eighths = round(share * _WIDTH * 8)
    drawn = "█" * (eighths // 8) + (_PARTS[eighths % 8] if eighths % 8 else "")
    rate = done / passed_s if passed_s > 0 else 0.0
    left = f", {(total - done) / rate:.0f} s left" if rate and done < total else f", {passed_s:.1f} s" if done == total else ""
    return f"{label + ' ' if label else ''}{drawn:<{_WIDTH}} {share:4.0%} {done:,}/{total:,} {rate:,.0f}/s{left}"


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
