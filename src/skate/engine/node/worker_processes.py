"""Worker processes: how they start, how they are stopped, and what is left when they end.

A worker is forked from this process, which has imported everything already (about 5 ms), or forked and then made another
interpreter by exec. In both cases the child leads its own session and process group, dies with this process (PDEATHSIG), and
holds no descriptor but its own.

    start ──► runs ──► stop("graceful") ── Exit ──► … overstays ──► SIGKILL to its group
                 └──► stop("kill") ───────────────────────────────► SIGKILL to its group
    dead ──► kill its group while its number is still taken ──► reap

Decides nothing about tasks: the scheduler is told by WorkerExited.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from skate.engine.node.logs import WorkerLog
from skate.engine.node.loop import Timer
from skate.engine.node.peers import Peer

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FAILED_START_STATUS = 70
_OOM_SCORE = b"600"  # The kernel, short of memory, is to choose a worker and not the node.
_RESET_SIGNALS = (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)

_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]


def become_subreaper() -> None:
    """Orphans of our workers become our children, so that none is left when the session ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class WorkerProcess:
    """One worker, from its fork until it is reaped."""

    __slots__ = (
        "control", "env", "is_actor", "is_stopping", "job", "kill_reason", "kill_timer", "leases", "log", "node", "number",
        "peer", "pid", "started_s",
    )  # fmt: skip

    def __init__(self, number: int, node: bytes, job: int, env: str, started_s: float) -> None:
        self.number = number  # Its client id.
        self.node = node
        self.pid = 0  # Set by the fork, as are `log`, `peer` and `control`.
        self.job = job
        self.env = env
        self.log: WorkerLog
        self.started_s = started_s  # Since the epoch.
        self.peer: Peer  # As a client.
        self.control: Peer
        self.leases: set[int] = set()  # Granted and not ended.
        self.is_actor = False
        self.is_stopping = False
        self.kill_reason = ""  # Set when we killed it.
        self.kill_timer: Timer | None = None

    def kill(self, reason: str) -> None:
        """SIGKILL to its whole group. Safe until it is reaped: its number cannot have been given to another process."""
        if not self.kill_reason:
            self.kill_reason = reason
        kill_group(self.pid)

    def close(self) -> None:
        if self.kill_timer is not None:
            self.kill_timer.cancel()
        self.peer.close()
        self.control.close()


def kill_group(pid: int) -> None:
    for kill in (os.kill, os.killpg):  # Right after the fork there is no group yet.
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:  # A setuid program in it.
            pass


# ---------------------------------------------------------------- start


def fork_child(run: Callable[[], None], *, stdout: int, stderr: int, keep: Iterable[int]) -> int:
    """Fork. The child sets itself up, calls `run` and ends. `keep`: the descriptors, above 2, it may have.

    Raises:
        OSError: The machine has no room for another process.
    """
    parent = os.getpid()
    # A signal that reached the child before it has its own handlers would be reported to our loop, by the shared wake-up pipe.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(run, parent, stdout, stderr, keep)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _be_child(run: Callable[[], None], parent: int, stdout: int, stderr: int, keep: Iterable[int]) -> NoReturn:
    # The stack below is never left: the parent's sockets, known to objects on it, must not be closed by their finalizers in this
    # process, where the same numbers mean other files.
    status = _FAILED_START_STATUS
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(status)
        signal.set_wakeup_fd(-1)
        for number in _RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        _close_others(keep)
        _score_for_oom()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        gc.enable()
        run()
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(status)


def _close_others(keep: Iterable[int]) -> None:
    lowest = 3
    for fd in sorted({fd for fd in keep if fd > 2}):
        os.closerange(lowest, fd)
        lowest = fd + 1
    os.closerange(lowest, os.sysconf("SC_OPEN_MAX"))  # No higher: old kernels close them one by one.


def _score_for_oom() -> None:
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(fd, _OOM_SCORE)
        finally:
            os.close(fd)
    except OSError:
        pass


def exec_program(argv: Sequence[str], environ: Mapping[str, str], keep: Iterable[int]) -> NoReturn:
    """In a child: become another program, which inherits `keep`.

    Raises:
        OSError: The program cannot be run.
    """
    for fd in keep:
        os.set_inheritable(fd, True)
    try:
        os.execve(argv[0], list(argv), dict(environ))
    except OSError as error:
        raise OSError(error.errno, f"cannot start the interpreter {argv[0]!r} of this runtime_env: {error.strerror}") from None


# ---------------------------------------------------------------- end


def next_dead_child() -> int:
    """The pid of a child that ended and is not reaped yet; 0: none."""
    try:
        result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return result.si_pid if result is not None else 0


def reap(pid: int, *, with_group: bool) -> int:
    """The wait status of a dead child. `with_group`: what it had started, and left in its process group, is killed."""
    if with_group:
        kill_group(pid)  # Before the wait: until then nobody else can have this number.
    return os.waitpid(pid, 0)[1]


def describe_end(status: int, *, kill_reason: str, was_oom: bool) -> tuple[str, str]:
    """The (kind, detail) of WorkerExited."""
    if kill_reason:
        return "killed", kill_reason
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if was_oom and number == signal.SIGKILL:
            return "oom", "the machine ran out of memory and the kernel killed it (SIGKILL)"
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"SIG{number}"
        return "signal", f"it was killed by signal {number} ({name})"
    code = os.WEXITSTATUS(status)
    return ("exit", "it exited with status 0") if code == 0 else ("exit_code", f"it exited with status {code}")


def kill_all_children() -> int:
    """SIGKILL to every child, also to orphans we took over, and reap the dead. How many are still there."""
    while dead := next_dead_child():
        reap(dead, with_group=True)
    children = children_of_this_process()
    for pid in children:
        kill_group(pid)
    return len(children)


def children_of_this_process() -> list[int]:
    pid = os.getpid()
    try:
        with open(f"/proc/self/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:  # A kernel without CONFIG_PROC_CHILDREN.
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent_of(name) == pid]


def _parent_of(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def flush_standard_streams() -> None:
    """Before a fork: what waits in a buffer here would be written by the child too."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
