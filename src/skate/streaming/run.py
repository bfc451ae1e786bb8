"""Run: a program set to work; the handle that `.start()` gives."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import skate
from skate.streaming.errors import StreamError
from skate.streaming.figures import Figures
from skate.streaming.graph import Node, Plan, make_plan
from skate.streaming.in_process import InProcessRun
from skate.streaming.options import RunOptions
from skate.streaming.show import Reporter
from skate.streaming.sinks.base import Sink
from skate.streaming.sinks.iterator import IteratorSink
from skate.streaming.snapshots import SnapshotStore
from skate.streaming.supervisor import Supervisor

CLOSE_S = 60.0  # How long leaving a loop over results waits for the stream to stop.
DELIVERIES_MAX = 16  # Batches of results that wait for the program that iterates.


class RunningStream:
    """A stream at work."""

    def __init__(self, sinks: Sequence[Node], node: Node, options: RunOptions) -> None:
        self._node = node
        self._options = options
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._results: dict[int, list[Any]] = {}
        self._is_in_process = bool(
            skate.get_runtime_context().gcs_address == "inline" if options.in_process is None else options.in_process
        )
        parallelism = options.parallelism or (1 if self._is_in_process else max(1, int(skate.cluster_resources().get("CPU", 1))))
        self.plan: Plan = make_plan(sinks, parallelism)
        self._check()
        self._is_temporary = options.snapshots is None
        self._store: SnapshotStore | None = None
        if self._can_be_replayed():
            directory = (
                tempfile.mkdtemp(prefix="skate-stream-") if options.snapshots is None else os.path.abspath(options.snapshots)
            )
            if not self._is_in_process or not self._is_temporary:
                self._store = SnapshotStore(directory, options.keep)
                self._store.lock()
            elif self._is_temporary:
                os.rmdir(directory)
        self._figures = Figures()
        self._deliveries: queue.Queue[list[Any] | None] = queue.Queue(maxsize=DELIVERIES_MAX)
        self._delivered = 0  # The last transaction.
        self._is_consumer_gone = not any(isinstance(sink.operator, IteratorSink) for sink in sinks)
        self.reporter = Reporter(self.plan, options.name, options.progress)
        self._thread = threading.Thread(target=self._run, name="skate-stream", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> Any:
        """Wait for the end; returns what the sink has to return.

        Raises:
            StreamError: The stream stopped, and why.
            TimeoutError: It still runs.
        """
        try:
            self._thread.join(timeout_s)
        except KeyboardInterrupt:
            self._stop.set()
            self._thread.join(30)
            raise
        if self._thread.is_alive():
            raise TimeoutError(f"the stream still runs after {timeout_s} s")
        if self._error is not None:
            raise self._error
        for stage in self.plan.stages:
            for operator_plan in stage.operators:
                if operator_plan.operator is self._node.operator:
                    assert isinstance(operator_plan.operator, Sink)
                    return operator_plan.operator.combine(self._results.get(operator_plan.id, []))
        raise AssertionError("a plan without its own sink")

    def wait_for_snapshot(self, count: int = 1, timeout_s: float | None = None) -> bool:
        """Wait until this run has taken `count` snapshots or has ended; returns whether it has taken them."""
        wait_until(lambda: self.snapshots >= count or not self.is_running, timeout_s)
        return self.snapshots >= count

    def stop(self, timeout_s: float | None = 60.0) -> None:
        """End with a snapshot (a savepoint): a later run with the same directory goes on from here."""
        self._stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the stream did not stop within {timeout_s} s")
        if self._error is not None:
            raise self._error

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def progress(self) -> dict[str, Any]:
        """Stages with their rates, backpressure, watermarks and state; snapshots; restarts. JSON-able."""
        return self.reporter.document()

    @property
    def snapshots(self) -> int:
        """How many snapshots this run has taken."""
        return self._figures.snapshots_taken

    @property
    def restarts(self) -> int:
        """How often it began again from a snapshot because a worker died."""
        return self._figures.restarts

    @property
    def recovery_s(self) -> list[float]:
        """How long each of them took: from noticing the death to reading again."""
        return list(self._figures.recovery_s)

    def worker_pids(self) -> dict[tuple[int, int], int]:
        """(stage, index) → process id, of the workers that have begun; none when it runs in this process."""
        if self._is_in_process:
            return {}
        return {key: measures["pid"] for key, measures in list(self._figures.measures.items())}

    def results(self) -> Iterator[Any]:
        """What an `IteratorSink` has committed, as it comes; ends with the stream, or raises what ended it. `stream.iterate()` uses it."""
        try:
            while (records := self._deliveries.get()) is not None:
                yield from records
            self._thread.join()
            if self._error is not None:
                raise self._error
        finally:
            self._is_consumer_gone = True
            self._stop.set()
            self._thread.join(CLOSE_S)

    # ---------------------------------------------------------------- inside

    def _deliver(self, sequence: int, records: list[Any]) -> None:
        if sequence <= self._delivered:
            return  # A recovery committed it again.
        self._delivered = sequence
        self._hand_over(records)

    def _hand_over(self, records: list[Any] | None) -> None:
        """Blocks while the program is slow to take results: then no epoch begins, and memory stays flat."""
        while not self._is_consumer_gone:
            try:
                self._deliveries.put(records, timeout=0.2)
                return
            except queue.Full:
                continue

    def _check(self) -> None:
        for stage in self.plan.stages:
            if stage.source is None and not stage.inputs:
                raise StreamError(f"{stage.name} has no input")

    def _can_be_replayed(self) -> bool:
        return all(stage.source.is_replayable for stage in self.plan.stages if stage.source is not None)

    def _run(self) -> None:
        options = self._options
        try:
            if self._is_in_process:
                run = InProcessRun(
                    self.plan,
                    self._store,
                    epoch_s=options.interval_s,
                    accept_changed_code=options.accept_changed_code,
                    is_stopped=self._stop.is_set,
                    on_measures=self.reporter.update,
                    on_delivery=self._deliver,
                )
                self._figures = run.figures
                self._results = run.run()
            else:
                supervisor = Supervisor(
                    self.plan,
                    self._store,
                    epoch_s=options.interval_s,
                    restarts_max=options.restarts_max,
                    accept_changed_code=options.accept_changed_code,
                    is_stopped=self._stop.is_set,
                    on_measures=self.reporter.update,
                    on_delivery=self._deliver,
                    actor_options=options.actor_options,
                )
                self._figures = supervisor.figures
                self._results = supervisor.run()
        except BaseException as error:
            self._error = error
        finally:
            self.reporter.close(self._error)
            self._hand_over(None)
            if self._store is not None:
                self._store.unlock()
                if self._is_temporary:
                    shutil.rmtree(self._store.directory, ignore_errors=True)


def wait_until(condition: Callable[[], Any], timeout_s: float | None = 30.0) -> None:
    """Wait for a claim to become true; for programs that watch a running stream."""
    ends_s = None if timeout_s is None else time.monotonic() + timeout_s
    while not condition():
        if ends_s is not None and time.monotonic() > ends_s:
            raise TimeoutError(f"not true after {timeout_s} s")
        time.sleep(0.01)
