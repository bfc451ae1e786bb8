"""The worker's own state: which calls run, for whom, and what the public API may ask about them.
Where the calls are that run now:

    main_call      the call that runs in the main thread: leased tasks, sync actors. A plain attribute: setting it costs nothing
    current        a context variable for calls in pool threads and asyncio tasks
    running        those same calls by task id, for cancelling and for the stack of events
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from time import time_ns
from typing import TYPE_CHECKING, Any, NoReturn

from skate.engine.spec import messages as m, task_events
from skate.engine.spec.boot import WorkerBoot
from skate.engine.spec.resources import to_amounts
from skate.engine.worker.environment import Environment
from skate.engine.worker.functions import Functions
from skate.engine.worker.interrupts import Interrupts
from skate.engine.worker.link import Bound, Link, Links
from skate.engine.worker.output import Output

if TYPE_CHECKING:
    from skate.engine.client.client import Client
    from skate.engine.worker.actor import ActorHost
    from skate.engine.worker.control import Control

_CANCELLED_KEPT_MAX = 10_000


class ActorExit(BaseException):
    """`exit_actor` was called: not an Exception, so that user code does not catch it by accident."""


class Running:
    """One call that runs now."""

    __slots__ = ("async_task", "bound", "call", "is_cancelled", "is_reported", "link", "start_us")

    def __init__(self, call: m.Call, bound: Bound, link: Link) -> None:
        self.call = call
        self.bound = bound
        self.link = link
        self.start_us = 0
        self.is_cancelled = False
        self.is_reported = False  # A RUNNING event was sent.
        self.async_task: Any = None


current: ContextVar[Running | None] = ContextVar("skate_current_call", default=None)


class WorkerRuntime:
    """What the parts of a worker share, and what `WorkerHooks.attach` gets."""

    control: Control

    def __init__(self, boot: WorkerBoot, client: Client) -> None:
        self.boot = boot
        self.client = client
        self.worker = boot.worker
        self.pid = os.getpid()
        self.namespace = boot.job_info.namespace
        self.job = boot.job_info.job
        self.output = Output()
        self.environment = Environment(boot)
        self.trail = client.trail
        self.block_start_ns = 0
        self.functions = Functions(client)
        self.links = Links()
        self.links.on_cancel = self.cancel
        self.interrupts = Interrupts(self)
        self.orders: deque[tuple[Any, list[int]]] = deque()  # AttachLease, AttachCaller, BecomeActor, with their descriptors.
        self.main_ident = get_ident()
        self.main_call: Running | None = None
        self.running: dict[bytes, Running] = {}
        self.cancelled: dict[bytes, None] = {}  # Cancelled before they ran: dropped when their turn comes.
        self.host: ActorHost | None = None
        self.lease: m.AttachLease | None = None
        self.dynamic_class: Any = None
        self.exit_code: int | None = None  # Set when the worker is to end after the calls it has received.
        self.event_kind = task_events.TASK
        self.actor = b""
        self.is_leaving = False
        self.is_fork = False  # This process is a child that user code forked.
        self.wake_main: Callable[[], None] = self.links.wake
        self._block_depth = 0

    # ------------------------------------------------------------ for the public API

    def current_call(self) -> Running | None:
        return current.get() or self.main_call

    def current_task(self) -> bytes:
        running = current.get() or self.main_call
        if running is not None:
            return running.call.task
        return b""

    def is_canceled(self) -> bool:
        """Whether the call that asks was cancelled (sync and threaded actors look at this themselves)."""
        running = self.current_call()
        return running is not None and running.is_cancelled

    def exit_actor(self) -> NoReturn:
        if self.host is None:
            raise TypeError("exit_actor() was called outside of an actor: it ends the actor whose method calls it")
        raise ActorExit

    def context(self) -> dict[str, Any]:
        """Keys of `Backend.runtime_context`."""
        running = self.current_call()
        boot = self.boot
        host = self.host
        lease = self.lease
        if host is not None:
            resources, gpu_ids = host.order.resources, host.order.gpu_ids
            group, captures = host.spec.placement_group, host.spec.capture_child_tasks
        elif lease is not None:
            resources, gpu_ids = lease.resources, lease.gpu_ids
            group, captures = lease.placement_group, lease.capture_child_tasks
        else:
            resources, gpu_ids, group, captures = {}, [], b"", False
        template = running.bound.template if running is not None else None
        return {
            "job_id": self.job.to_bytes(4, "big"),
            "node_id": boot.node_id or boot.welcome.node_id,
            "worker_id": self.worker.to_bytes(4, "big"),
            "task_id": running.call.task if running is not None else None,
            "actor_id": host.spec.actor if host is not None else None,
            "task_name": template.name if template is not None else "",
            "function_name": _function_name(running.bound) if running is not None else "",
            "actor_name": host.spec.name if host is not None else "",
            "namespace": self.namespace,
            "resources": to_amounts(resources),
            "accelerator_ids": {"GPU": [str(gpu) for gpu in gpu_ids]},
            "placement_group_id": group or None,
            "runtime_env": dict(self.environment.fields),
            "was_reconstructed": host is not None and host.order.incarnation > 0,
            "attempt": running.call.attempt if running is not None else 0,
            "session_name": boot.welcome.session_name,
            "worker_pid": self.pid,
            "mode": "worker",
            "gcs_address": "",
            "labels": {},
            "capture_child_tasks": captures,
            "handle_meta": host.spec.handle_meta if host is not None else b"",
        }

    # ------------------------------------------------------------ waiting in get

    def on_block(self) -> None:
        """The main thread's call waits: its CPUs, and the calls behind it, go to somebody else."""
        if get_ident() != self.main_ident or self.is_fork or (self.host is not None and not self.host.runs_in_main_thread):
            return
        self._block_depth += 1
        if self._block_depth > 1:
            return
        self.block_start_ns = time_ns()
        running = self.main_call
        if running is not None:
            running.link.results.flush()
        with self.client.lock:
            self.client.tell_node(m.Blocked())
        if running is not None and running.link.lease is not None:
            running.link.results.send(m.LeaseBlocked(True))

    def on_unblock(self) -> None:
        if get_ident() != self.main_ident or self._block_depth == 0 or self.is_fork:
            return
        self._block_depth -= 1
        if self._block_depth:
            return
        if self.main_call is not None:
            self.trail.blocked(self.main_call.call.task, self.block_start_ns)
        with self.client.lock:
            self.client.tell_node(m.Unblocked())
        running = self.main_call
        if running is not None and running.link.lease is not None:
            running.link.results.send(m.LeaseBlocked(False))

    # ------------------------------------------------------------ cancelling

    def cancel(self, task: bytes, recursive: bool) -> None:
        """Cancel a call that runs or waits here. From the control thread, or from the thread that reads the links."""
        main_call = self.main_call
        running = self.running.get(task)
        if running is not None:
            running.is_cancelled = True
            if running.async_task is not None and self.host is not None:
                self.host.cancel_async(running)
        elif main_call is not None and main_call.call.task == task:
            main_call.is_cancelled = True
            if self.host is None:
                self.interrupts.request(task)
                self.wake_main()  # It may wait at a gate, which is engine code.
        else:
            self.cancelled[task] = None
            while len(self.cancelled) > _CANCELLED_KEPT_MAX:
                del self.cancelled[next(iter(self.cancelled))]
        if recursive:
            self.client.cancel_children(task)

    # ------------------------------------------------------------ user code that forks

    def guard_forks(self) -> None:
        """A child that user code forks shares our sockets: it must neither read nor keep them, nor run our loop."""
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        from skate.engine.client import current as current_client

        self.is_fork = True
        self.pid = os.getpid()
        current_client.set_client(None)
        self.links.close_in_fork()
        self.control.close_in_fork()
        self.client.death = "this process was forked from a worker: skate can only be used in the worker itself"
        self.client.node.sock.close()
        while self.orders:
            _order, descriptors = self.orders.popleft()
            for descriptor in descriptors:
                os.close(descriptor)

    def leave_fork(self, error: BaseException | None) -> NoReturn:
        """User code in a forked child has come back to us: end the child as its program would."""
        code = 0
        if isinstance(error, SystemExit):
            code = exit_code_of(error)
        elif error is not None:
            import traceback

            traceback.print_exception(error)
            code = 1
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        os._exit(code)


def exit_code_of(error: SystemExit) -> int:
    """The process status that Python gives for sys.exit's argument."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def _function_name(bound: Bound) -> str:
    """The method's; or the function's own, which need not be the task's name."""
    return bound.template.method or getattr(bound.function, "__qualname__", bound.template.name)
