"""The control thread: orders of the node, and the clock of this worker.

    dozing     nothing runs, nothing waits to be sent: sleeps until an order comes
    awake      every EVENTS_TICK_S: send task events, report calls that have run for a while
    watching   every FLUSH_WATCH_S: send outcomes that a long call keeps waiting

The threads that run calls look at `is_awake` and `is_watching` (two attributes) and wake this one at most once per burst. When
the node's end of the control socket closes, the session is over: the session directory goes, and this process with all that it
started.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from skate import run_format
from skate.config import FLUSH_WATCH_S
from skate.engine.client import errors
from skate.engine.client.trail import task_numbers
from skate.engine.spec import messages as m, task_events
from skate.engine.transport.channel import Channel, ChannelClosedError
from skate.engine.worker.interrupts import RETRY_S, call_user

if TYPE_CHECKING:
    import traceback

    from skate.engine.worker.runtime import WorkerRuntime

EVENTS_TICK_S = 0.25
NODE_DEATH_PATIENCE_S = 0.2
_QUIET_LOOKS_MAX = 20
_decode = msgspec.msgpack.Decoder(m.NODE_TO_WORKER).decode
_encode = msgspec.msgpack.Encoder().encode


class Control:
    """Reads the control socket. `start` it once everything else stands."""

    def __init__(self, runtime: WorkerRuntime, control_fd: int) -> None:
        self._runtime = runtime
        self._channel = Channel(socket.socket(fileno=control_fd))
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._channel.fd, select.POLLIN)
        self._poll.register(self._wake_fd, select.POLLIN)
        self._node_pid = os.getppid()
        self.is_awake = False
        self.is_watching = False
        self._quiet_looks = 0
        self._next_tick_s = 0.0

    def start(self) -> None:
        threading.Thread(target=self._run, name="skate-control", daemon=True).start()

    # ------------------------------------------------------------ for the threads that run calls

    def rouse(self) -> None:
        """Calls run again: tick."""
        self.is_awake = True
        self._wake()

    def watch(self) -> None:
        """Outcomes are held back."""
        self.is_watching = True
        self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while True:
                timeout_s = self._timeout_s()
                for fd, _mask in self._poll.poll(None if timeout_s is None else timeout_s * 1000):
                    if fd == self._wake_fd:
                        try:
                            os.eventfd_read(fd)
                        except BlockingIOError:
                            pass
                    else:
                        self._read_orders()
                self._runtime.interrupts.retry()
                if self.is_watching:
                    self._look_at_results()
                if self.is_awake:
                    self._tick()
        except BaseException:
            if self._runtime.is_fork:
                return
            import traceback

            traceback.print_exc()
            os._exit(1)  # A worker without its control thread could not be stopped.

    def _timeout_s(self) -> float | None:
        if self.is_watching:
            return FLUSH_WATCH_S
        if self._runtime.interrupts.target is not None:
            return RETRY_S
        if self.is_awake:
            return max(0.001, self._next_tick_s - time.monotonic())
        return None

    def _look_at_results(self) -> None:
        held = self._flush_results()
        self._quiet_looks = 0 if held else self._quiet_looks + 1
        if self._quiet_looks > _QUIET_LOOKS_MAX:
            self._quiet_looks = 0
            self.is_watching = False
            # Whoever held something back since our look has seen is_watching still set.
            self._flush_results()

    def _flush_results(self) -> bool:
        held = False
        for link in self._runtime.links.all():
            if link.results.held:
                held = True
                link.results.flush()
        return held

    def _tick(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_tick_s:
            return
        self._next_tick_s = now_s + EVENTS_TICK_S
        if self._report():
            return
        self.is_awake = False
        # A call that began since then has seen is_awake still set.
        if self._report():
            self.is_awake = True

    def _report(self) -> bool:
        """Send task events. False when there are none, and nothing runs."""
        runtime = self._runtime
        running = list(runtime.running.values())
        main_call = runtime.main_call
        if main_call is not None:
            running.append(main_call)
        trail = runtime.trail
        had_rows = trail.is_waiting
        before_us = time.time_ns() // 1000 - int(EVENTS_TICK_S * 1e6)
        for call in running:
            if not call.is_reported and 0 < call.start_us <= before_us and call.bound.template.is_recorded:
                call.is_reported = True
                trail.rows.append(
                    run_format.pack_row(
                        runtime.event_kind + 1, task_events.RUNNING, call.call.attempt, runtime.worker, call.start_us,
                        trail.name(call.bound.template.name), *task_numbers(call.call.task), 0,
                    )
                )  # fmt: skip
        if trail.is_waiting:
            trail.flush()
        runtime.client.housekeep()
        return had_rows or bool(running)

    # ------------------------------------------------------------ orders

    def _read_orders(self) -> None:
        runtime = self._runtime
        try:
            while (received := self._channel.receive_with_descriptors()) is not None:
                data, descriptors = received
                order = _decode(data)
                if descriptors:
                    descriptors = [above_stdio(descriptor) for descriptor in descriptors]
                    runtime.output.repair()
                if type(order) is m.Interrupt:
                    runtime.cancel(order.task, order.recursive)
                elif type(order) is m.DumpStack:
                    self._channel.send(_encode(m.StackDump(order.request, stacks())))
                elif type(order) is m.FlushTrail:
                    for name in (
                        "skate.reporting",
                        "skate.metrics",
                    ):  # They stand above the engine: found by name, when they were used.
                        module = sys.modules.get(name)
                        if module is not None:
                            module.flush()
                    runtime.trail.flush()
                    with runtime.client.lock:
                        if not runtime.client.death:
                            runtime.client.tell_node(m.TrailFlushed())
                elif type(order) is m.Exit:
                    if not order.graceful:
                        os._exit(1)
                    runtime.exit_code = 0
                    runtime.wake_main()
                else:
                    runtime.orders.append((order, descriptors))
                    runtime.wake_main()
        except ChannelClosedError:
            self._end_with_session()

    def announce_leaving(self) -> None:
        """Tell the node that this process is about to end by itself: what it still does (exit handlers) has its grace only."""
        try:
            self._channel.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _end_with_session(self) -> None:
        """The node has closed the control socket: it is dead, unless we are leaving, or it has given this worker up."""
        import shutil

        if self._runtime.is_fork:
            os._exit(1)
        if self._runtime.is_leaving:
            threading.Event().wait()  # The thread that leaves ends the process.
        deadline_s = time.monotonic() + NODE_DEATH_PATIENCE_S  # A dying process closes its sockets before its children know.
        while os.getppid() == self._node_pid and time.monotonic() < deadline_s:
            time.sleep(0.005)
        if os.getppid() != self._node_pid:
            shutil.rmtree(self._runtime.boot.session_dir, ignore_errors=True)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def close_in_fork(self) -> None:
        self._channel.sock.close()


def above_stdio(descriptor: int) -> int:
    """The same file under a number above 2: user code may have closed its standard streams, but prints go to those numbers still."""
    if descriptor > 2:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved


def stacks() -> str:
    """The Python stacks of the threads that run user code, as text: from the door into it, without the engine's own frames.

    A forked worker stands on the node's stack, and its engine threads always wait somewhere: neither tells a person anything.
    """
    import traceback

    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, top in sys._current_frames().items():
        frames = _user_frames(traceback.extract_stack(top))
        if frames:
            parts.append(f"Thread {names.get(ident, ident)}:\n" + "".join(traceback.format_list(frames)))
    return "\n".join(parts) or "idle: no user code runs here"


def _user_frames(stack: traceback.StackSummary) -> list[traceback.FrameSummary]:
    """Those of user code, and the call of skate that it waits in. Empty for a thread of the engine."""
    code = call_user.__code__
    door = max(
        (i for i, frame in enumerate(stack) if (frame.name, frame.filename) == (code.co_name, code.co_filename)), default=-1
    )
    inside = stack[door + 1 :]
    is_ours = [errors.is_engine_frame(frame.filename) for frame in inside]
    if door < 0 and any(is_ours):
        return []
    shown = [frame for frame, ours in zip(inside, is_ours, strict=True) if not ours]
    if shown and is_ours[-1]:
        last = max(index for index, ours in enumerate(is_ours) if not ours)
        shown.append(inside[last + 1])
    return shown
