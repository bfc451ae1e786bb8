"""What the machine allows: the echo of a small message between two processes, and the copying of memory."""

from __future__ import annotations

import os
import pickle
import socket

from benchmarks.engine.timing import Effort, Result, rate


class Socket:
    """A small pickle to another process over a socket pair, and back: no synchronous call can be faster than this."""

    def __enter__(self) -> Socket:
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.child = os.fork()
        if self.child == 0:
            self.ours.close()
            while message := theirs.recv(65536):
                theirs.send(pickle.dumps(pickle.loads(message)))
            os._exit(0)
        theirs.close()
        return self

    def __exit__(self, *error: object) -> None:
        self.ours.close()
        os.waitpid(self.child, 0)

    def _echo(self, effort: Effort) -> Result:
        def run() -> None:
            self.ours.send(pickle.dumps(("small_value", (), b"ok")))
            pickle.loads(self.ours.recv(65536))

        return rate(effort, run)

    tasks_sync = actor_sync = _echo


class Memcpy:
    """Copying into warm memory, in GB/s: no put can be faster than this."""

    def __enter__(self) -> Memcpy:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def put_gigabytes(self, effort: Effort) -> Result:
        import mmap

        size = effort.count(100 * 1024 * 1024, 2_000_000) * 8
        source = bytearray(b"\1") * size
        target = memoryview(mmap.mmap(-1, size))  # Shared and anonymous, as the store is.
        view = memoryview(source)

        def run() -> None:
            target[:] = view

        return rate(effort, run, size / 1e9)


PEERS = {"socket": Socket, "memcpy": Memcpy}
