"""The worker pool: starts, stops and reaps this node's workers, and keeps a record of each. What it is told to do, the scheduler
decided.

Children are reaped on SIGCHLD rather than by a descriptor each: one mechanism for workers, builders of environments, the spiller
and the orphans that workers leave behind, and a thousand actors cost a thousand descriptors less. A pid stays ours until we reap
it, so that signals cannot go astray.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import NoReturn, Protocol

import msgspec

from skate.config import WORKER_EXIT_GRACE_S
from skate.engine.node.logs import STDERR, STDOUT, KeptLines, WorkerLog
from skate.engine.node.loop import Loop
from skate.engine.node.memory_monitor import private_bytes
from skate.engine.node.peers import Peer
from skate.engine.node.worker_processes import (
    WorkerProcess,
    describe_end,
    exec_program,
    flush_standard_streams,
    fork_child,
    next_dead_child,
    reap,
)  # fmt: skip
from skate.engine.spec import messages as m
from skate.engine.spec.boot import WorkerBoot
from skate.engine.transport.channel import channel_pair

_DEAD_LOGS_KEPT = 64
_LAST_LINES_SEARCHED = 200
_FATAL = "Fatal Python error"  # How faulthandler begins.
_FATAL_LINES = 6
_LAST_WORDS_CHARS_MAX = 500

_encode = msgspec.msgpack.Encoder().encode

RunWorker = Callable[[WorkerBoot, int, int, int], NoReturn]


class Program(Protocol):
    """What the pool asks of the shell."""

    def on_worker_message(self, worker: WorkerProcess, data: memoryview | bytes) -> None: ...
    def on_control_message(self, worker: WorkerProcess, data: memoryview | bytes) -> None: ...
    def on_worker_lines(self, worker: WorkerProcess, label: str, stream: int, block: bytes) -> None: ...
    def on_worker_exit(self, worker: WorkerProcess, kind: str, detail: str) -> None: ...
    def was_oom_kill(self) -> bool: ...


class WorkerPool:
    def __init__(self, loop: Loop, buffer: bytearray, arena_fd: int, program: Program, run_worker: RunWorker) -> None:
        self._loop = loop
        self._buffer = buffer
        self._arena_fd = arena_fd
        self._program = program
        self._run_worker = run_worker
        self._by_pid: dict[int, WorkerProcess] = {}
        self._other_children: dict[int, Callable[[int], None]] = {}
        self.workers: dict[int, WorkerProcess] = {}  # by client id
        self.dead_logs: dict[int, tuple[int, KeptLines]] = {}  # client id → (pid, lines), the newest last

    # ------------------------------------------------------------ start

    def start(self, boot: WorkerBoot, program: tuple[list[str], dict[str, str]] | None) -> WorkerProcess:
        """Start worker `boot.worker`.

        Args:
            program: Another interpreter's (argv without the worker's own arguments, environ); None: fork.

        Raises:
            OSError: The machine has no room for another process, or we have no descriptors left.
        """
        log: WorkerLog
        ours: list[socket.socket] = []
        theirs: list[socket.socket] = []
        pipes: list[int] = []
        worker = WorkerProcess(boot.worker, boot.node_id, boot.job_info.job, boot.env, time.time())
        try:
            for _ in range(2):
                near, far = channel_pair()
                ours.append(near)
                theirs.append(far)
            log = worker.log = WorkerLog(
                self._loop, lambda label, stream, block: self._program.on_worker_lines(worker, label, stream, block)
            )
            for stream in (STDOUT, STDERR):
                pipes.append(log.open_pipe(stream))
            client_fd, control_fd = (sock.fileno() for sock in theirs)
            keep = (client_fd, control_fd, self._arena_fd)

            def run() -> None:
                if program is None:
                    self._run_worker(boot, *keep)
                argv, environ = program
                arguments = [*map(str, keep), msgspec.json.encode(boot).decode()]
                exec_program([*argv, *arguments], environ, keep)

            flush_standard_streams()
            worker.pid = fork_child(run, stdout=pipes[0], stderr=pipes[1], keep=keep)
        except OSError:
            for sock in ours:
                sock.close()
            if hasattr(worker, "log"):
                worker.log.finish()
            raise
        finally:
            for sock in theirs:
                sock.close()
            for fd in pipes:
                os.close(fd)
        worker.peer = Peer(
            self._loop, ours[0], self._buffer,
            lambda data: self._program.on_worker_message(worker, data),
            lambda reason, is_overrun: self._on_peer_end(worker, reason, is_overrun=is_overrun),
        )  # fmt: skip
        worker.control = Peer(
            self._loop, ours[1], self._buffer,
            lambda data: self._program.on_control_message(worker, data),
            lambda reason, is_overrun: self._on_peer_end(worker, reason, is_overrun=is_overrun),
        )  # fmt: skip
        self._by_pid[worker.pid] = worker
        self.workers[worker.number] = worker
        return worker

    def watch_child(self, pid: int, on_exit: Callable[[int], None]) -> None:
        """Another child of this process: call `on_exit(wait status)` when it has ended."""
        self._other_children[pid] = on_exit

    # ------------------------------------------------------------ stop

    def stop(self, worker: WorkerProcess, how: str, reason: str) -> None:
        """`how`: "graceful" or "kill"."""
        if how == "kill":
            worker.kill(reason)
            return
        if worker.is_stopping:
            return
        worker.is_stopping = True
        worker.control.send(_encode(m.Exit(True, reason)))
        if not worker.is_actor:
            self.give_grace(worker, reason)
        # An actor first finishes the calls it has received, however long they take; its grace starts when it says that it leaves.

    def give_grace(self, worker: WorkerProcess, reason: str) -> None:
        """It is about to end by itself: kill it when that takes too long."""
        if worker.kill_timer is None:
            text = f"it did not end within {WORKER_EXIT_GRACE_S:g} s ({reason})"
            worker.kill_timer = self._loop.set_timer_after(WORKER_EXIT_GRACE_S, lambda: worker.kill(text))

    def kill_all(self, reason: str) -> None:
        for worker in list(self.workers.values()):
            worker.kill(reason)

    def _on_peer_end(self, worker: WorkerProcess, reason: str, *, is_overrun: bool) -> None:
        """One of its sockets ended, but it has not been reaped: it is about to end, or can never be of use again."""
        if self.workers.get(worker.number) is not worker:
            return
        if is_overrun:
            worker.kill(f"it did not read its messages ({reason})")
        else:
            self.give_grace(worker, "it closed its connection to the node process")

    # ------------------------------------------------------------ end

    def reap(self) -> None:
        """Take note of every child that has ended."""
        while pid := next_dead_child():
            worker = self._by_pid.pop(pid, None)
            status = reap(pid, with_group=worker is not None)
            if worker is not None:
                self._on_end(worker, status)
            elif (on_exit := self._other_children.pop(pid, None)) is not None:
                on_exit(status)

    def _on_end(self, worker: WorkerProcess, status: int) -> None:
        worker.peer.read_all()  # What it had sent comes before its death.
        worker.control.read_all()
        worker.log.finish()
        del self.workers[worker.number]
        worker.close()
        self.dead_logs[worker.number] = (worker.pid, worker.log.kept)
        while len(self.dead_logs) > _DEAD_LOGS_KEPT:
            del self.dead_logs[next(iter(self.dead_logs))]
        was_oom = os.WIFSIGNALED(status) and self._program.was_oom_kill()
        kind, detail = describe_end(status, kill_reason=worker.kill_reason, was_oom=was_oom)
        if kind in ("exit_code", "signal"):
            words = last_words(worker.log.kept.tail(STDERR, _LAST_LINES_SEARCHED), kind)
            if words:
                detail += f"; last on stderr: {words[:_LAST_WORDS_CHARS_MAX]}"
        self._program.on_worker_exit(worker, kind, detail)

    def pids(self) -> Iterable[int]:
        return self._by_pid.keys()

    def largest(self) -> tuple[int, int]:
        """(number, bytes) of the worker with most memory of its own; (-1, 0) when there is none."""
        sizes = ((private_bytes(pid), worker.number) for pid, worker in self._by_pid.items())
        size, number = max(sizes, default=(0, -1))
        return number, size

    @property
    def has_children(self) -> bool:
        return bool(self._by_pid or self._other_children)


def last_words(lines: list[str], kind: str) -> str:
    """Of what a worker printed to stderr before it ended by itself, what tells why: the error's own line, or faulthandler's report."""
    lines = [line.rstrip() for line in lines if line.strip()]
    if kind == "exit_code":
        return lines[-1].strip() if lines else ""
    starts = [index for index, line in enumerate(lines) if line.startswith(_FATAL)]
    return " | ".join(line.strip() for line in lines[starts[-1] : starts[-1] + _FATAL_LINES]) if starts else ""
