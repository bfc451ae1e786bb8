"""Lines from a TCP server. What a socket gave it does not give again: no exactly-once, and no snapshots."""

from __future__ import annotations

import select
import socket
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.sources.base import Reader, Source, Split

WAIT_S = 0.005
RECEIVE_BYTES = 1 << 18


class SocketSource(Source):
    kind = "socket"
    is_replayable = False
    is_bounded = False  # It ends when the server closes.
    parallelism_max = 1

    def __init__(self, host: str, port: int, *, connect_timeout_s: float = 10.0) -> None:
        self.address = (host, port)
        self.connect_timeout_s = connect_timeout_s
        self.label = f"{host}:{port}"

    def splits(self) -> list[Split]:
        return [Split("socket")]

    def open(self, split: Split, position: Any) -> Reader:
        return _SocketReader(self)


class _SocketReader(Reader):
    def __init__(self, source: SocketSource) -> None:
        self.socket = socket.create_connection(source.address, timeout=source.connect_timeout_s)
        self.label = source.label
        self.rest = b""
        self.position: int = 0  # Bytes received, for error messages.

    def read(self) -> Batch | None:
        if not select.select([self.socket], [], [], WAIT_S)[0]:
            return None
        data = self.socket.recv(RECEIVE_BYTES)
        start = self.position
        self.position += len(data)
        text = self.rest + data
        if data:
            end = text.rfind(b"\n") + 1
            self.rest = text[end:]
            text = text[:end]
        else:
            self.is_done = True
        lines = [line.removesuffix("\r") for line in text.decode("utf-8", "replace").split("\n")]
        if lines and not lines[-1]:
            lines.pop()
        return Batch(lines, None, None, f"{self.label}, from byte {start:,}") if lines else None

    def close(self) -> None:
        self.socket.close()
