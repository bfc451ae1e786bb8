"""The listener: node.sock, where drivers, the CLI and the dashboard join. Nothing is read from a peer of another user
(SO_PEERCRED).

The socket lies in the session directory (0700). A new peer is handed on as it is; who says nothing is dropped by the shell
(HELLO_WITHIN_S).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

from skate.engine.node.loop import Loop
from skate.engine.transport.channel import tune

HELLO_WITHIN_S = 5.0

_PATH_BYTES_MAX = 107  # sun_path
_BACKLOG = 128
_ACCEPTS_PER_TURN_MAX = 32
_OUT_OF_DESCRIPTORS_PAUSE_S = 0.5
_ROOT = 0
_ucred = struct.Struct("3i")  # pid, uid, gid


class Listener:
    def __init__(self, loop: Loop, path: str, on_join: Callable[[socket.socket, int], None], log: Callable[[str], None]) -> None:
        """`on_join(sock, pid)`: a peer that may talk to us."""
        self._loop = loop
        self._on_join = on_join
        self._log = log
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.setblocking(False)
        _bind(self._sock, path)
        os.chmod(path, 0o600)
        self._sock.listen(_BACKLOG)
        loop.add(self._sock.fileno(), self._on_readable)

    def _on_readable(self, _events: int) -> None:
        for _ in range(_ACCEPTS_PER_TURN_MAX):
            try:
                sock, _address = self._sock.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:  # EMFILE, ENFILE, ENOMEM: it would be reported again and again.
                self._log(f"cannot accept a client: {error}")
                self._loop.watch(self._sock.fileno(), readable=False)
                self._loop.set_timer_after(_OUT_OF_DESCRIPTORS_PAUSE_S, lambda: self._loop.watch(self._sock.fileno()))
                return
            pid, uid = peer_of(sock)
            if uid not in (os.geteuid(), _ROOT):
                self._log(f"refused process {pid} of user {uid}: this session belongs to user {os.geteuid()}")
                sock.close()
                continue
            tune(sock)
            self._on_join(sock, pid)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove(self._sock.fileno())
            self._sock.close()


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """(pid, user id) of the process at the other end, by the kernel's word. Pid 0: it lives in another pid namespace."""
    pid, uid, _gid = _ucred.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _ucred.size))
    return pid, uid


def _bind(sock: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        sock.bind(path)
        return
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)
