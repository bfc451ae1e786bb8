"""Links: the channels on which this worker is called.

A lease has one caller and a token pipe; an actor has as many callers as hold its handle. `Links` reads them all with one epoll,
in the thread that runs calls, so that a synchronous call costs no hop between threads. It sorts what comes and leaves the running
to the loops.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from skate.engine.spec import messages as m
from skate.engine.transport.channel import Channel, ChannelClosedError, receive_buffer
from skate.engine.worker.results import Results
from skate.engine.worker.streams import Gate

_decode = msgspec.msgpack.Decoder(m.CALLER_TO_WORKER).decode
_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT


class Bound:
    """A template, and what this worker made of it."""

    __slots__ = ("function", "is_quick", "label", "name_number", "retry_types", "template")

    def __init__(self, template: m.Template) -> None:
        self.template = template
        self.function: Callable[..., Any] | None = None  # Unpickled at the first call.
        self.label = template.name
        self.name_number = 0  # In this worker's trail; 0: not asked for yet.
        self.is_quick = False  # Its last call was: outcomes may be held back while the next one runs.
        self.retry_types: tuple[type[BaseException], ...] | None = None


class Link:
    """One caller of this worker."""

    __slots__ = (
        "bounds", "caller", "channel", "is_open", "is_retiring", "lease", "pending", "results", "streams", "token_read",
    )  # fmt: skip

    def __init__(
        self, caller: int, descriptor: int, buffer: bytearray, token_read: int = -1, lease: m.AttachLease | None = None
    ) -> None:
        self.caller = caller
        self.channel = Channel(socket.socket(fileno=descriptor), buffer)
        self.results = Results(self.channel)
        self.token_read = token_read
        self.lease = lease
        self.bounds: dict[int, Bound] = {}
        self.pending: deque[m.Call] = deque()  # Received, not claimed yet (leases only).
        self.streams: dict[bytes, Gate] = {}  # Generators that run for this caller.
        self.is_open = True
        self.is_retiring = False

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.results.is_gone = True
            self.pending.clear()
            self.channel.close()
            if self.token_read >= 0:
                os.close(self.token_read)
                self.token_read = -1
            for gate in list(self.streams.values()):
                gate.acknowledge(-1)


class Links:
    """All links of this worker. One thread reads them; any thread may send on them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_fd: dict[int, Link] = {}
        self._backlogged: set[int] = set()
        self.buffer = receive_buffer()
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self.wake_fd, _READ)
        self.on_calls: Callable[[Link, list[m.Call]], None] = lambda link, calls: link.pending.extend(calls)
        self.on_cancel: Callable[[bytes, bool], None] = lambda task, recursive: None
        self.on_wake: Callable[[], None] = lambda: None  # Somebody else has news for the reading thread.

    def add(self, link: Link) -> None:
        self._by_fd[link.channel.fd] = link
        self._epoll.register(link.channel.fd, _READ)

    def remove(self, link: Link) -> None:
        if self._by_fd.pop(link.channel.fd, None) is not None:
            self._backlogged.discard(link.channel.fd)
            self._epoll.unregister(link.channel.fd)
        link.close()

    def all(self) -> list[Link]:
        return list(self._by_fd.values())

    def wake(self) -> None:
        """Make `receive` return. From any thread."""
        os.eventfd_write(self.wake_fd, 1)

    def receive(self, timeout_s: float | None) -> None:
        """Wait for news (None: as long as it takes) and sort them. At most one message of each link."""
        for link_fd, mask in self._epoll.poll(timeout_s):
            link = self._by_fd.get(link_fd)
            if link is None:
                if link_fd == self.wake_fd:
                    self.take_wake()
                    self.on_wake()
                continue
            if mask & _WRITE:
                link.results.flush()
                self.watch_backlog(link)
            if mask & ~_WRITE:
                self.read(link)

    def take_wake(self) -> None:
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            pass

    def read(self, link: Link) -> bool:
        """Read one message, if there is one. False when there is none now, or never again."""
        try:
            data = link.channel.receive()
        except ChannelClosedError:
            self.remove(link)
            return False
        if data is None:
            return False
        message = _decode(data)
        if type(message) is m.Calls:
            self.on_calls(link, message.calls)
        elif type(message) is m.Template:
            link.bounds[message.index] = Bound(message)
        elif type(message) is m.GeneratorAck:
            gate = link.streams.get(message.task)
            if gate is not None:
                gate.acknowledge(message.consumed)
        elif type(message) is m.CancelQueued:
            self.on_cancel(message.task, message.recursive)
        return True

    def watch_backlog(self, link: Link) -> None:
        """Look out for room in a channel whose caller reads slowly, as long as something waits for it."""
        fd = link.channel.fd
        if link.is_open and link.results.has_backlog() != (fd in self._backlogged):
            if fd in self._backlogged:
                self._backlogged.discard(fd)
                self._epoll.modify(fd, _READ)
            else:
                self._backlogged.add(fd)
                self._epoll.modify(fd, _READ | _WRITE)

    def flush(self, touched: set[Link]) -> None:
        """Send what these links hold back."""
        for link in touched:
            link.results.flush()
            if link.results.has_backlog():
                self.watch_backlog(link)
        touched.clear()

    def close_in_fork(self) -> None:
        """In a child that user code forked: the descriptors are the parent's."""
        for link in self.all():
            link.channel.sock.close()  # Not `close`: it wakes threads that the child does not have.
            if link.token_read >= 0:
                os.close(link.token_read)
        self._epoll.close()
