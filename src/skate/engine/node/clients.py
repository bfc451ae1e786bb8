"""Clients: the drivers and observers of a session, and what is known about each.

Workers are clients too, see `worker_processes.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from skate.engine.node.logs import WorkerLog
from skate.engine.node.loop import Loop, Timer
from skate.engine.node.peers import Peer

DRIVER, OBSERVER = "driver", "observer"
LOG_PACKETS_WAITING_MAX = 16  # For a driver that reads slowly; then the workers that print are held up.


class Client:
    """A connected driver or observer. `number` is 0 until it has said Hello."""

    __slots__ = (
        "greeting_timer", "has_said_goodbye", "held_logs", "is_embedding", "job", "kind", "namespace", "number", "peer", "pid",
        "pidfd", "started_s", "wants_logs",
    )  # fmt: skip

    def __init__(self, pid: int, *, is_embedding: bool) -> None:
        self.number = 0
        self.kind = ""
        self.pid = pid  # By the kernel's word; 0 when it lives in another pid namespace.
        self.job = 0
        self.namespace = ""
        self.wants_logs = False
        self.is_embedding = is_embedding  # The session ends with it.
        self.has_said_goodbye = False
        self.started_s = 0.0  # Since the epoch.
        self.peer: Peer  # Set right after.
        self.pidfd = -1
        self.greeting_timer: Timer | None = None
        self.held_logs: list[WorkerLog] = []

    def watch_process(self, loop: Loop, on_exit: Callable[[], None]) -> None:
        """Watch the process itself too: one that dies while a child it forked holds its socket leaves no end of file."""
        if self.pid <= 0:
            return
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:  # It is gone (the socket will say so), or lives where we cannot see it.
            return
        loop.add(self.pidfd, lambda _events: on_exit())

    def hold(self, log: WorkerLog) -> None:
        """Stop reading a worker's output until this client has read what it was sent."""
        if not log.is_paused:
            log.pause()
            self.held_logs.append(log)

    def release_logs(self) -> None:
        held, self.held_logs = self.held_logs, []
        for log in held:
            log.resume()

    def close(self, loop: Loop) -> None:
        if self.greeting_timer is not None:
            self.greeting_timer.cancel()
        if self.pidfd >= 0:
            loop.remove(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1
        self.peer.close()
        self.release_logs()
