"""The loop: descriptors, timers and signals of the node process's one thread. It decides nothing.

    round = wait for descriptors or a deadline → clients' messages → children's deaths → workers' output → timers → `soon`

Handlers must not block, and must cope with being called when there is nothing to do: a descriptor's number may have been given to
another file within the same round. Times are seconds of the monotonic clock.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

# Order within a round. What a process sent is handled before its death; output comes last, so that printing never delays
# scheduling.
MESSAGES, CHILDREN, OUTPUT = 0, 1, 2

_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT
_monotonic = time.monotonic

Handler = Callable[[int], None]


class Timer:
    """A callback that waits for its time. `cancel` may be called at any time, also twice."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[int, Handler]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._signals: dict[int, Callable[[], None]] = {}
        self._signal_pipe: tuple[int, int] | None = None
        self.soon: deque[Callable[[], None]] = deque()

    # ------------------------------------------------------------ descriptors

    def add(self, fd: int, handler: Handler, order: int = MESSAGES) -> None:
        self._handlers[fd] = (order, handler)
        self._epoll.register(fd, _READ)

    def remove(self, fd: int) -> None:
        """Before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def watch(self, fd: int, *, readable: bool = True, writable: bool = False) -> None:
        if fd in self._handlers:
            self._epoll.modify(fd, (_READ if readable else 0) | (_WRITE if writable else 0))

    # ------------------------------------------------------------ time

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heappush(self._timers, (at_s, next(self._order), timer))
        return timer

    def set_timer_after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return self.set_timer(_monotonic() + delay_s, callback)

    # ------------------------------------------------------------ signals

    def on_signal(self, number: signal.Signals, callback: Callable[[], None]) -> None:
        """Call back from the loop, never in the middle of something. Several signals of a kind may become one call."""
        if self._signal_pipe is None:
            self._signal_pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            signal.set_wakeup_fd(self._signal_pipe[1], warn_on_full_buffer=False)
            self.add(self._signal_pipe[0], self._on_signal_pipe, CHILDREN)
        self._signals[number] = callback
        signal.signal(number, _nothing)

    def _on_signal_pipe(self, _events: int) -> None:
        assert self._signal_pipe is not None
        try:
            arrived = os.read(self._signal_pipe[0], 4096)
        except BlockingIOError:
            return
        for number in set(arrived):
            callback = self._signals.get(number)
            if callback is not None:
                callback()

    # ------------------------------------------------------------ the round

    def round(self, deadline_s: float | None) -> None:
        """Wait until something happens, or until `deadline_s`, and handle it. None: however long it takes."""
        if self.soon:
            timeout_s = 0.0
        else:
            while self._timers and self._timers[0][2].callback is None:
                heappop(self._timers)
            if self._timers and (deadline_s is None or self._timers[0][0] < deadline_s):
                deadline_s = self._timers[0][0]
            # Rounded up to the millisecond of epoll: a wait that ends too early would spin until the deadline.
            timeout_s = -1.0 if deadline_s is None else max(0.0, deadline_s - _monotonic() + 0.0005)
        events = self._epoll.poll(timeout_s)
        if len(events) > 1:
            handlers = self._handlers
            events.sort(key=lambda event: handlers[event[0]][0] if event[0] in handlers else OUTPUT)
        for fd, mask in events:
            entry = self._handlers.get(fd)
            if entry is not None:
                entry[1](mask)
        if self._timers:
            self._fire(_monotonic())
        for _ in range(len(self.soon)):
            self.soon.popleft()()

    def _fire(self, now_s: float) -> None:
        while self._timers and self._timers[0][0] <= now_s:
            timer = heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()

    def close(self) -> None:
        if self._signal_pipe is not None:
            signal.set_wakeup_fd(-1)
            for fd in self._signal_pipe:
                os.close(fd)
        self._epoll.close()


def _nothing(_number: int, _frame: object) -> None:
    """Signals arrive by the wake-up descriptor."""
