"""Actors: the constructor, and the loops that run methods.

    SyncActor       one call at a time, in the main thread, in the order in which calls arrive (per caller: the order of calling)
    ThreadedActor   pools of threads, one for each concurrency group; the main thread only reads (see
                    `threaded_actor`)
    AsyncActor      one event loop, in the main thread (see `async_actor`)

Three method names are the engine's own: `__ray_ready__`, `__ray_call__(function, …)` and `__ray_terminate__`. An actor ends
when the node says so (its last handle went: calls already received are finished first), by `exit_actor` and `__ray_terminate__`
(on purpose: no restart), or by `sys.exit(n)` with n ≠ 0 (like a crash).
"""

from __future__ import annotations

import os
from collections import deque
from time import time_ns
from typing import TYPE_CHECKING, Any, NoReturn

from skate import run_format
from skate.config import RESULT_FLUSH_S
from skate.engine.client import errors
from skate.engine.client.trail import error_text, task_numbers
from skate.engine.object_store.serialization import unpack
from skate.engine.spec import messages as m, task_events
from skate.engine.worker import arguments
from skate.engine.worker.interrupts import call_user
from skate.engine.worker.leaving import leave
from skate.engine.worker.link import Bound, Link
from skate.engine.worker.runtime import ActorExit, Running, WorkerRuntime, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from skate.engine.worker.execution import Executor

_DEFINITION_INDEX = b"\xff\xff\xff\xff"
_ARGUMENTS_INDEX = b"\xff\xff\xff\xfe"
_FLUSH_NS = int(RESULT_FLUSH_S * 1e9)
_LABEL_CHARS_MAX = 100


def become_actor(runtime: WorkerRuntime, executor: Executor, order: m.BecomeActor) -> NoReturn:
    """Construct the actor and serve its callers until it ends."""
    spec = order.spec
    kind: type[ActorHost]
    if spec.is_async:
        from skate.engine.worker.async_actor import AsyncActor

        kind = AsyncActor
    elif spec.max_concurrency > 1 or spec.concurrency_groups:
        from skate.engine.worker.threaded_actor import ThreadedActor

        kind = ThreadedActor
    else:
        kind = SyncActor
    kind(runtime, executor, order).live()


