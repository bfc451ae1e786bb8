"""What must hold after every event. Used by tests and the simulator: too slow for every event of a real node."""

from __future__ import annotations

from skate.engine.scheduler.actors import DEAD
from skate.engine.scheduler.node_pool import GPU, OPEN, Allocation, Bundle, ResourcePool
from skate.engine.scheduler.scheduler import Scheduler
from skate.engine.spec.resources import Resources


def check_invariants(scheduler: Scheduler) -> None:
    """Raises AssertionError with what is wrong."""
    state = scheduler.state
    assert not state.freed, "something was freed and nobody was served"
    _check_amounts(scheduler)
    _check_leases(scheduler)
    _check_requests(scheduler)
    _check_actors(scheduler)
    for node in state.nodes:
        for number in node.idle:
            worker = state.workers[number]
            assert worker.state == "idle", f"worker {number} is listed as idle but is {worker.state}"
            assert worker.allocation is None, f"idle worker {number} holds {worker.allocation.resources}"


def _check_amounts(scheduler: Scheduler) -> None:
    """free + held = total, of every node, bundle and GPU."""
    state = scheduler.state
    held: dict[ResourcePool, list[Allocation]] = {}
    for worker in state.workers.values():
        for allocation in (worker.allocation, worker.extra):
            if allocation is not None:
                held.setdefault(allocation.pool, []).append(allocation)
    for pool in list(held):
        if isinstance(pool, Bundle) and pool.is_closed and pool.allocation.resources:
            held.setdefault(pool.node, []).append(pool.allocation)
    for group in state.groups.values():
        for bundle in group.bundles:
            if bundle is None:
                continue
            if not bundle.is_closed:
                held.setdefault(bundle.node, []).append(bundle.allocation)
            _check_pool(bundle, held.get(bundle, []), f"bundle {bundle.index} of {group.id.hex()}")
    for node in state.nodes:
        _check_pool(node, held.get(node, []), f"node {node.id.hex()}")


def _check_pool(pool: ResourcePool, held: list[Allocation], what: str) -> None:
    names = set(pool.total) | {name for allocation in held for name in allocation.resources} | set(pool.free)
    for name in names:
        total: int = pool.total.get(name, 0)
        free = pool.free.get(name, 0)
        amounts = [allocation.held(name) for allocation in held]
        assert free + sum(amounts) == total, f"{what}: {name} free {free} + held {amounts} is not {total}"
        if name != "CPU":
            assert free >= 0, f"{what}: {name} was given out twice"
    used: Resources = {}
    for allocation in held:
        for number, units in allocation.gpu_shares:
            used[str(number)] = used.get(str(number), 0) + units
    for number, free in pool.gpu_free.items():
        assert free >= 0, f"{what}: GPU {number} was given out twice"
    if pool.gpu_free:
        assert sum(pool.gpu_free.values()) + sum(used.values()) == pool.total.get(GPU, 0), (
            f"{what}: GPUs {pool.gpu_free} free, {used} used"
        )


def _check_leases(scheduler: Scheduler) -> None:
    state = scheduler.state
    seen: set[int] = set()
    for number, lease in state.leases.items():
        assert lease.worker.number not in seen, f"worker {lease.worker.number} was granted twice"
        seen.add(lease.worker.number)
        assert lease.worker.lease is lease
        assert state.workers.get(lease.worker.number) is lease.worker, f"lease {number} has no worker"
        assert state.clients.get(lease.client.number) is lease.client, f"lease {number} of a client that is gone"
        assert lease.client.leases.get(number) is lease
        assert lease.worker.actor is None, f"lease {number} is of an actor's worker"
        assert lease.worker.number not in lease.worker.node.idle
    counted: dict[tuple[int, int], int] = {}
    for lease in state.leases.values():
        if lease.is_counted:
            key = (id(lease.shape), lease.client.number)
            counted[key] = counted.get(key, 0) + 1
    for lease in state.leases.values():
        held = lease.shape.held.get(lease.client.number, 0)
        assert held == counted.get((id(lease.shape), lease.client.number), 0), (
            f"client {lease.client.number} is said to hold {held}"
        )


def _check_requests(scheduler: Scheduler) -> None:
    """Each request is answered or waits, and what waits has a client that lives."""
    state = scheduler.state
    waiting: set[tuple[int, int | bytes]] = set()
    for line in scheduler.serving.lines.values():
        assert line.domain == OPEN or not state.groups[line.domain].is_removed, "requests wait for a group that is gone"
        for shape in line.shapes.values():
            requests = [request for of_client in shape.by_client.values() for request in of_client.values()]
            assert len(requests) == shape.count > 0
            waiting |= {(request.client.number, request.key) for request in requests}
    waiting |= {(request.client.number, request.key) for request in scheduler.environments.parked()}
    wanted: set[tuple[int, int | bytes]] = {
        (client.number, number) for client in state.clients.values() for number in client.requests
    }
    wanted |= {(actor.request.client.number, actor.id) for actor in state.actors.values() if actor.request is not None}
    early = {(number, event.request) for number, event in state.early.all() if hasattr(event, "request")}
    assert wanted - early == waiting, (
        f"asked for but not waiting: {wanted - waiting}; waiting but not asked for: {waiting - wanted}"
    )


def _check_actors(scheduler: Scheduler) -> None:
    state = scheduler.state
    for actor in state.actors.values():
        key = actor.name_key
        holder = scheduler.actors.named(key) if key else None
        if actor.state == DEAD:
            assert holder is not actor, f"dead actor {actor.id.hex()} has a name"
            assert actor.worker is None
            assert actor.request is None
            assert not actor.watchers
            continue
        if key and actor.ending is None:
            assert holder is actor, f"actor {actor.id.hex()} lives and its name belongs to another"
        assert actor.worker is None or actor.worker.actor is actor
        assert actor.worker is None or actor.request is None, "an actor that runs waits to be placed"
        if not actor.spec.detached:
            assert actor.owner in state.clients, f"actor {actor.id.hex()} outlived its creator"
