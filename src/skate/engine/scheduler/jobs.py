"""Jobs: a driver's program and all that it started. It ends with its driver; detached actors and what they started live on."""

from __future__ import annotations

from skate.engine.scheduler.actors import Actors
from skate.engine.scheduler.clients import Client
from skate.engine.scheduler.environments import Environments
from skate.engine.scheduler.placement_groups import PlacementGroups
from skate.engine.scheduler.state import State
from skate.engine.scheduler.workers import Worker, WorkerPool

_REASON = "the program it worked for has ended"


def end_job(
    state: State, job: int, workers: WorkerPool, actors: Actors, groups: PlacementGroups, environments: Environments
) -> None:
    """The driver is gone already, as are its leases and actors: now the rest."""
    state.jobs.pop(job, None)
    groups.on_job_ended(job)
    environments.forget_job(job)
    for worker in list(state.workers.values()):
        if worker.job == job and not _outlives(state, worker.client, set()):
            if worker.actor is not None:
                actors.on_job_ended(worker.actor)
            workers.stop(worker, "kill", _REASON)
    for actor in list(state.actors.values()):
        if actor.job == job and actor.death is None and not actor.spec.detached:
            owner = state.clients.get(actor.owner)
            if owner is None or not _outlives(state, owner, set()):
                actors.on_job_ended(actor)


def _outlives(state: State, client: Client, seen: set[int]) -> bool:
    """Whether it works, through leases and actors, for a detached actor."""
    worker: Worker | None = state.workers.get(client.number)
    if worker is None or client.number in seen:
        return False
    seen.add(client.number)
    if worker.lease is not None:
        return _outlives(state, worker.lease.client, seen)
    if worker.actor is not None:
        if worker.actor.spec.detached:
            return True
        owner = state.clients.get(worker.actor.owner)
        return owner is not None and _outlives(state, owner, seen)
    return False
