"""`set_trace()` in a task or actor: stop there and let a terminal attach with `skate debug`.

The debugger is pdb, spoken over a Unix socket in the session's directory (0700, so only its user can get in). `waiting()`
lists the sockets and `attach(path)` connects a terminal to one; `skate debug` does both.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pdb import Pdb
from types import FrameType
from typing import IO, Any

import skate

SUFFIX = ".pdb.sock"


def set_trace(breakpoint_uuid: Any = None) -> None:
    """Stop at the caller's line until somebody attaches and continues.

    In a driver, and with `inline`, it is the plain `pdb.set_trace`.
    """
    frame = sys._getframe(1)
    directory = _directory()
    if directory is None:
        Pdb().set_trace(frame)
        return
    _RemotePdb(directory).stop(frame)


def post_mortem(traceback: Any = None) -> None:
    """As `set_trace`, at the place of an exception."""
    traceback = traceback if traceback is not None else sys.exc_info()[2]
    if traceback is None:
        raise ValueError("post_mortem needs a traceback, or to be called while an exception is handled")
    directory = _directory()
    if directory is None:
        debugger = Pdb()
        debugger.reset()
        debugger.interaction(None, traceback)
        return
    _RemotePdb(directory).examine(traceback)


def waiting(directory: str | None = None) -> list[str]:
    """Paths of the sockets at which a task waits to be debugged."""
    directory = directory or _session_directory()
    if directory is None or not os.path.isdir(directory):
        return []
    return sorted(os.path.join(directory, name) for name in os.listdir(directory) if name.endswith(SUFFIX))


def attach(path: str, source: IO[str] | None = None, target: IO[str] | None = None) -> None:
    """Connect this terminal to a waiting task until it goes on."""
    import threading

    source, target = source or sys.stdin, target or sys.stdout
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)

        def send() -> None:
            for line in source:
                try:
                    link.sendall(line.encode())
                except OSError:
                    return

        threading.Thread(target=send, name="skate-debug-input", daemon=True).start()
        while data := link.recv(65536):
            target.write(data.decode(errors="replace"))
            target.flush()


class _RemotePdb(Pdb):
    """pdb that talks to whoever connects first."""

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, f"{os.getpid()}{SUFFIX}")
        if os.path.exists(path):
            path = tempfile.mktemp(SUFFIX, f"{os.getpid()}-", directory)  # noqa: S306  # Several threads of one worker; the directory is ours alone.
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(path)
            listener.listen(1)
            print(f"debugger waits: run `skate debug` in a terminal (pid {os.getpid()}, {path})", file=sys.stderr, flush=True)  # noqa: T201
            self._link, _ = listener.accept()
        finally:
            listener.close()
            if os.path.exists(path):
                os.unlink(path)
        # Two files: one that is written to forgets what it has read ahead.
        self._files: tuple[Any, Any] = (self._link.makefile("r"), self._link.makefile("w", buffering=1))
        super().__init__(stdin=self._files[0], stdout=self._files[1])
        self.use_rawinput = False
        self.prompt = "(skate-pdb) "

    def stop(self, frame: FrameType) -> None:
        self.set_trace(frame)

    def examine(self, traceback: Any) -> None:
        self.reset()
        self.interaction(None, traceback)
        self._hang_up()

    def do_continue(self, arg: str) -> Any:
        result = super().do_continue(arg)
        self._hang_up()
        return result

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> Any:
        # Ends the debugging, not the worker: raising BdbQuit here would fail the task.
        return self.do_continue(arg)

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> Any:  # noqa: N802  # pdb's name.
        return self.do_continue(arg)

    def _hang_up(self) -> None:
        self.set_continue()
        for end in (*self._files, self._link):
            try:
                end.close()
            except OSError:
                pass


def _directory() -> str | None:
    """Where a worker puts its socket; None where the terminal is at hand."""
    if not skate.is_initialized() or skate.get_runtime_context().get_task_id() is None:
        return None
    return _session_directory()


def _session_directory() -> str | None:
    """Only a session's own directory will do: nobody else may enter it. The inline backend has none."""
    context = skate.get_runtime_context()
    root = context.get_temp_dir()
    for directory in (root, os.path.join(root, context.get_session_name())):
        if os.path.exists(os.path.join(directory, "session.json")):
            return directory
    return None
