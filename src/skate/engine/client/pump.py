"""The pump: who reads this process's sockets, and when.

A synchronous call is fastest when the thread that waits for the answer reads it off the socket itself; waking another thread first would
cost 50 µs. So the first user thread that has to wait becomes the *leader* and pumps until its own wait is over, then hands the lead
to a thread that waits behind it. When no user thread waits, a background thread pumps, so that answers, deaths and reference counts are taken
care of while user code computes. It keeps away while leaders come and go (FOREGROUND_GRACE_S), so that the two never fight for the GIL.

All handlers run under the client's lock. `interruptible` is True only while the main thread sleeps in the kernel: Ctrl-C is let through there and
nowhere else inside the engine (see `driver/interrupts.py`).
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from skate.config import FOREGROUND_GRACE_S, IDLE_TICK_S
from skate.engine.client.objects import Waiter

_monotonic = time.monotonic
_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITE = select.EPOLLOUT


class Pump:
    """Polls descriptors and calls their handlers `handler(events)`."""

    def __init__(
        self, lock: threading.Lock, after: Callable[[], None], tick: Callable[[float], float], idle_tick_s: float = IDLE_TICK_S
    ) -> None:
        """`after` runs after each round of handlers; `tick(now_s)` runs when due and returns when to run next. Both under the lock."""
        import os

        self._lock = lock
        self._after = after
        self._tick = tick
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._next_tick_s = 0.0
        self._idle_tick_s = idle_tick_s
        self._leader = False
        self._followers: deque[Waiter] = deque()
        self._main_ident = threading.main_thread().ident
        self._foreground = 0
        self._foreground_at_s = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._background_until_s = 0.0  # When the background thread will wake by itself; 0 while it is not asleep.
        self.deferred: deque[Callable[[], None]] = deque()  # User callbacks: run without the lock.
        self.interruptible = False
        self.add(self._wake_fd, self._on_wake)

    # ------------------------------------------------------------ descriptors (lock held)

    def add(self, fd: int, handler: Callable[[int], None]) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, _READ)

    def remove(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def watch_writable(self, fd: int, on: bool) -> None:
        if fd in self._handlers:
            self._epoll.modify(fd, _READ | _WRITE if on else _READ)

    def tick_by(self, when_s: float) -> None:
        """Make sure `tick` runs by then."""
        if when_s < self._next_tick_s:
            self._next_tick_s = when_s
            if self._background_until_s > when_s:
                self.wake_background()

    # ------------------------------------------------------------ user threads (lock not held)

    def poll_now(self) -> None:
        """Handle what is there, without waiting."""
        with self._lock:
            self._foreground_at_s = _monotonic()
            self._round(self._epoll.poll(0))
        self.run_deferred()

    def wait(self, waiter: Waiter, deadline_s: float | None) -> bool:
        """Pump, or wait for the thread that pumps, until the waiter is done. False when the deadline passes first."""
        with self._lock:
            if waiter.is_done:
                return True
            self._foreground += 1
            if not self._leader:
                self._leader = waiter.leads = True
            else:
                waiter.lock = threading.Lock()
                waiter.lock.acquire()
                self._followers.append(waiter)
        is_main = threading.get_ident() == self._main_ident
        try:
            if not waiter.leads and not self._follow(waiter, deadline_s, is_main=is_main):
                return waiter.is_done
            while not waiter.is_done:
                now = _monotonic()
                timeout = self._next_tick_s - now
                if deadline_s is not None:
                    if now >= deadline_s:
                        return False
                    timeout = min(timeout, deadline_s - now)
                if is_main:
                    self.interruptible = True
                    events = self._epoll.poll(timeout if timeout > 0 else 0)  # noqa: FURB136  # max() takes 0.2 µs more.
                    self.interruptible = False
                else:
                    events = self._epoll.poll(timeout if timeout > 0 else 0)  # noqa: FURB136  # max() takes 0.2 µs more.
                with self._lock:
                    self._round(events)
                if self.deferred:
                    self.run_deferred()
            return True  # type: ignore[unreachable]  # Messages, and other threads, set is_done.
        finally:
            if is_main:
                self.interruptible = False
            with self._lock:
                self._foreground -= 1
                self._foreground_at_s = _monotonic()
                if waiter in self._followers:
                    self._followers.remove(waiter)
                if waiter.leads:
                    self._leader = waiter.leads = False
                    self._promote()

    def _follow(self, waiter: Waiter, deadline_s: float | None, *, is_main: bool) -> bool:
        """Wait behind the leader. True when this thread has become the leader."""
        while True:
            timeout = -1.0 if deadline_s is None else max(0.0, deadline_s - _monotonic())
            if is_main:
                self.interruptible = True
            woken = waiter.lock.acquire(timeout=timeout)
            if is_main:
                self.interruptible = False
            with self._lock:
                if waiter.leads:
                    return True
                if waiter.is_done or not woken:
                    return False

    def _promote(self) -> None:
        while self._followers:
            waiter = self._followers.popleft()
            if not waiter.is_done:
                self._leader = waiter.leads = True
                waiter.lock.release()
                return

    def run_deferred(self) -> None:
        while self.deferred:
            try:
                callback = self.deferred.popleft()
            except IndexError:
                return
            callback()

    # ------------------------------------------------------------ the background thread

    def start_background(self) -> None:
        """Lock held."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run_background, name="skate-pump", daemon=True)
            self._thread.start()

    def wake_background(self) -> None:
        import os

        os.eventfd_write(self._wake_fd, 1)

    def _on_wake(self, _events: int) -> None:
        import os

        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            pass

    def _run_background(self) -> None:
        while not self._closed:
            now = _monotonic()
            if self._foreground or now - self._foreground_at_s < FOREGROUND_GRACE_S:
                time.sleep(2 * FOREGROUND_GRACE_S)  # Not a wait for a condition: this is the grace itself.
                continue
            timeout = max(0.0, min(self._next_tick_s - now, self._idle_tick_s))
            self._background_until_s = now + timeout
            events = self._epoll.poll(timeout)
            self._background_until_s = 0.0
            with self._lock:
                if self._closed:  # Other threads have changed both meanwhile.
                    return  # type: ignore[unreachable]
                if self._foreground:
                    continue  # type: ignore[unreachable]
                self._round(events)
            self.run_deferred()

    def _round(self, events: list[tuple[int, int]]) -> None:
        for fd, mask in events:
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(mask)
        self._after()
        now = _monotonic()
        if now >= self._next_tick_s:
            self._next_tick_s = self._tick(now)

    # ------------------------------------------------------------ end

    def close(self) -> None:
        """Wake everybody. The background thread ends by itself."""
        import os

        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.wake_background()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        with self._lock:
            self._epoll.close()
            os.close(self._wake_fd)

    @property
    def background_thread(self) -> Any:
        return self._thread
