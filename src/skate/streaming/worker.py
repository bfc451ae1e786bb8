"""Worker: the actor around one subtask. Sends with credits, writes snapshots beside the work, reports to the supervisor.

Two threads: one for data (messages of other workers, epochs, commits: one after the other), one for the supervisor's long poll
`next_report`. A sender has at most CREDITS calls under way to a receiver, and waits when they are used up: so a slow sink slows the
readers down, and memory stays flat. Graphs have no cycles, so nobody waits in a circle.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import skate
from skate.streaming.batch import Message
from skate.streaming.errors import StreamError
from skate.streaming.graph import Plan
from skate.streaming.host import Host
from skate.streaming.manifest import Manifest
from skate.streaming.snapshots import SnapshotStore
from skate.streaming.sources.base import Split
from skate.streaming.subtask import Channel, Sending

CREDITS = 4
IDLE_S = 0.001
MEASURES_S = 0.25

SubtaskId = tuple[int, int]


class Worker:
    def __init__(self, plan_bytes: bytes, stage: int, index: int, splits: list[Split], store: Path | None) -> None:
        from skate import cloudpickle

        self.plan: Plan = cloudpickle.loads(plan_bytes)
        self.id: SubtaskId = (stage, index)
        self.store = None if store is None else SnapshotStore(store)
        self.reports: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.splits = splits
        self.host: Host  # Made by `begin`: what it raises is the program's, and no death to recover from.
        self.peers: dict[SubtaskId, Any] = {}
        self.failure = False
        self.backpressure_s = 0.0
        self._targets = {edge.id: edge.to_stage for edge in self.plan.stages[stage].outputs}
        self._under_way: dict[SubtaskId, deque[Any]] = {}
        self._writer = ThreadPoolExecutor(1)
        self._is_stopping = threading.Event()
        self._measured_s = 0.0

    # ---------------------------------------------------------------- data thread

    def begin(self, peers: dict[SubtaskId, Any], manifest: Manifest | None) -> bool:
        """Restore, and learn who the receivers are."""
        self.peers = peers
        return self._guarded(lambda: self._begin(manifest))

    def _begin(self, manifest: Manifest | None) -> None:
        self.host = Host(self.plan, *self.id, self.splits, self._snapshot)
        self.host.begin(self.store, manifest)
        self._deliver()  # What the snapshot had prepared.
        self._measure(is_forced=True)

    def receive(self, channel: Channel, messages: list[Message]) -> bool:
        """Take messages of a sender. Its credit comes back with the answer; False: this worker has failed."""
        if self.failure:
            return False
        return self._guarded(lambda: self._receive(channel, messages))

    def _receive(self, channel: Channel, messages: list[Message]) -> None:
        self.host.subtask.receive(channel, messages)
        self._send(self.host.subtask.flush())
        self._measure()

    def run_epoch(self, number: int, duration_s: float) -> bool:
        """Read until the time is over or the source has ended, then send the barrier."""
        return self._guarded(lambda: self._run_epoch(number, duration_s))

    def _run_epoch(self, number: int, duration_s: float) -> None:
        ends_s = time.monotonic() + duration_s
        while not self.host.has_ended and time.monotonic() < ends_s and not self._is_stopping.is_set():
            had_any, sendings = self.host.step()
            self._send(sendings)
            if self.failure:
                return
            if not had_any and not self.host.has_ended:
                self._is_stopping.wait(IDLE_S)
            self._measure()
        self._send(self.host.end_epoch(number))
        self.reports.put(("epoch", number, self.host.has_ended))
        self._measure(is_forced=self.host.has_ended)

    def commit(self, number: int) -> bool:
        """The snapshot is whole: sinks make what belongs to it visible."""
        done = self._guarded(lambda: self.host.commit(number))
        self._deliver()
        self.reports.put(("committed", number))
        return done

    def results(self) -> dict[int, Any]:
        self._measure(is_forced=True)
        return self.host.results()

    # ---------------------------------------------------------------- control thread

    @skate.method(enable_task_events=False)  # It waits beside the work, which would not be seen behind it in a timeline.
    def next_report(self, timeout_s: float) -> list[tuple[Any, ...]]:
        """What there is to report; waits for it."""
        reports = []
        try:
            reports.append(self.reports.get(timeout=timeout_s))
            while True:
                reports.append(self.reports.get_nowait())
        except queue.Empty:
            return reports

    def stop(self) -> None:
        """End the epoch now."""
        self._is_stopping.set()

    # ---------------------------------------------------------------- inside

    def _guarded(self, action: Any) -> bool:
        if self.failure:
            return False
        try:
            action()
        except Exception as error:
            self.failure = True
            self.reports.put(("failed", _portable(error, self.plan.stages[self.id[0]].name)))
            return False
        return not self.failure

    def _deliver(self) -> None:
        for sequence, records in self.host.take_deliveries():
            self.reports.put(("delivery", sequence, records))

    def _send(self, sendings: list[Sending]) -> None:
        by_channel: dict[tuple[int, int], list[Message]] = {}
        for exchange, place, message in sendings:
            by_channel.setdefault((exchange, place), []).append(message)
        for (exchange, place), messages in by_channel.items():
            receiver = (self._targets[exchange], place)
            under_way = self._under_way.setdefault(receiver, deque())
            if len(under_way) >= CREDITS:
                while len(under_way) >= CREDITS:
                    started_s = time.monotonic()
                    self._collect(under_way)
                    self.backpressure_s += time.monotonic() - started_s
                    self._measure()
            if self.failure:
                return
            under_way.append(self.peers[receiver].receive.remote((exchange, self.id[1]), messages))

    def _collect(self, under_way: deque[Any]) -> None:
        try:
            accepted = skate.get(under_way[0], timeout=MEASURES_S)
            under_way.popleft()
        except skate.exceptions.GetTimeoutError:
            return  # To tell how long it has waited already.
        except skate.exceptions.RayError:
            accepted = False  # It died: the supervisor knows before us.
        if not accepted:
            self.failure = True  # Not reported: the cause is elsewhere.
            under_way.clear()

    def _snapshot(self, number: int, data: bytes) -> None:
        store = self.store
        if store is None:
            self.reports.put(("part", number, None))
            return

        def write() -> None:
            try:
                self.reports.put(("part", number, store.write_part(number, *self.id, data)))
            except OSError as error:
                self.reports.put(("part-failed", number, f"{error}"))

        self._writer.submit(write)

    def _measure(self, *, is_forced: bool = False) -> None:
        now = time.monotonic()
        if is_forced or now - self._measured_s >= MEASURES_S:
            self._measured_s = now
            measures = self.host.measures()
            measures["backpressure_s"] = self.backpressure_s
            measures["cpu_s"] = time.process_time()
            self.reports.put(("measures", measures))


def _portable(error: Exception, stage: str) -> Exception:
    """The error as something that can be pickled and says where it was."""
    import pickle
    import traceback

    try:
        if isinstance(error, StreamError):
            pickle.loads(pickle.dumps(error))
            return error
    except Exception:
        pass
    return StreamError(f"{stage}: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-6)}")
