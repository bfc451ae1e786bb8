"""Free TCP ports, for frameworks that insist on opening a port by number."""

from __future__ import annotations

import socket


class HeldPort:
    """A port that the kernel chose; held until `release`, so that nobody else is given it meanwhile."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, 0))
        self.number = int(self._socket.getsockname()[1])

    def release(self) -> None:
        self._socket.close()