class ActorHost:
    """One actor in this process: what the kinds have in common."""

    runs_in_main_thread = False  # Methods do, and may give the actor's CPUs back while they wait.

    def __init__(self, runtime: WorkerRuntime, executor: Executor, order: m.BecomeActor) -> None:
        self.runtime = runtime
        self.executor = executor
        self.order = order
        self.spec = order.spec
        self.instance: Any = None
        self.is_exiting = False  # On purpose, at once: calls that wait are not run.
        runtime.host = self
        if order.job:
            runtime.job = order.job
        runtime.event_kind = task_events.ACTOR_CALL
        runtime.actor = executor.actor = self.spec.actor
        executor.event_kind = task_events.ACTOR_CALL
        executor.actor_class = self.spec.class_name
        executor.bind = self.bind
        self.label = runtime.output.label = self.spec.class_name
        runtime.environment.show_gpus(order.gpu_ids)

    def live(self) -> NoReturn:
        self.construct(lambda make: make())
        self.serve()
        leave(self.runtime, self.runtime.exit_code or 0)

    def serve(self) -> None:
        raise TypeError("an ActorHost's kind serves")

    # ------------------------------------------------------------ the constructor

    def construct(self, call: Callable[[Callable[[], Any]], Any]) -> None:
        """Make the instance and tell the node; a constructor that raises ends the process. `call` decides where it runs."""
        runtime, spec = self.runtime, self.spec
        start_ns = time_ns()
        failure: BaseException | None = None
        try:
            if runtime.environment.error:
                self._report_failed_creation(errors.pack_system_error("runtime_env", runtime.environment.error))
            cls = runtime.functions.load(spec.definition, spec.actor + _DEFINITION_INDEX, spec.class_name, is_counted=False)
            args, kwargs = self._arguments()
            self.instance = call(lambda: call_user(cls, args, kwargs))
        except arguments.ArgumentLost as error:
            self._report_failed_creation(error.data)
        except (ActorExit, SystemExit) as error:
            if runtime.is_fork:
                runtime.leave_fork(error)
            code = exit_code_of(error) if isinstance(error, SystemExit) else 0
            self.exit_on_purpose(code, f"the constructor of {spec.class_name} asked to exit")
            leave(runtime, 0)
        except BaseException as error:
            failure = error
        if runtime.is_fork:
            runtime.leave_fork(failure)
        end_ns = time_ns()
        trail = runtime.trail
        name = f"{spec.class_name}.__init__"
        status = task_events.FINISHED if failure is None else task_events.FAILED
        owner, number = task_numbers(spec.actor)
        trail.rows.append(
            run_format.pack_row(
                run_format.ACTOR_CREATION, status, self.order.incarnation, runtime.worker, start_ns // 1000, trail.name(name), owner, number,
                (end_ns - start_ns) // 1000,
            )
        )  # fmt: skip
        if failure is not None:
            trail.error(spec.actor, self.order.incarnation, name, error_text(failure), lambda: b"")
        runtime.control.rouse()
        if failure is not None:
            self._report_failed_creation(
                errors.pack_task_error(
                    failure, name=f"{spec.class_name}.__init__", task=spec.actor, pid=runtime.pid, worker=runtime.worker,
                    actor_class=spec.class_name, attempt=self.order.incarnation, duration_s=(end_ns - start_ns) * 1e-9,
                )
            )  # fmt: skip
        self.label = runtime.output.label = self._label()
        with runtime.client.lock:
            runtime.client.tell_node(m.ActorReady(spec.actor))

    def _arguments(self) -> arguments.Arguments:
        spec, client = self.spec, self.runtime.client
        name = f"{spec.class_name}.__init__"
        packed: Any
        if isinstance(spec.args, m.Value):
            try:
                packed = unpack(spec.args.kind, spec.args.data)
            except Exception as error:
                raise arguments.explain(error, name) from error
        else:
            (packed,) = arguments.fetch(client, [spec.actor + _ARGUMENTS_INDEX], name)
        if not spec.arg_refs:
            return packed  # type: ignore[no-any-return]
        return arguments.fill(packed, arguments.fetch(client, spec.arg_refs, name))

    def _report_failed_creation(self, error: bytes) -> NoReturn:
        client = self.runtime.client
        with client.lock:
            client.tell_node(m.ActorCreationFailed(self.spec.actor, error))
        leave(self.runtime, 0)

    def _label(self) -> str:
        """The class name; the actor's own repr when its class defines one, as in Ray."""
        if getattr(type(self.instance), "__repr__", None) is object.__repr__:
            return self.spec.class_name
        try:
            return " ".join(repr(self.instance).split())[:_LABEL_CHARS_MAX] or self.spec.class_name
        except Exception:
            return self.spec.class_name

    # ------------------------------------------------------------ methods

    def bind(self, bound: Bound) -> Any:
        """The method of a template."""
        name = bound.template.method
        instance = self.instance
        function: Any
        if name == "__ray_ready__":
            function = _ready
        elif name == "__ray_call__":

            def function(given: Any, *args: Any, **kwargs: Any) -> Any:
                return given(instance, *args, **kwargs)

        elif name == "__ray_terminate__":
            function = self._terminate
        else:
            function = getattr(instance, name)
        bound.label = self.label
        bound.function = function
        return function

    # ------------------------------------------------------------ the end

    def _terminate(self) -> None:
        """`__ray_terminate__`: end on purpose after the calls already received."""
        self._announce("__ray_terminate__ was called")
        self.runtime.exit_code = 0
        self.runtime.wake_main()

    def exit_on_purpose(self, code: int, reason: str) -> None:
        """`exit_actor`, or sys.exit in a method: the loop ends after this call. A code other than 0 is a crash, and ends here."""
        if code != 0:
            leave(self.runtime, code)
        self.is_exiting = True
        self._announce(reason)
        self.runtime.exit_code = 0
        self.runtime.wake_main()

    def _announce(self, reason: str) -> None:
        client = self.runtime.client
        with client.lock:
            client.tell_node(m.ActorExiting(self.spec.actor, reason))

    def shut_down(self) -> None:
        """The actor's own last word, if its class has one."""
        last_word = getattr(type(self.instance), "__ray_shutdown__", None)
        if last_word is not None:
            try:
                last_word(self.instance)
            except Exception:
                import traceback

                traceback.print_exc()

    # ------------------------------------------------------------ callers

    def take_orders(self) -> None:
        """New callers. In the main thread."""
        runtime = self.runtime
        while runtime.orders:
            order, descriptors = runtime.orders.popleft()
            if type(order) is m.AttachCaller:
                self.attach(Link(order.client, descriptors[0], runtime.links.buffer))
            else:  # An actor serves no leases.
                for descriptor in descriptors:
                    os.close(descriptor)

    def attach(self, link: Link) -> None:
        self.runtime.links.add(link)

    def receive_rest(self) -> None:
        """Before a graceful end: everything that callers have already sent."""
        for link in self.runtime.links.all():
            while self.runtime.links.read(link):
                pass

    def cancel_async(self, running: Running) -> None:
        """Only async actors interrupt a call that runs."""


class SyncActor(ActorHost):
    """One call at a time, in the main thread."""

    runs_in_main_thread = True

    def __init__(self, runtime: WorkerRuntime, executor: Executor, order: m.BecomeActor) -> None:
        super().__init__(runtime, executor, order)
        self._ready: deque[tuple[Link, m.Call]] = deque()
        self._touched: set[Link] = set()  # Links that may hold outcomes back.
        runtime.links.on_calls = lambda link, calls: self._ready.extend([(link, call) for call in calls])
        runtime.links.on_wake = self.take_orders

    def serve(self) -> None:
        runtime = self.runtime
        links, control, ready, touched = runtime.links, runtime.control, self._ready, self._touched
        run = self.executor.run
        self.take_orders()
        while not self.is_exiting:
            if not ready:
                links.flush(touched)
                runtime.client.housekeep()
                runtime.output.flush_idle()
                if runtime.exit_code is not None:
                    self.receive_rest()
                    if not ready:
                        return
                    continue
                links.receive(None)
                continue
            link, call = ready.popleft()
            if not link.is_open:
                self.executor.drop_arguments(call)  # Its caller is gone: nobody wants the answer.
                continue
            bound = link.bounds[call.template]
            if touched and not bound.is_quick:
                links.flush(touched)
            end_ns = run(link, call)
            touched.add(link)
            if bound.template.flush_each or end_ns - link.results.since_ns > _FLUSH_NS:
                link.results.flush()
            elif ready and not control.is_watching:
                control.watch()


def refuse_group(host: ActorHost, link: Link, call: m.Call, group: str) -> None:
    """Answer a call that names an unknown concurrency group."""
    bound = link.bounds[call.template]
    names = ", ".join(repr(name) for name in host.spec.concurrency_groups) or "none"
    error = ValueError(f"{host.spec.class_name} has no concurrency group {group!r}; declared: {names}")
    running = Running(call, bound, link)
    now_ns = time_ns()
    running.start_us = now_ns // 1000
    host.executor.drop_arguments(call)
    host.executor.finished(running, host.executor.failed(error, running, now_ns), error_text(error), now_ns)


def _ready() -> bool:
    return True
