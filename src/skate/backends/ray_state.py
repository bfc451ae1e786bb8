"""A Ray cluster's state as the rows of `skate.state`: by Ray's control store where that knows it, by Ray's state API (the dashboard's) for the rest."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from skate.exceptions import RaySystemError

LIMIT = 10_000  # What Ray's state API gives at most.

_LISTS = {"objects": "list_objects", "workers": "list_workers"}


def query(ray: Any, what: str, params: Mapping[str, Any]) -> Any:
    """What `Backend.query` answers.

    Raises:
        NotImplementedError: Ray has no such answer.
        RaySystemError: It has, but the cluster runs without its dashboard.
    """
    answer = _ANSWERS.get(what)
    if answer is not None:
        return answer(ray)
    if what in _LISTS:
        return _list(what, min(LIMIT, int(params.get("limit") or LIMIT)))
    raise NotImplementedError(f"a Ray cluster does not tell {what!r} by its state API: see docs/how-to/run-on-ray.md")


def _resources(ray: Any) -> dict[str, Any]:
    return {"total": dict(ray.cluster_resources()), "available": dict(ray.available_resources())}


def _nodes(ray: Any) -> list[dict[str, Any]]:
    return [
        {
            "node_id": node["NodeID"], "state": "ALIVE" if node["Alive"] else "DEAD", "node_ip": node.get("NodeManagerAddress", ""),
            "node_name": node.get("NodeName", ""), "is_head_node": "node:__internal_head__" in node.get("Resources", {}),
            "resources_total": dict(node.get("Resources", {})), "labels": dict(node.get("Labels", {})),
        }
        for node in ray.nodes()
    ]  # fmt: skip


def _actors(ray: Any) -> list[dict[str, Any]]:
    from ray._private import state

    rows = []
    for row in state.actors().values():
        address = row.get("Address") or {}
        rows.append({
            "actor_id": row.get("ActorID"), "class_name": row.get("ActorClassName"), "state": row.get("State"), "job_id": row.get("JobID"),
            "name": row.get("Name") or "", "node_id": address.get("NodeID"), "pid": row.get("Pid") or address.get("Pid"),
            "ray_namespace": row.get("Namespace"), "num_restarts": row.get("NumRestarts"),
        })  # fmt: skip
    return rows


def _jobs(ray: Any) -> list[dict[str, Any]]:
    from ray._private import state

    return [
        {
            "job_id": job.get("JobID"), "status": "FINISHED" if job.get("IsDead") else "RUNNING", "start_time": job.get("StartTime"),
            "end_time": job.get("EndTime"), "entrypoint": job.get("Entrypoint"), "type": "DRIVER",
        }
        for job in state.jobs()
    ]  # fmt: skip


def _tasks(ray: Any) -> list[dict[str, Any]]:
    from ray._private import state
    from ray.core.generated.gcs_pb2 import TaskEvents
    from ray.util.state.common import protobuf_to_task_state_dict

    told = state.state._connect_and_get_accessor().get_task_events()
    events = [TaskEvents.FromString(data) for data in told]
    rows = [protobuf_to_task_state_dict(event) for event in events if event.HasField("task_info")]
    return sorted(rows, key=lambda row: row.get("creation_time_ms") or 0)


def _placement_groups(ray: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in ray.util.placement_group_table().values()]


def _summary(ray: Any) -> dict[str, Any]:
    """What `skate status` shows."""
    import skate

    resources = _resources(ray)
    used_bytes = resources["total"].get("object_store_memory", 0) - resources["available"].get("object_store_memory", 0)
    nodes = _nodes(ray)
    return {
        "session": {
            "name": f"Ray {ray.__version__} at {ray.get_runtime_context().gcs_address}", "pid": os.getpid(), "is_embedded": False,
            "version": skate.__version__, "python": _python(), "uptime_s": _uptime_s(ray), "task_events": 0, "is_ray": True,
        },
        "nodes": dict(Counter(node["state"] for node in nodes)),
        "resources": resources,
        "workers": {},
        "actors": dict(Counter(str(row["state"]) for row in _actors(ray))),
        "jobs": dict(Counter(str(row["status"]) for row in _jobs(ray))),
        "objects": {
            "objects": 0, "used_bytes": int(used_bytes), "capacity_bytes": int(resources["total"].get("object_store_memory", 0)),
        },
        "demand": [],
    }  # fmt: skip


def _uptime_s(ray: Any) -> float:
    from ray._private import state

    starts = [int(job.get("StartTime") or 0) / 1000 for job in state.jobs()]
    return max(0.0, time.time() - min(starts, default=time.time()))


def _python() -> str:
    import platform

    return platform.python_version()


def _timeline(ray: Any) -> list[Any]:
    return list(ray.timeline() or [])


_ANSWERS = {
    "resources": _resources,
    "nodes": _nodes,
    "actors": _actors,
    "jobs": _jobs,
    "tasks": _tasks,
    "placement_groups": _placement_groups,
    "summary": _summary,
    "timeline": _timeline,
}


def _list(what: str, limit: int) -> list[dict[str, Any]]:
    from ray.util import state
    from ray.util.state.exception import RayStateApiException

    try:
        rows = getattr(state, _LISTS[what])(limit=limit, detail=True, raise_on_missing_output=False)
    except (RayStateApiException, OSError) as error:
        raise RaySystemError(
            f"the cluster's dashboard, which knows its {what}, does not answer: start the head with `ray start --head --include-dashboard=true` "
            f"(it needs pip install 'ray[default]' there) (Ray says: {' '.join(str(error).split())[:200]})"
        ) from None
    return [_plain(row) for row in rows]


def _plain(row: Any) -> dict[str, Any]:
    fields = row if isinstance(row, dict) else {name: getattr(row, name) for name in getattr(row, "__dataclass_fields__", ())}
    return dict(fields)
