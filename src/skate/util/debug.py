"""`log_once`: say something only the first time."""

from __future__ import annotations

import time

_said: dict[str, float] = {}  # key → when it was said, on the monotonic clock
_is_disabled = False
_period_s: float | None = None


def log_once(key: str) -> bool:
    """True the first time it is called with `key` in this process (again after a minute with `enable_periodic_logging`)."""
    if _is_disabled:
        return False
    now = time.monotonic()
    said_s = _said.get(key)
    if said_s is not None and (_period_s is None or now - said_s < _period_s):
        return False
    _said[key] = now
    return True


def disable_log_once_globally() -> None:
    """`log_once` answers False from now on."""
    global _is_disabled
    _is_disabled = True


def enable_periodic_logging() -> None:
    """`log_once` answers True once a minute for each key."""
    global _is_disabled, _period_s
    _is_disabled = False
    _period_s = 60.0


def reset_log_once(key: str) -> None:
    """Forget that it was said."""
    _said.pop(key, None)
