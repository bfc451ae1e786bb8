"""Ctrl-C while Polars executes: one KeyboardInterrupt, not two."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


@contextlib.contextmanager
def once() -> Iterator[None]:
    """Polars raises KeyboardInterrupt when it sees the signal, and Python raises its own a moment later, in the middle of the program's
    `except KeyboardInterrupt`. This waits for the second one and lets one through."""
    try:
        yield
    except KeyboardInterrupt:
        try:
            time.sleep(0)  # Python looks for signals here.
        except KeyboardInterrupt:
            pass
        raise
