"""Async actors: one asyncio event loop in the main thread runs every method, coroutine or not.

Calls start in the order in which they arrive, up to `max_concurrency` of a concurrency group at a time. The loop reads the
callers' channels itself. Cancelling a call cancels its asyncio task. Outcomes of one turn of the loop travel together.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from time import time_ns
from typing import TYPE_CHECKING, Any

from skate.engine.client import errors
from skate.engine.client.trail import error_text
from skate.engine.object_store import serialization
from skate.engine.spec import messages as m
from skate.engine.worker import arguments
from skate.engine.worker.actor import ActorHost, refuse_group
from skate.engine.worker.execution import CANCELLED, DYNAMIC, OK, STREAMING
from skate.engine.worker.link import Bound, Link
from skate.engine.worker.runtime import Running, WorkerRuntime, current
from skate.engine.worker.streams import Gate, is_async_generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from skate.engine.worker.execution import Executor

_IDLE_AFTER_S = 0.05
_EAGER = {"eager_start": True} if hasattr(asyncio, "eager_task_factory") else {}


class Limit:
    """How many calls of one concurrency group may run at a time."""

    __slots__ = ("is_starting", "running", "size", "waiting")

    def __init__(self, size: int) -> None:
        self.size = max(1, size)
        self.running = 0
        self.is_starting = False
        self.waiting: deque[tuple[Link, m.Call, Bound]] = deque()


class AsyncActor(ActorHost):
    """Methods run in an event loop."""

    def __init__(self, runtime: WorkerRuntime, executor: Executor, order: m.BecomeActor) -> None:
        super().__init__(runtime, executor, order)
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        spec = self.spec
        self._limits = {name: Limit(size) for name, size in spec.concurrency_groups.items()}
        self._limits[""] = Limit(spec.max_concurrency)
        self._unfinished = 0
        self._to_flush: set[Link] = set()
        self._is_housekeeping = False
        self._is_serving = False  # Not before the constructor has returned.
        self._room: dict[Link, asyncio.Event] = {}  # Links whose caller reads slowly: generators wait for it.
        self._tasks: set[Any] = set()  # asyncio keeps only weak references to its tasks.
        runtime.links.on_calls = self._start_all
        runtime.wake_main = self._wake

    def construct(self, call: Callable[[Callable[[], Any]], Any]) -> None:
        """Inside the loop, so that the constructor may create tasks and use the loop."""

        async def in_loop(make: Callable[[], Any]) -> Any:
            return make()

        super().construct(lambda make: self._loop.run_until_complete(in_loop(make)))

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._on_wake)

    def serve(self) -> None:
        self._is_serving = True
        self._loop.call_soon(self._on_wake)
        self._loop.run_forever()

    # ------------------------------------------------------------ callers

    def attach(self, link: Link) -> None:
        self.runtime.links.add(link)
        self._loop.add_reader(link.channel.fd, self._read, link)

    def _read(self, link: Link) -> None:
        fd = link.channel.fd
        while self.runtime.links.read(link):
            pass
        if not link.is_open:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            self._has_room(link)
            for running in list(self.runtime.running.values()):
                if running.link is link and running.async_task is not None:
                    running.async_task.cancel()  # Nobody wants the answer.

    def _on_wake(self) -> None:
        if not self._is_serving:
            return
        self.take_orders()
        if self.runtime.exit_code is not None:
            if not self.is_exiting:
                for link in self.runtime.links.all():
                    self._read(link)
            self._stop_if_done()

    def _stop_if_done(self) -> None:
        if self.runtime.exit_code is not None and (self.is_exiting or self._unfinished == 0):
            self._loop.stop()

    # ------------------------------------------------------------ calls

    def _start_all(self, link: Link, calls: list[m.Call]) -> None:
        if not self.runtime.control.is_awake:
            self.runtime.control.rouse()
        self._unfinished += len(calls)
        for call in calls:
            bound = link.bounds[call.template]
            name = bound.template.concurrency_group
            limit = self._limits.get(name)
            if limit is None:
                refuse_group(self, link, call, name)
                self._flush_soon(link)
                self._unfinished -= 1
            elif limit.running < limit.size:
                self._start(link, call, bound, limit)
            else:
                limit.waiting.append((link, call, bound))

    def _start(self, link: Link, call: m.Call, bound: Bound, limit: Limit) -> None:
        limit.running += 1
        running = Running(call, bound, link)
        # asyncio.Task, not create_task: an eager start (Python 3.12) saves a turn of the loop for methods that never wait.
        task = asyncio.Task(self._run(running, limit), loop=self._loop, **_EAGER)  # type: ignore[arg-type]
        if not task.done():
            running.async_task = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _start_waiting(self, limit: Limit) -> None:
        if limit.is_starting:  # A call that was started eagerly has ended at once: the loop below goes on, without recursion.
            return
        limit.is_starting = True
        try:
            while limit.waiting and limit.running < limit.size:
                self._start(*limit.waiting.popleft(), limit)
        finally:
            limit.is_starting = False

    async def _run(self, running: Running, limit: Limit) -> None:
        runtime = self.runtime
        call, link = running.call, running.link
        current.set(running)
        runtime.running[call.task] = running
        start_ns = time_ns()
        running.start_us = start_ns // 1000
        error_row = ""
        try:
            outcome = await self._perform(running)
        except BaseException as error:
            if runtime.is_fork:
                runtime.leave_fork(error)
            error_row = error_text(error)
            if isinstance(error, asyncio.CancelledError):
                cancelled = errors.pack_cancelled(running.bound.template.name, call.task)
                outcome = m.Outcome(call.seq, CANCELLED, serialization.ERROR, cancelled, 0)
            else:
                outcome = self.executor.failed(error, running, start_ns)
        if runtime.is_fork:
            runtime.leave_fork(None)
        runtime.running.pop(call.task, None)
        self.executor.finished(running, outcome, error_row, time_ns())
        self._flush_soon(link)
        limit.running -= 1
        self._unfinished -= 1
        self._start_waiting(limit)
        if runtime.exit_code is not None:
            self._stop_if_done()

    async def _perform(self, running: Running) -> m.Outcome:
        runtime, executor = self.runtime, self.executor
        call, bound, link = running.call, running.bound, running.link
        if not link.is_open:
            raise asyncio.CancelledError
        if call.task in runtime.cancelled:
            executor.drop_arguments(call)
            return executor.dropped(call, bound)
        if runtime.environment.error:
            executor.drop_arguments(call)
            return executor.refused_by_environment(call)
        adopted = arguments.adopt(runtime.client, call)
        try:
            function = bound.function or self.bind(bound)
            if call.args == arguments.NO_ARGUMENTS:
                value = function()
            else:
                if call.args_id or (call.refs is not None and any(type(ref) is bytes for ref in call.refs)):
                    await self._wait_for_objects(call)
                args, kwargs = arguments.unpack_arguments(runtime.client, call, bound.template.name)
                value = function(*args, **kwargs)
                del args, kwargs
            if inspect.isawaitable(value):
                value = await value
            num_returns = bound.template.num_returns
            if num_returns == STREAMING:
                return await self._stream(value, running)
            if num_returns == 1:
                return executor.pack_one(value, link, call, bound)
            if num_returns == DYNAMIC:
                refs = [runtime.client.put(item) async for item in _each(value, executor, bound)]
                return executor.pack_one(runtime.dynamic_class(refs), link, call, bound)
            return executor.pack_many(value, link, call, bound)
        finally:
            if adopted is not None:
                runtime.client.dropped.extend(adopted)

    async def _wait_for_objects(self, call: m.Call) -> None:
        """Without blocking the loop: until the arguments that lie in the store are mapped here (or known to be lost)."""
        client, loop = self.runtime.client, self._loop
        ids = [ref for ref in call.refs or () if type(ref) is bytes]
        if call.args_id:
            ids.append(call.args_id)
        with client.lock:
            refs = [client.make_ref(object_id) for object_id in ids]
        for ref in refs:
            arrived = asyncio.Event()

            def on_arrival(_value: Any, _error: BaseException | None, arrived: asyncio.Event = arrived) -> None:
                loop.call_soon_threadsafe(arrived.set)

            client.add_done_callback(ref, on_arrival)
            await arrived.wait()

    async def _stream(self, value: Any, running: Running) -> m.Outcome:
        runtime, executor = self.runtime, self.executor
        call, bound, link = running.call, running.bound, running.link
        news = asyncio.Event()
        gate = Gate(bound.template.backpressure, news.set)
        link.streams[call.task] = gate
        index = 0
        steps = _each(value, executor, bound)
        try:
            async for item in steps:
                executor.send_item(item, index, link, call, bound)
                index += 1
                if link.results.has_backlog():
                    await self._watch_backlog(link).wait()
                while gate.is_shut(index):
                    news.clear()
                    await news.wait()
                if gate.is_closed:
                    break
        finally:
            link.streams.pop(call.task, None)
            close = getattr(value, "aclose", None) or getattr(value, "close", None)
            if close is not None:
                closing = close()
                if inspect.isawaitable(closing):
                    await closing
        if runtime.is_fork:
            runtime.leave_fork(None)
        return m.Outcome(call.seq, OK, 0, serialization._dumps(None, 5), 0)

    def cancel_async(self, running: Running) -> None:
        self._loop.call_soon_threadsafe(running.async_task.cancel)

    # ------------------------------------------------------------ answers

    def _flush_soon(self, link: Link) -> None:
        """With everything else that ends in this turn of the loop."""
        if not self._to_flush:
            self._loop.call_soon(self._flush)
        self._to_flush.add(link)

    def _flush(self) -> None:
        links, self._to_flush = self._to_flush, set()
        for link in links:
            link.results.flush()
            if link.results.has_backlog():
                self._watch_backlog(link)
        self.runtime.client.housekeep()
        if not self._is_housekeeping:
            self._is_housekeeping = True
            self._loop.call_later(_IDLE_AFTER_S, self._flush_output)

    def _watch_backlog(self, link: Link) -> asyncio.Event:
        room = self._room.get(link)
        if room is None:
            room = self._room[link] = asyncio.Event()
            if link.is_open:
                self._loop.add_writer(link.channel.fd, self._flush_backlog, link)
            else:
                self._has_room(link)
        return room

    def _flush_backlog(self, link: Link) -> None:
        link.results.flush()
        if not link.results.has_backlog() or link.results.is_gone:
            self._loop.remove_writer(link.channel.fd)
            self._has_room(link)

    def _has_room(self, link: Link) -> None:
        room = self._room.pop(link, None)
        if room is not None:
            room.set()

    def _flush_output(self) -> None:
        self._is_housekeeping = False
        self.runtime.output.flush_idle()


async def _each(value: Any, executor: Executor, bound: Bound) -> Any:
    """Items of a generator of either kind."""
    if is_async_generator(value):
        async for item in value:
            yield item
        return
    for item in executor.sync_steps(value, bound):
        yield item
