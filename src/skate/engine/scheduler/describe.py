"""The scheduler's state as plain rows, for `skate.state`, the CLI and the dashboard. Reads only; ids as hex strings.

Workers and jobs are client numbers. The shell adds what only it knows: process ids, start times, memory.
"""

from __future__ import annotations

from typing import Any

from skate.engine.scheduler.clients import DRIVER
from skate.engine.scheduler.placement import is_feasible
from skate.engine.scheduler.serving import Serving
from skate.engine.scheduler.state import State
from skate.engine.spec.resources import to_amounts

Row = dict[str, Any]
_ACTOR_STATES = {"PENDING": "PENDING_CREATION", "STARTING": "PENDING_CREATION"}  # Ray's names.


def describe(state: State, serving: Serving, what: str) -> list[Row] | Row:
    match what:
        case "actors":
            return _actors(state)
        case "workers":
            return _workers(state)
        case "nodes":
            return _nodes(state)
        case "placement_groups":
            return _groups(state)
        case "resources":
            return {"total": state.nodes.total(), "available": {name: max(0, free) for name, free in state.nodes.free().items()}}
        case "jobs":
            return [
                {"job_id": client.job, "namespace": client.namespace, "status": "RUNNING"}
                for client in state.clients.values()
                if client.kind == DRIVER
            ]
        case "leases":
            return _leases(state)
        case "demand":
            return _demand(state, serving)
    return []


def _actors(state: State) -> list[Row]:
    return [
        {
            "actor_id": actor.id.hex(),
            "class_name": actor.spec.class_name,
            "name": actor.spec.name,
            "state": _ACTOR_STATES.get(actor.state, actor.state),
            "job_id": actor.job,
            "worker_id": actor.worker.number if actor.worker is not None else 0,
            "node_id": actor.worker.node.id.hex() if actor.worker is not None else "",
            "ray_namespace": actor.spec.namespace,
            "num_restarts": actor.incarnation,
            "is_detached": actor.spec.detached,
            "death_cause": actor.death.cause if actor.death is not None else "",
            "death_kind": actor.death.kind if actor.death is not None else "",
            "required_resources": to_amounts(actor.spec.running_resources),
            "placement_group_id": actor.spec.placement_group.hex(),
        }
        for actor in state.actors.values()
    ]


def _workers(state: State) -> list[Row]:
    return [
        {
            "worker_id": worker.number,
            "state": worker.state,
            "job_id": worker.job,
            "node_id": worker.node.id.hex(),
            "env": worker.env,
            "actor_id": worker.actor.id.hex() if worker.actor is not None else "",
            "lease": worker.lease.number if worker.lease is not None else 0,
            "name": worker.lease.name
            if worker.lease is not None
            else worker.actor.spec.class_name
            if worker.actor is not None
            else "",
            "is_blocked": worker.allocation is not None and worker.allocation.is_cpu_lent,
            "resources": to_amounts(worker.allocation.resources) if worker.allocation is not None else {},
            "gpu_ids": list(worker.allocation.gpu_ids) if worker.allocation is not None else [],
        }
        for worker in state.workers.values()
    ]


def _nodes(state: State) -> list[Row]:
    return [
        {
            "node_id": node.id.hex(),
            "state": "ALIVE",
            "is_head_node": position == 0,
            "resources_total": to_amounts(node.total),
            "resources_available": to_amounts({name: max(0, free) for name, free in node.free.items()}),
            "labels": dict(node.labels),
        }
        for position, node in enumerate(state.nodes)
    ]


def _groups(state: State) -> list[Row]:
    return [
        {
            "placement_group_id": group.id.hex(),
            "name": group.name_key[1] if group.name_key else "",
            "state": group.state,
            "strategy": group.strategy,
            "creator_job_id": group.job,
            "is_detached": group.detached,
            "bundles": [
                {
                    "bundle_id": index,
                    "resources": to_amounts(spec),
                    "node_id": bundle.node.id.hex() if bundle is not None and not group.is_removed else "",
                }
                for index, (spec, bundle) in enumerate(zip(group.specs, group.bundles, strict=True))
            ],
        }
        for group in state.groups.values()
    ]


def _leases(state: State) -> list[Row]:
    return [
        {
            "lease": lease.number,
            "client": lease.client.number,
            "worker_id": lease.worker.number,
            "name": lease.name,
            "job_id": lease.shape.job,
            "resources": to_amounts(lease.shape.need),
            "is_revoked": lease.is_revoked,
        }
        for lease in state.leases.values()
    ]


def _demand(state: State, serving: Serving) -> list[Row]:
    """What waits, summed by shape and client; `since_s` on the scheduler's clock."""
    rows: list[Row] = []
    for line in serving.lines.values():
        for shape in line.shapes.values():
            for client, of_client in shape.by_client.items():
                first = next(iter(of_client.values()))
                rows.append(
                    {
                        "client": client,
                        "count": len(of_client),
                        "kind": "task" if first.actor is None else "actor",
                        "name": first.name,
                        "resources": to_amounts(shape.need),
                        "since_s": first.since_s,
                        "is_feasible": is_feasible(state, shape),
                        "placement_group_id": shape.domain.hex(),
                    }
                )
    for group in state.groups.values():
        if group.state == "PENDING":
            rows.append(
                {
                    "client": 0,
                    "count": 1,
                    "kind": "placement_group",
                    "name": group.name_key[1] if group.name_key else "",
                    "resources": {},
                    "since_s": group.since_s,
                    "is_feasible": True,
                    "placement_group_id": group.id.hex(),
                }
            )
    return rows
