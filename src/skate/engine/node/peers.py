"""A peer: one channel of another process in the loop. Reads whole messages and hands them on, sends without ever blocking, ends
once.

    on_message(data)             `data` is valid during the call only
    on_end(reason, is_overrun)   once, after everything the peer had sent was handed on

A peer that reads too slowly keeps its messages in the channel's outbox; above OUTBOX_BYTES_MAX it is taken for dead
(`is_overrun`).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence

from skate.engine.node.loop import Loop
from skate.engine.transport.channel import Channel, ChannelClosedError

_MESSAGES_PER_TURN_MAX = 128  # Then the others get their turn.
_WRITE = select.EPOLLOUT


class Peer:
    __slots__ = ("_is_waiting_to_write", "_loop", "_on_end", "_on_message", "channel", "is_ended", "on_drained")

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        buffer: bytearray,
        on_message: Callable[[memoryview | bytes], None],
        on_end: Callable[[str, bool], None],
    ) -> None:
        """`buffer`: the receive buffer that all peers of the loop share."""
        self.channel = Channel(sock, buffer)
        self.is_ended = False
        self.on_drained: Callable[[], None] | None = None  # Called when the outbox has become empty.
        self._is_waiting_to_write = False
        self._loop = loop
        self._on_message = on_message
        self._on_end = on_end
        loop.add(self.channel.fd, self._on_events)

    # ------------------------------------------------------------ sending

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send, now or when the peer reads. A peer that is gone is noticed by its end, not here."""
        if self.is_ended:
            return
        try:
            if descriptors:
                is_sent = self.channel.send_with_descriptors(data, descriptors)
            else:
                is_sent = self.channel.send(data)
        except ChannelClosedError as error:
            # Not now: we are in the middle of somebody's commands, and what this peer sent before comes first.
            reason, is_overrun = str(error), error.__cause__ is None
            self._loop.soon.append(lambda: self._end_after_reading(reason, is_overrun=is_overrun))
            return
        if not is_sent and not self._is_waiting_to_write:
            self._is_waiting_to_write = True
            self._loop.watch(self.channel.fd, writable=True)

    def _flush(self) -> None:
        if self.channel.flush():
            self._is_waiting_to_write = False
            self._loop.watch(self.channel.fd)
            if self.on_drained is not None:
                self.on_drained()

    # ------------------------------------------------------------ receiving

    def _on_events(self, events: int) -> None:
        if events & _WRITE and self._is_waiting_to_write and not self.is_ended:
            try:
                self._flush()
            except ChannelClosedError as error:
                self._end_after_reading(str(error), is_overrun=False)
                return
        if events & ~_WRITE:
            self._read(_MESSAGES_PER_TURN_MAX)

    def read_all(self) -> None:
        """Hand on everything the peer has sent so far. May end the peer."""
        self._read(-1)

    def _read(self, messages_max: int) -> None:
        while messages_max and not self.is_ended:
            try:
                data = self.channel.receive()
            except ChannelClosedError as error:
                self._end(str(error), is_overrun=False)
                return
            if data is None:
                return
            self._on_message(data)
            messages_max -= 1

    # ------------------------------------------------------------ end

    def _end_after_reading(self, reason: str, *, is_overrun: bool) -> None:
        self.read_all()
        self._end(reason, is_overrun=is_overrun)

    def _end(self, reason: str, *, is_overrun: bool) -> None:
        if not self.is_ended:
            self.close()
            self._on_end(reason, is_overrun)

    def close(self) -> None:
        """Without `on_end`."""
        if not self.is_ended:
            self.is_ended = True
            self._loop.remove(self.channel.fd)
            self.channel.close()
