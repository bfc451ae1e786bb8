"""Start a node process: the first thing a program does when it needs an engine, so every millisecond and every import counts here.

    spawn_node ─► directory, socket pair, posix_spawn ─► (the caller imports the rest meanwhile) ─► connect.greet

The node is spawned, never forked: the driver may have threads. It gets an interpreter with the same flags, the same import path, its own
session (no Ctrl-C from the terminal), no descriptors but its end of the socket pair, and node.log for what it says.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from skate.engine.driver.sessions import LOG_NAME, log_tail, make_session_directory, remove_session

_NODE_FD = 3
_EXIT_WITHIN_S = 2.0
# The path comes first: with -c Python has put the current directory there.
_CODE = "import sys;sys.path[:]={path!r};import os;os.closerange(4,1<<20);from skate.engine.node.main import main;main()"


class NodeProcess:
    """A node process that we have started."""

    def __init__(self, pid: int, name: str, directory: str, sock: Any) -> None:
        self.pid = pid
        self.name = name
        self.directory = directory
        self.sock = sock  # Our end; the node ends with it when it is an embedded one.
        self._driver_pid = os.getpid()
        self._is_reaped = False

    def describe_death(self) -> str:
        """How it ended, in words, with the end of its log."""
        how = self.wait(_EXIT_WITHIN_S) or "it closed its connection"
        tail = log_tail(self.directory)
        return f"{how}; its log ends with:\n{tail}" if tail else how

    def wait(self, timeout_s: float) -> str:
        """Wait for its end. How it ended; "" when it has not."""
        import time

        deadline_s = time.monotonic() + timeout_s
        pause_s = 0.0005
        while not self._is_reaped and os.getpid() == self._driver_pid:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # The program reaps its children by itself.
                break
            if pid:
                self._is_reaped = True
                code = os.waitstatus_to_exitcode(status)
                return f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it exited with status {code}"
            if time.monotonic() >= deadline_s:
                return ""
            time.sleep(pause_s)
            pause_s = min(0.01, pause_s * 2)
        return "it is gone"

    def end(self, timeout_s: float) -> None:
        """Make sure that it and its directory are gone."""
        if not self.wait(timeout_s):
            try:
                os.kill(self.pid, signal.SIGKILL)  # Its workers die with it.
            except ProcessLookupError:
                pass
            self.wait(_EXIT_WITHIN_S)
        remove_session(self.directory)


def spawn_node(settings: Mapping[str, Any], *, name: str = "", is_embedded: bool = True) -> NodeProcess:
    """Start a node process and return at once.

    Args:
        settings: Fields of `NodeConfig`, as far as they differ from its defaults.
        name: Of the session; "" makes one up.

    Raises:
        RuntimeError: This system is not supported, or the process can't be started.
        FileExistsError: A session of that name is running.
    """
    check_platform()
    import socket

    name, directory = make_session_directory(name)
    config = {**settings, "session_name": name, "session_dir": directory, "is_embedded": is_embedded, "driver_pid": os.getpid()}
    code = _CODE.format(path=import_path())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = -1
    try:
        log = os.open(os.path.join(directory, LOG_NAME), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.fchmod(log, 0o600)
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *interpreter_flags(), "-c", code, str(_NODE_FD), to_json(config)],
            os.environ,
            file_actions=_descriptors(theirs.fileno(), log),
            setsid=True,
            setsigmask=(),
            setsigdef=(
                signal.SIGINT,
                signal.SIGTERM,
                signal.SIGHUP,
                signal.SIGPIPE,
                signal.SIGCHLD,
                signal.SIGUSR1,
                signal.SIGUSR2,
            ),
        )
    except OSError as error:
        ours.close()
        remove_session(directory)
        raise RuntimeError(f"the engine's process can't be started: {sys.executable!r}: {error}") from error
    finally:
        theirs.close()
        if log >= 0:
            os.close(log)
    return NodeProcess(pid, name, directory, ours)


def _descriptors(sock: int, log: int) -> list[tuple[Any, ...]]:
    """0: nothing, 1 and 2: the log, 3: the socket. All others close by themselves, or in the first line of the node's program."""
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
    ]
    if sock == _NODE_FD:  # A descriptor that is copied onto itself may keep its close-on-exec flag: go by way of another.
        spare = max(sock, log) + 1
        actions += [(os.POSIX_SPAWN_DUP2, sock, spare), (os.POSIX_SPAWN_DUP2, spare, _NODE_FD)]
    else:
        actions.append((os.POSIX_SPAWN_DUP2, sock, _NODE_FD))
    return actions


def check_platform() -> None:
    """Raise RuntimeError where the engine can't run."""
    if not sys.platform.startswith("linux"):
        raise RuntimeError(
            f"skate's own engine runs on Linux only (memfd, SOCK_SEQPACKET, pidfd), and this is {sys.platform}: use Linux, WSL 2 or a Linux "
            'container; or skate.init(address="inline") for this process alone'
        )
    if not sys.executable:
        raise RuntimeError("skate can't find the Python interpreter to start its processes with: set sys.executable to its path")


def import_path() -> list[str]:
    """`sys.path` as other processes have to have it: without relative entries."""
    cwd = _cwd()
    return list(dict.fromkeys(os.path.join(cwd, entry) if cwd and not os.path.isabs(entry) else entry for entry in sys.path))


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # It has been removed.
        return ""


def interpreter_flags() -> list[str]:
    """The command line flags that make another interpreter behave like this one."""
    flags = sys.flags
    found = ["-" + "O" * flags.optimize] if flags.optimize else []
    for flag, is_set in (
        ("-I", flags.isolated), ("-E", flags.ignore_environment), ("-s", flags.no_user_site), ("-S", flags.no_site),
        ("-B", flags.dont_write_bytecode), ("-P", getattr(flags, "safe_path", False)),
    ):  # fmt: skip
        if is_set:
            found.append(flag)
    found += [f"-W{option}" for option in sys.warnoptions if option]
    for option, value in sys._xoptions.items():
        found += ["-X", option if value is True else f"{option}={value}"]
    return found


def to_json(value: Any) -> str:
    """JSON of plain values. `import json` would take longer than all the rest of this file."""
    from _json import encode_basestring_ascii

    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return str(encode_basestring_ascii(value))
        case int() | float():
            return repr(value)
        case Mapping():
            return "{" + ",".join(f"{to_json(str(key))}:{to_json(one)}" for key, one in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(to_json, value)) + "]"
        case _:
            raise TypeError(f"{value!r} can't be told to the engine's process: it takes plain values only")
