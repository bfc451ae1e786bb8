"""A channel: one end of a `SOCK_SEQPACKET` Unix socket that carries encoded messages.

The kernel keeps message borders, sends a packet whole or not at all, and reports a peer's death as an end of file.
A message up to `PACKET_BYTES_MAX` is one packet. A longer one travels as fragments, each with a first byte that MessagePack never
uses (0xc1), and is put together again by the receiver.

`send` never blocks: what the kernel does not take waits in `outbox` until `flush` (called when the socket is writable).
Not thread-safe: whoever shares a channel between threads brings the lock.
"""

from __future__ import annotations

import array
import socket
from collections import deque
from collections.abc import Iterator, Sequence

from skate.config import OUTBOX_BYTES_MAX, PACKET_BYTES_MAX, SOCKET_BUFFER_BYTES

_FRAGMENT = 0xC1
_MORE = b"\xc1\x01"
_LAST = b"\xc1\x00"
_FRAGMENT_BYTES = PACKET_BYTES_MAX - 2
_DESCRIPTORS_MAX = 8
_ANCILLARY_BYTES = socket.CMSG_SPACE(_DESCRIPTORS_MAX * 4)


class ChannelClosedError(ConnectionError):
    """The peer is gone."""


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, not inherited by programs that user code starts."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        tune(end)
    return ends


def tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    sock.setblocking(False)


class Channel:
    """One end, non-blocking."""

    __slots__ = ("_buffer", "_descriptors", "_fragments", "_outbox_bytes", "_view", "closed", "fd", "outbox", "sock")

    def __init__(self, sock: socket.socket, buffer: bytearray | None = None) -> None:
        """`buffer`: a receive buffer that channels read by the same thread may share."""
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self.closed = False
        self.outbox: deque[tuple[bytes, Sequence[int]]] = deque()
        self._outbox_bytes = 0
        self._buffer = buffer if buffer is not None else receive_buffer()
        self._view = memoryview(self._buffer)
        self._fragments: list[bytes] | None = None
        self._descriptors: list[int] = []  # Came with the first fragment of a message whose rest has not come yet.

    # ------------------------------------------------------------ sending

    def send(self, data: bytes) -> bool:
        """Send one message. True when nothing is left to flush.

        Raises:
            ChannelClosedError: The peer is gone.
        """
        if not self.outbox and len(data) <= PACKET_BYTES_MAX:
            try:
                self.sock.send(data)
                return True
            except BlockingIOError:
                pass
            except OSError as error:
                raise self._gone(error) from error
        return self._send_slowly(data, ())

    def send_with_descriptors(self, data: bytes, descriptors: Sequence[int]) -> bool:
        """Send one message with open descriptors. They must stay open until this channel's outbox is empty:
        the channel duplicates the ones it has to keep waiting."""
        return self._send_slowly(data, descriptors)

    def flush(self) -> bool:
        """Send what waits. True when nothing is left."""
        while self.outbox:
            data, descriptors = self.outbox[0]
            try:
                if descriptors:
                    socket.send_fds(self.sock, [data], list(descriptors))
                else:
                    self.sock.send(data)
            except BlockingIOError:
                return False
            except OSError as error:
                raise self._gone(error) from error
            self.outbox.popleft()
            self._outbox_bytes -= len(data)
            _close_all(descriptors)
        return True

    def _send_slowly(self, data: bytes, descriptors: Sequence[int]) -> bool:
        if self.closed:
            raise ChannelClosedError("the channel is closed")
        if self._outbox_bytes > OUTBOX_BYTES_MAX:
            raise ChannelClosedError(f"the peer has not read for {self._outbox_bytes:,} bytes")
        packets = list(_split(data))
        for position, packet in enumerate(packets):
            if position or not descriptors:
                self.outbox.append((packet, ()))
            else:
                import os

                self.outbox.append((packet, [os.dup(fd) for fd in descriptors]))
            self._outbox_bytes += len(packet)
        return self.flush()

    # ------------------------------------------------------------ receiving

    def receive(self) -> memoryview | bytes | None:
        """The next whole message, valid until the next call; None when there is none now.

        Raises:
            ChannelClosedError: The peer is gone and everything it sent was read.
        """
        while True:
            try:
                size = self.sock.recv_into(self._buffer)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                continue  # The peer ended without reading all we sent. Told once, before what it had sent: that comes next, then the end.
            except OSError as error:
                raise self._gone(error) from error
            if size == 0:
                raise self._gone(None)
            if self._buffer[0] != _FRAGMENT:
                return self._view[:size]
            whole = self._add_fragment(bytes(self._view[:size]))
            if whole is not None:
                return whole

    def receive_with_descriptors(self) -> tuple[memoryview | bytes, list[int]] | None:
        """Like `receive`, with the descriptors that came along (the caller owns them)."""
        while True:
            try:
                size, ancillary, _flags, _address = self.sock.recvmsg_into(
                    [self._buffer], _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return None
            except ConnectionResetError:
                continue  # The peer ended without reading all we sent. Told once, before what it had sent: that comes next, then the end.
            except OSError as error:
                raise self._gone(error) from error
            if size == 0:
                raise self._gone(None)
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    received = array.array("i")
                    received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                    self._descriptors.extend(received)
            if self._buffer[0] != _FRAGMENT:
                return self._view[:size], self._take_descriptors()
            whole = self._add_fragment(bytes(self._view[:size]))
            if whole is not None:
                return whole, self._take_descriptors()

    def _take_descriptors(self) -> list[int]:
        if not self._descriptors:
            return []
        descriptors, self._descriptors = self._descriptors, []
        return descriptors

    def _add_fragment(self, packet: bytes) -> bytes | None:
        if self._fragments is None:
            self._fragments = []
        self._fragments.append(packet[2:])
        if packet[1:2] == _MORE[1:]:  # A slice: a malformed packet may have one byte only.
            return None
        whole = b"".join(self._fragments)
        self._fragments = None
        return whole

    # ------------------------------------------------------------ end

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            for _data, descriptors in self.outbox:
                _close_all(descriptors)
            self.outbox.clear()
            _close_all(self._take_descriptors())
            self.sock.close()

    def _gone(self, error: OSError | None) -> ChannelClosedError:
        return ChannelClosedError(str(error) if error else "end of file")


def receive_buffer() -> bytearray:
    return bytearray(PACKET_BYTES_MAX + 4096)


def _split(data: bytes) -> Iterator[bytes]:
    if len(data) <= PACKET_BYTES_MAX:
        yield data
        return
    for start in range(0, len(data), _FRAGMENT_BYTES):
        piece = data[start : start + _FRAGMENT_BYTES]
        yield (_MORE if start + _FRAGMENT_BYTES < len(data) else _LAST) + piece


def _close_all(descriptors: Sequence[int]) -> None:
    import os

    for fd in descriptors:
        os.close(fd)
