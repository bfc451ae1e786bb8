"""The end of a worker: on purpose, with everything that user code may expect of a Python process that ends.

Results first, then atexit handlers, then a moment for non-daemon threads; nothing of it can keep the process alive for ever. A
worker that is killed, or told to end at once, does none of this.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from skate.engine.worker.runtime import WorkerRuntime

SEND_PATIENCE_S = 1.0
THREADS_PATIENCE_S = 1.0


def leave(runtime: WorkerRuntime, code: int) -> NoReturn:
    """Flush, run exit handlers, end. From any thread; never returns."""
    runtime.is_leaving = True
    for link in runtime.links.all():
        link.results.drain(SEND_PATIENCE_S)
    runtime.control.announce_leaving()
    if runtime.host is not None:
        runtime.host.shut_down()
    _run_exit_handlers()
    _wait_for_threads()
    runtime.output.flush_idle()
    runtime.trail.flush()
    for link in runtime.links.all():
        link.results.drain(SEND_PATIENCE_S)
    client = runtime.client
    with client.lock:
        if not client.death:
            client.after_round()
            try:
                client.node.sock.settimeout(SEND_PATIENCE_S)
                client.node.flush()
            except OSError:
                pass
    os._exit(code)


def _run_exit_handlers() -> None:
    try:
        atexit._run_exitfuncs()
    except BaseException:  # A handler raised (Python has printed it): we end all the same.
        pass


def _wait_for_threads() -> None:
    """Python would wait for non-daemon threads; we do for a moment."""
    me = threading.current_thread()
    threads = [
        thread
        for thread in threading.enumerate()
        if thread is not me and thread is not threading.main_thread() and not thread.daemon
    ]
    if not threads:
        return
    # Idle threads of executors end when threading's own exit functions tell them; those join, so they get a thread of their own.
    functions = list(getattr(threading, "_threading_atexits", ()))
    if functions:
        threading.Thread(target=lambda: [function() for function in functions], daemon=True).start()
    deadline_s = time.monotonic() + THREADS_PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, deadline_s - time.monotonic()))
