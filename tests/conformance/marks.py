"""What the conformance tests share besides fixtures."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

# What Skate's own engine alone promises.
local_only = pytest.mark.parametrize("backend", ["local"], indirect=True)
# What needs processes of its own: running at the same time, being killed, being interrupted.
processes_only = pytest.mark.parametrize("backend", ["local", "ray"], indirect=True)


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait for something that another process does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{condition} did not become true within {timeout_s} s"
        time.sleep(0.005)
