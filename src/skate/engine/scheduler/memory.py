"""Memory pressure: which worker ends, so that the machine does not.

The newest lease whose tasks are tried again comes first: least work is lost, and the program does not see it. Then actors that start
again, then an actor that has most of the memory itself, the tasks that are lost with their worker, and last the newest actor: an error in one of them
beats a machine that stands still, or a kernel that ends somebody at random. One at a time: the next choice waits until the last victim's process
is gone.
"""

from __future__ import annotations

from skate.engine.scheduler.state import State
from skate.engine.scheduler.workers import Worker, WorkerPool
from skate.engine.spec.events import MemoryPressure

_MOST = 0.5  # Of all memory in use: an actor that has more is the cause, whatever else runs.


def relieve(state: State, workers: WorkerPool, event: MemoryPressure) -> None:
    if any(worker.stopping and worker.end_kind == "oom" for worker in state.workers.values()):
        return
    victim = _choose_victim(state, event)
    if victim is None:
        return
    used, limit = event.used_bytes / 1e9, event.limit_bytes / 1e9
    reason = (
        f"the machine was short of memory ({used:.3g} of {limit:.3g} GB in use), and this worker was the newest of those that could be ended: that saves the others. "
        "Let fewer tasks run at once (a larger num_cpus or memory= for each), or give them less to hold"
    )
    workers.stop(victim, "kill", reason, "oom")


def _choose_victim(state: State, event: MemoryPressure) -> Worker | None:
    leases = [lease for lease in reversed(state.leases.values()) if not lease.worker.stopping]
    for lease in leases:
        if lease.is_retriable:
            return lease.worker
    for worker in reversed(state.workers.values()):
        if worker.actor is not None and worker.actor.restarts_left != 0 and not worker.stopping:
            return worker
    largest = state.workers.get(event.largest_worker)
    has_most = largest is not None and not largest.stopping and event.largest_bytes > _MOST * event.used_bytes
    if largest is not None and largest.actor is not None and has_most:
        return largest
    if leases:
        return leases[0].worker
    return next((worker for worker in reversed(state.workers.values()) if worker.actor is not None and not worker.stopping), None)
