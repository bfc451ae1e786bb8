"""Threaded actors: methods run in pools of threads, one pool for each concurrency group; the main thread only reads.

Calls of one caller start in the order in which they arrive, within their group.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from skate.config import RESULT_FLUSH_S
from skate.engine.spec import messages as m
from skate.engine.worker.actor import ActorHost, refuse_group
from skate.engine.worker.link import Link
from skate.engine.worker.runtime import WorkerRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

    from skate.engine.worker.execution import Executor

_FLUSH_NS = int(RESULT_FLUSH_S * 1e9)


class Group:
    """The threads of one concurrency group, started as they are needed."""

    def __init__(self, name: str, size: int, work: Callable[[Group], None]) -> None:
        self.name = name
        self.size = max(1, size)
        self.calls: queue.SimpleQueue[tuple[Link, m.Call]] = queue.SimpleQueue()
        self._unfinished = 0  # Submitted and not done: as many threads as that, up to `size`, so that no call waits for another.
        self._threads = 0
        self._work = work
        self._lock = threading.Lock()

    def submit(self, link: Link, call: m.Call) -> None:
        self.calls.put((link, call))
        with self._lock:
            self._unfinished += 1
            if self._threads < self.size and self._unfinished > self._threads:
                self._threads += 1
                name = f"skate-call-{self.name or 'default'}-{self._threads}"
                threading.Thread(target=self._work, args=(self,), name=name, daemon=True).start()

    def done(self) -> None:
        with self._lock:
            self._unfinished -= 1


class ThreadedActor(ActorHost):
    """Methods run in pools of threads."""

    def __init__(self, runtime: WorkerRuntime, executor: Executor, order: m.BecomeActor) -> None:
        super().__init__(runtime, executor, order)
        spec = self.spec
        self._groups = {name: Group(name, size, self._work) for name, size in spec.concurrency_groups.items()}
        self._groups[""] = Group("", spec.max_concurrency, self._work)
        self._unfinished = 0  # Calls received and not answered.
        self._lock = threading.Lock()
        runtime.links.on_calls = self._dispatch
        runtime.links.on_wake = self._on_wake

    def serve(self) -> None:
        runtime = self.runtime
        self.take_orders()
        while not self.is_exiting:
            if runtime.exit_code is not None:
                self.receive_rest()
                if self._unfinished == 0:
                    return
            runtime.links.receive(None)

    def _on_wake(self) -> None:
        self.take_orders()
        for link in self.runtime.links.all():  # A pool thread may have met a caller that reads slowly.
            self.runtime.links.watch_backlog(link)

    def _dispatch(self, link: Link, calls: list[m.Call]) -> None:
        with self._lock:
            self._unfinished += len(calls)
        for call in calls:
            name = link.bounds[call.template].template.concurrency_group
            group = self._groups.get(name)
            if group is None:
                self._refuse(link, call, name)
            else:
                group.submit(link, call)

    def _refuse(self, link: Link, call: m.Call, group: str) -> None:
        """A group that nobody declared is an error of this call, not of the actor."""
        refuse_group(self, link, call, group)
        link.results.flush()
        with self._lock:
            self._unfinished -= 1

    def _work(self, group: Group) -> None:
        """A pool thread's life."""
        runtime = self.runtime
        run = self.executor.run
        calls = group.calls
        while True:
            link, call = calls.get()
            if link.is_open:
                end_ns = run(link, call, is_main=False)
                results = link.results
                flush_each = link.bounds[call.template].template.flush_each
                if calls.empty() or flush_each or end_ns - results.since_ns > _FLUSH_NS:
                    results.flush()
                    if results.has_backlog():
                        runtime.wake_main()
                elif not runtime.control.is_watching:
                    runtime.control.watch()
            else:
                self.executor.drop_arguments(call)
            group.done()
            if calls.empty():
                runtime.client.housekeep()
                runtime.output.flush_idle()
            with self._lock:
                self._unfinished -= 1
                is_last = self._unfinished == 0
            if is_last and runtime.exit_code is not None:
                runtime.wake_main()
