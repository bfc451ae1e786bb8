"""Leases: a worker that belongs to a client for a while.

    RequestLease ──► waits ──► LeaseGranted ──► (LeaseRevoked: please) ──► ReturnLease
                       └──► LeaseRejected              └──► LeaseLost: its worker died

What happens in between is between the client and the worker: the scheduler never sees a task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skate.engine.scheduler.clients import Client
from skate.engine.scheduler.node_pool import OPEN
from skate.engine.scheduler.state import State
from skate.engine.scheduler.waiting import Request, Shape
from skate.engine.scheduler.workers import Worker, WorkerPool
from skate.engine.spec.events import CloseLease
from skate.engine.spec.messages import CancelLeaseRequest, KillLease, LeaseLost, LeaseRejected, RequestLease, ReturnLease

if TYPE_CHECKING:
    from skate.engine.scheduler.serving import Serving

_LOST_KINDS = {"exit_code": "exit"}  # WorkerExited's words for LeaseLost's.


class Lease:
    __slots__ = (
        "client",
        "granted_s",
        "is_counted",
        "is_retriable",
        "is_revoked",
        "name",
        "number",
        "revoked_s",
        "shape",
        "worker",
    )

    def __init__(
        self, number: int, client: Client, worker: Worker, shape: Shape, name: str, granted_s: float, *, is_retriable: bool
    ) -> None:
        self.number = number
        self.client = client
        self.worker = worker
        self.shape = shape
        self.name = name  # Of the function it was asked for first.
        self.granted_s = granted_s
        self.is_retriable = is_retriable
        self.is_revoked = False
        self.revoked_s = 0.0
        self.is_counted = False  # Among what its client holds: not while its worker has lent its CPU.

    def count(self, is_held: bool) -> None:
        if self.is_counted != is_held:
            self.is_counted = is_held
            self.shape.count_held(self.client.number, 1 if is_held else -1)


class Leases:
    def __init__(self, state: State, workers: WorkerPool, serving: Serving) -> None:
        self._state = state
        self._workers = workers
        self._serving = serving

    def on_request(self, client: Client, message: RequestLease) -> None:
        number = message.request
        if number in client.requests:
            return
        if min(message.resources.values(), default=0) < 0:
            self._state.send(
                client.number, LeaseRejected(number, "unschedulable", f"resources must not be negative: {message.resources}")
            )
            return
        group_id = message.placement_group
        if group_id != OPEN:
            group = self._state.groups.get(group_id)
            if group is None and self._state.early.is_early(group_id, self._state.clients):
                self._state.early.keep(group_id, client.number, message)
                return
            if group is None or group.is_removed:
                text = f"{message.name or 'a task'} was to run in placement group {group_id.hex()}, which has been removed"
                self._state.send(client.number, LeaseRejected(number, "placement_group_removed", text))
                return
        shape = self._serving.shape(
            message.resources, client.job, message.env, message.strategy, group_id, message.bundle, message.node, message.labels,
            soft=message.soft,
        )  # fmt: skip
        request = Request(
            client, number, shape, message.name, self._state.now_s, None, captures=message.capture_child_tasks,
            is_retriable=message.is_retriable,
        )  # fmt: skip
        client.requests[number] = request
        self._serving.submit(request)

    def on_cancel(self, client: Client, message: CancelLeaseRequest) -> None:
        request = client.requests.pop(message.request, None)
        if request is not None:
            self._serving.withdraw(request)

    def on_return(self, client: Client, message: ReturnLease) -> None:
        lease = client.leases.get(message.lease)
        if lease is None:
            return  # Lost meanwhile.
        self._close(lease)
        self._serving.environments.on_worked(lease.worker)
        if message.retire:
            self._workers.retire(lease.worker)
        else:
            self._workers.release(lease.worker)

    def on_kill(self, client: Client, message: KillLease) -> None:
        lease = client.leases.get(message.lease)
        if lease is not None:
            self._workers.stop(lease.worker, "kill", "its task was cancelled with force=True")

    def _close(self, lease: Lease) -> None:
        lease.count(False)
        self._state.leases.pop(lease.number, None)
        lease.client.leases.pop(lease.number, None)
        self._state.commands.append(CloseLease(lease.number))

    def on_worker_exited(self, lease: Lease, worker: Worker, kind: str, detail: str) -> None:
        if worker.end_kind:
            kind, detail = worker.end_kind, worker.end_detail
        self._state.send(lease.client.number, LeaseLost(lease.number, _LOST_KINDS.get(kind, kind), detail))
        self._close(lease)

    def on_client_gone(self, client: Client, reason: str) -> None:
        """What it asked for is forgotten; its leased workers may be in the middle of its tasks: they end."""
        for request in list(client.requests.values()):
            self._serving.withdraw(request)
        client.requests.clear()
        for lease in list(client.leases.values()):
            self._close(lease)
            lease.worker.lease = None
            self._workers.stop(lease.worker, "kill", reason)
