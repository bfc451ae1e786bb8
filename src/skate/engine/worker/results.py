"""Outcomes of one caller's calls, on their way back.

Under load outcomes travel in batches: the thread that runs calls holds them back for up to RESULT_FLUSH_S, and the control
thread sends what a long call would otherwise keep waiting. Everything that is sent on a link goes through here, under one lock,
so that it arrives in the order in which it happened.
"""

from __future__ import annotations

import select
import threading
from typing import Any

import msgspec

from skate.config import PACKET_BYTES_MAX
from skate.engine.spec import messages as m
from skate.engine.transport.channel import Channel, ChannelClosedError

ROOM_LOOK_MS = 1000  # Looks again whether the link was closed meanwhile.
_encode = msgspec.msgpack.Encoder().encode


class Results:
    """The sending side of one link. Safe to use from any thread."""

    __slots__ = ("_bytes", "_channel", "_lock", "held", "is_gone", "since_ns")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._bytes = 0
        self.held: list[m.Outcome] = []
        self.since_ns = 0  # When the oldest held outcome came; 0 when none is held.
        self.is_gone = False  # The caller is: nobody wants the rest.

    def add(self, outcome: m.Outcome, now_ns: int) -> None:
        """Hold an outcome back until `flush`."""
        with self._lock:
            self.held.append(outcome)
            if not self.since_ns:
                self.since_ns = now_ns
            self._bytes += len(outcome.data)
            if self._bytes > PACKET_BYTES_MAX // 2:
                self._send_held()

    def flush(self) -> None:
        """Send everything that is held back, and what the kernel did not take before."""
        if self.held or self._channel.outbox:
            with self._lock:
                self._send_held()

    def send(self, message: Any) -> None:
        """Send one message, after what is held back."""
        with self._lock:
            self._send_held()
            self._send(message)

    def has_backlog(self) -> bool:
        """The caller reads more slowly than we send: flush when the channel is writable."""
        return bool(self._channel.outbox)

    def wait_for_room(self) -> None:
        """In a pool thread: until the caller has read enough for the kernel to take what waits."""
        while self._channel.outbox and not self.is_gone:
            try:
                poller = select.poll()
                poller.register(self._channel.fd, select.POLLOUT)
                poller.poll(ROOM_LOOK_MS)
            except (OSError, ValueError):
                return
            self.flush()

    def drain(self, patience_s: float) -> None:
        """Before the end of the process: send everything, waiting for the caller to read it."""
        with self._lock:
            self._send_held()
            if self._channel.outbox and not self.is_gone:
                try:
                    self._channel.sock.settimeout(patience_s)
                    self._channel.flush()
                except (ChannelClosedError, OSError):
                    self.is_gone = True

    def _send_held(self) -> None:
        if self.held:
            outcomes, self.held = self.held, []
            self.since_ns = self._bytes = 0
            self._send(m.Done(outcomes))
        elif self._channel.outbox and not self.is_gone:
            try:
                self._channel.flush()
            except ChannelClosedError:
                self.is_gone = True

    def _send(self, message: Any) -> None:
        if self.is_gone:
            return
        try:
            self._channel.send(_encode(message))
        except ChannelClosedError:
            self.is_gone = True  # The reading side sees the end of the channel too, and closes the link.
