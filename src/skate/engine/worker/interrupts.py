"""Cancelling a task in the main thread: KeyboardInterrupt, raised in the user's code of that very task and nowhere else.

A signal of our own (not SIGINT: user code installs handlers for that) makes Python run `_handle` in the main thread. It looks
at the stack: the exception is raised only when the innermost engine frame is `call_user`, the door between engine and user
code, or when user code waits inside the engine for the kernel (`Pump.interruptible`). At any other moment (and in a finalizer,
which would swallow it) nothing happens, and the control thread tries again RETRY_S later, until it was delivered or the task
has ended. So engine state is never torn, and no later task is hit.

`interrupt_main` reaches code that has blocked the signal; `pthread_kill` wakes system calls. Code that has done both waits for
neither to matter: it is interrupted when its system call returns.
"""

from __future__ import annotations

import os
import signal
import threading
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from skate.engine.client.pump import Pump
from skate.engine.worker.streams import AsyncSteps, awaiting

if TYPE_CHECKING:
    from skate.engine.worker.runtime import WorkerRuntime

SIGNAL = signal.SIGRTMIN + 6
RETRY_S = 0.02
_ENGINE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PACKAGE_DIR = os.path.dirname(os.path.dirname(_ENGINE_DIR))
_OURS = (_ENGINE_DIR, os.path.join(_PACKAGE_DIR, "backends") + os.sep, os.path.join(_PACKAGE_DIR, "object_ref.py"))
_WAITS: frozenset[CodeType] = frozenset({Pump.wait.__code__, Pump._follow.__code__})


def call_user(function: Any, args: Any, kwargs: Any) -> Any:
    """The door into user code. Its frame on the main thread's stack is what makes an interrupt possible."""
    return function(*args, **kwargs)


_DOOR = call_user.__code__
# Engine frames between the door and an async generator: nothing of theirs is torn by an exception.
_PASSABLE: frozenset[CodeType] = frozenset({AsyncSteps.__next__.__code__, awaiting.__code__})


class Interrupts:
    """At most one task of the main thread is to be interrupted at a time."""

    def __init__(self, runtime: WorkerRuntime) -> None:
        self._runtime = runtime
        self._main_ident = threading.get_ident()
        self.target: bytes | None = None  # Task to interrupt.

    def install(self) -> None:
        """In the main thread."""
        signal.signal(SIGNAL, self._handle)
        self.unblock()

    def unblock(self) -> None:
        """A task that ran here may have blocked signals."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [SIGNAL])

    def request(self, task: bytes) -> None:
        """Interrupt this task if it still runs. From the control thread."""
        self.target = task
        self.retry()

    def retry(self) -> None:
        """Try (again). From the control thread."""
        target = self.target
        if target is None:
            return
        running = self._runtime.main_call
        if running is None or running.call.task != target:
            self.target = None
            return
        import _thread

        if signal.getsignal(SIGNAL) != self._handle:
            return  # User code took even this signal; only force=True helps.
        _thread.interrupt_main(SIGNAL)  # type: ignore[arg-type]
        signal.pthread_kill(self._main_ident, SIGNAL)

    def take(self, task: bytes) -> bool:
        """In the main thread, in engine code: whether this task is to be interrupted now."""
        if self.target != task:
            return False
        self.target = None
        return True

    def _handle(self, _signum: int, frame: FrameType | None) -> None:
        target = self.target
        if target is None:
            return
        running = self._runtime.main_call
        if running is None or running.call.task != target or not self._is_in_user_code(frame):
            return
        self.target = None
        raise KeyboardInterrupt

    def _is_in_user_code(self, frame: FrameType | None) -> bool:
        waits = frame is not None and frame.f_code in _WAITS and self._runtime.client.pump.interruptible
        while frame is not None:
            code = frame.f_code
            if code is _DOOR:
                return True
            if (not waits and code not in _PASSABLE and code.co_filename.startswith(_OURS)) or code.co_name == "__del__":
                return False
            frame = frame.f_back
        return False
