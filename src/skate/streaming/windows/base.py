"""Window: which stretches of event time a record belongs to. A new kind is a subclass with `assign`. Seconds; [start, end)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Windowed(NamedTuple):
    """A result of a window."""

    key: Any
    start_s: float
    end_s: float
    value: Any


class Window:
    kind = "window"
    merges = False  # True: windows of a key that touch become one (sessions).

    def assign(self, time_s: float) -> Sequence[tuple[float, float]]:
        """The windows, as (start, end), that a record of this time belongs to."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        raise NotImplementedError


def check_positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name}={value!r}: above zero, in seconds")
    return value
