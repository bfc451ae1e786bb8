"""Ctrl-C: KeyboardInterrupt strikes user code and waits, never the engine half-way through its bookkeeping.

    SIGINT ─► handler, in the main thread
                ├─ it sleeps in the engine (pump.interruptible), or runs user code ─► KeyboardInterrupt
                └─ it runs engine code ─► sent again every RETRY_S, until it is out of there

User code called by the engine (a value's `__setstate__`, a callback) never runs under the client's lock: it may be interrupted. Python's own
handler is replaced only if it is in place, and put back at the end; a program that has its own keeps it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Protocol

RETRY_S = 0.002
_HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # …/skate
_GUARDED = (
    os.path.join(_HERE, "engine", ""),
    os.path.join(_HERE, "backends", "local.py"),
    os.path.join(_HERE, "backends", "current.py"),
    os.path.join(_HERE, "object_ref.py"),
)
_STANDARD_LIBRARY = os.path.join(os.path.dirname(os.path.abspath(os.__file__)), "")
_SITE_PACKAGES = ("site-packages", "dist-packages")


class Sleeper(Protocol):
    """The pump: True while the main thread sleeps in the kernel, where it may be woken."""

    interruptible: bool


class Interrupts:
    def __init__(self, pump: Sleeper) -> None:
        self._pump = pump
        self._is_installed = False
        self._is_retrying = False

    def install(self) -> bool:
        """Take SIGINT over. Does nothing outside of the main thread, or when the program has a handler of its own."""
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        ):
            return False
        signal.signal(signal.SIGINT, self._on_signal)
        self._is_installed = True
        return True

    def remove(self) -> None:
        if not self._is_installed or threading.current_thread() is not threading.main_thread():
            return  # From another thread it can't be changed; the handler is harmless without an engine.
        self._is_installed = False
        if signal.getsignal(signal.SIGINT) == self._on_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._pump.interruptible or not is_in_engine(frame):
            self._pump.interruptible = False
            signal.default_int_handler(number, frame)
        if not self._is_retrying:
            self._is_retrying = True
            threading.Thread(target=self._send_again, name="skate-interrupt", daemon=True).start()

    def _send_again(self) -> None:
        time.sleep(RETRY_S)  # No condition to wait for: the main thread can't say "now" from inside the engine.
        self._is_retrying = False
        main = threading.main_thread()
        if main.is_alive() and main.ident is not None:
            signal.pthread_kill(main.ident, signal.SIGINT)


def is_in_engine(frame: FrameType | None) -> bool:
    """Whether this frame works for the engine: an engine frame, or one of the standard library that an engine frame has called.

    A `__del__` counts as well, anybody's: Python swallows what is raised there, and the user would press Ctrl-C in vain.
    """
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename.startswith(_GUARDED) or frame.f_code.co_name == "__del__":
            return True
        if not _is_standard_library(filename):
            return False
        frame = frame.f_back
    return False


def _is_standard_library(filename: str) -> bool:
    if filename.startswith("<frozen"):
        return True
    return filename.startswith(_STANDARD_LIBRARY) and not filename[len(_STANDARD_LIBRARY) :].startswith(_SITE_PACKAGES)
