"""Run: a program set to work; the handle that `.start()` gives."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import skate
from skate.streaming.errors import StreamError
from skate.streaming.graph import Node, Plan, make_plan
from skate.streaming.in_process import InProcessRun
from skate.streaming.show import Reporter
from skate.streaming.sinks.base import Sink
from skate.streaming.snapshots import SnapshotStore
from skate.streaming.supervisor import Supervisor


@dataclass
class RunOptions:
    """How a stream runs."""

    snapshots: str | Path | None = (
        None  # A directory; a run that was cut short goes on from it. On a cluster: one that all nodes see.
    )
    parallelism: int | None = None  # Subtasks of each stage; the session's CPUs if not given. May change between runs.
    interval_s: float = 1.0  # Between snapshots; results of transactional sinks become visible that often.
    keep: int = 3  # Snapshots to keep.
    restarts_max: int = 20  # Deaths of workers, over the whole run.
    in_process: bool = False  # Run in this process, without actors.
    accept_changed_code: bool = False  # Go on from a snapshot although functions that made its state have changed.
    progress: bool | None = None  # A progress bar on bounded inputs; None: when standard error is a terminal.
    name: str | None = None  # In the web UI.
    actor_options: dict[str, Any] = field(default_factory=dict)  # For the workers, such as {"resources": …}.

    def __post_init__(self) -> None:
        if self.interval_s <= 0:
            raise ValueError(f"interval_s={self.interval_s}: above zero")
        if self.parallelism is not None and self.parallelism < 1:
            raise ValueError(f"parallelism={self.parallelism}: at least 1")
        if self.keep < 1:
            raise ValueError(f"keep={self.keep}: at least 1")


class RunningStream:
    """A stream at work."""

    def __init__(self, sinks: Sequence[Node], node: Node, options: RunOptions) -> None:
        self._node = node
        self._options = options
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._results: dict[int, list[Any]] = {}
        if not options.in_process and not skate.is_initialized():
            skate.init()
        parallelism = options.parallelism or (1 if options.in_process else max(1, int(skate.cluster_resources().get("CPU", 1))))
        self.plan: Plan = make_plan(sinks, parallelism)
        self._check()
        self._is_temporary = options.snapshots is None
        self._store: SnapshotStore | None = None
        if self._can_be_replayed():
            directory = (
                tempfile.mkdtemp(prefix="skate-stream-") if options.snapshots is None else os.path.abspath(options.snapshots)
            )
            if not options.in_process or not self._is_temporary:
                self._store = SnapshotStore(directory, options.keep)
                self._store.lock()
            elif self._is_temporary:
                os.rmdir(directory)
        self._supervisor: Supervisor | None = None
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

    def worker_pids(self) -> dict[tuple[int, int], int]:
        """(stage, index) → process id, of a run on actors on this machine."""
        supervisor = self._supervisor
        if supervisor is None:
            return {}
        return {key: measures["pid"] for key, measures in supervisor.measures.items() if "pid" in measures}

    # ---------------------------------------------------------------- inside

    def _check(self) -> None:
        for stage in self.plan.stages:
            if stage.source is None and not stage.inputs:
                raise StreamError(f"{stage.name} has no input")

    def _can_be_replayed(self) -> bool:
        return all(stage.source.is_replayable for stage in self.plan.stages if stage.source is not None)

    def _run(self) -> None:
        options = self._options
        try:
            if options.in_process:
                run = InProcessRun(
                    self.plan,
                    self._store,
                    epoch_s=options.interval_s,
                    accept_changed_code=options.accept_changed_code,
                    is_stopped=self._stop.is_set,
                )
                self._results = run.run()
            else:
                self._supervisor = Supervisor(
                    self.plan,
                    self._store,
                    epoch_s=options.interval_s,
                    restarts_max=options.restarts_max,
                    accept_changed_code=options.accept_changed_code,
                    is_stopped=self._stop.is_set,
                    on_measures=self.reporter.update,
                    actor_options=options.actor_options,
                )
                self._results = self._supervisor.run()
        except BaseException as error:
            self._error = error
        finally:
            self.reporter.close(self._error)
            if self._store is not None:
                self._store.unlock()
                if self._is_temporary:
                    shutil.rmtree(self._store.directory, ignore_errors=True)


def wait_until(condition: Any, timeout_s: float = 30.0) -> None:
    """Wait for a claim to become true; for programs that watch a running stream."""
    ends_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > ends_s:
            raise TimeoutError(f"not true after {timeout_s} s")
        time.sleep(0.01)
