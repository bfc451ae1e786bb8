"""Worker processes: which are idle, which to start, which to stop.

    start ──► leased | actor ──► idle ──► leased | actor …
                 │                └──► stopped when it was idle for long
                 ├──► retired: given back for good (max_calls); ends when nobody needs what it owns
                 └──► stopping ──► dead (WorkerExited)

A worker serves one job and one runtime environment. Whatever it holds stays held until its process is reported dead: so what a dying
process still uses is not given to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skate.engine.scheduler.clients import WORKER, Client
from skate.engine.scheduler.node_pool import CPU, Allocation, Node
from skate.engine.scheduler.state import State
from skate.engine.spec.events import StartWorker, StopWorker

if TYPE_CHECKING:
    from skate.engine.scheduler.actors import Actor
    from skate.engine.scheduler.leases import Lease


class Worker:
    __slots__ = (
        "actor", "allocation", "client", "end_detail", "end_kind", "env", "extra", "has_worked", "idle_since_s", "is_retired", "job", "lease",
        "node", "number", "stopping",
    )  # fmt: skip

    def __init__(self, number: int, node: Node, job: int, env: str, client: Client) -> None:
        self.number = number
        self.node = node
        self.job = job
        self.env = env
        self.client = client  # The same process as a client.
        self.lease: Lease | None = None  # At most one of lease and actor.
        self.actor: Actor | None = None
        self.allocation: Allocation | None = None
        self.extra: Allocation | None = None  # Of an actor whose constructor runs: what it needs beyond `running_resources`.
        self.has_worked = False  # It came up: it said or did something.
        self.is_retired = False
        self.stopping = ""  # "graceful" or "kill" when it has been told to end.
        self.end_kind = ""  # Why we end it, for those who lose it: the kind of LeaseLost or ActorUpdate.
        self.end_detail = ""
        self.idle_since_s = 0.0

    @property
    def state(self) -> str:
        if self.stopping or self.is_retired:
            return "stopping"
        if self.actor is not None:
            return "actor"
        if self.lease is not None:
            return "leased"
        return "idle"


class WorkerPool:
    def __init__(self, state: State) -> None:
        self._state = state

    def acquire(self, node: Node, job: int, env: str) -> Worker:
        """An idle worker of this job and environment, the one used last (its caches are warm), or a new one."""
        workers = self._state.workers
        for number in reversed(node.idle):
            worker = workers[number]
            if worker.job == job and worker.env == env:
                del node.idle[number]
                return worker
        return self._start(node, job, env)

    def prestart(self, job: int, env: str) -> None:
        """A program has joined: its first tasks find a worker."""
        if not needs_preparation(env):
            for node in self._state.nodes.alive[:1]:
                for _ in range(min(self._state.config.prestarted_workers, node.workers_idle_max)):
                    self._make_idle(self._start(node, job, env))

    def _start(self, node: Node, job: int, env: str) -> Worker:
        state = self._state
        number = state.next_client_id()
        client = state.clients[number] = Client(number, WORKER, job, state.jobs.get(job, ""), env)
        worker = state.workers[number] = Worker(number, node, job, env, client)
        state.commands.append(StartWorker(number, node.id, job, env))
        return worker

    def release(self, worker: Worker) -> None:
        """Its lease ended: it is idle, unless it is about to end."""
        worker.lease = None
        if worker.stopping:
            return
        self.give_back_resources(worker)
        if worker.job not in self._state.jobs:
            self.stop(worker, "graceful", "its job has ended")
        else:
            self._make_idle(worker)

    def _make_idle(self, worker: Worker) -> None:
        state, node = self._state, worker.node
        worker.idle_since_s = state.now_s
        node.idle[worker.number] = None
        if len(node.idle) > node.workers_idle_max and not node.is_reaper_set:
            self._set_reaper(node)

    def retire(self, worker: Worker) -> None:
        """Given back for good. It ends at once, unless somebody needs what it owns: then its resources go to others meanwhile."""
        worker.lease = None
        if worker.stopping:
            return
        worker.is_retired = True
        if not worker.client.owns_something():
            self.stop(worker, "graceful", "it has reached max_calls")
            return
        self.give_back_resources(worker)
        self._check_retired(worker)

    def _check_retired(self, worker: Worker) -> None:
        state = self._state
        if state.workers.get(worker.number) is not worker or worker.stopping:
            return
        if not worker.client.owns_something():
            self.stop(worker, "graceful", "it has reached max_calls")
        else:
            state.timers.set(state.now_s + state.config.retired_check_s, lambda: self._check_retired(worker))

    def give_back_resources(self, worker: Worker) -> None:
        if worker.extra is not None:
            self._state.give_back(worker.extra)
            worker.extra = None
        if worker.allocation is not None:
            self._state.give_back(worker.allocation)
            worker.allocation = None

    # ------------------------------------------------------------ blocked workers

    def lend_cpu(self, worker: Worker) -> None:
        """It waits in get or wait: somebody else may use its CPU."""
        for allocation in (worker.allocation, worker.extra):
            if allocation is not None and not allocation.is_cpu_lent and allocation.resources.get(CPU):
                allocation.pool.lend_cpu(allocation)
                if worker.lease is not None:
                    worker.lease.count(False)
                self._state.freed[allocation.pool.domain] = None

    def reclaim_cpu(self, worker: Worker) -> None:
        for allocation in (worker.allocation, worker.extra):
            if allocation is not None and allocation.is_cpu_lent:
                allocation.pool.reclaim_cpu(allocation)
                if worker.lease is not None:
                    worker.lease.count(True)

    # ------------------------------------------------------------ end

    def stop(self, worker: Worker, how: str, reason: str, kind: str = "killed") -> None:
        """Tell it to end. Later orders only count when they are stronger."""
        if worker.stopping == "kill" or worker.stopping == how:
            return
        if not worker.stopping:
            worker.end_kind, worker.end_detail = kind, reason
        worker.stopping = how
        worker.node.idle.pop(worker.number, None)
        self._state.commands.append(StopWorker(worker.number, how, reason))

    def forget(self, number: int) -> Worker | None:
        """Its process is dead."""
        worker = self._state.workers.pop(number, None)
        if worker is not None:
            worker.node.idle.pop(number, None)
            self.give_back_resources(worker)
        return worker

    # ------------------------------------------------------------ the reaper

    def _set_reaper(self, node: Node) -> None:
        node.is_reaper_set = True
        oldest = self._state.workers[next(iter(node.idle))]
        timeout_s = self._state.config.idle_worker_timeout_s
        # Not before now plus something: workers that own something stay idle and overdue.
        at_s = max(oldest.idle_since_s + timeout_s, self._state.now_s + timeout_s / 10)
        self._state.timers.set(at_s, lambda: self._reap(node))

    def _reap(self, node: Node) -> None:
        node.is_reaper_set = False
        if not node.is_alive:
            return
        state = self._state
        surplus = len(node.idle) - node.workers_idle_max
        for number in list(node.idle):
            if surplus <= 0:
                break
            worker = state.workers[number]
            if worker.idle_since_s + state.config.idle_worker_timeout_s > state.now_s:
                break
            if not worker.client.owns_something():
                self.stop(worker, "graceful", "it has been idle for long")
                surplus -= 1
        if len(node.idle) > node.workers_idle_max:
            self._set_reaper(node)


def needs_preparation(env: str) -> bool:
    """Whether this runtime environment has an interpreter of its own."""
    answer = _needs_preparation.get(env)
    if answer is None:
        answer = bool(env) and _has_own_interpreter(env)
        if len(_needs_preparation) > 10_000:
            _needs_preparation.clear()
        _needs_preparation[env] = answer
    return answer


_needs_preparation: dict[str, bool] = {"": False}


def _has_own_interpreter(env: str) -> bool:
    try:
        fields = msgspec.json.decode(env)
    except msgspec.DecodeError:
        return False
    return isinstance(fields, dict) and any(fields.get(key) for key in ("pip", "uv", "py_executable"))
