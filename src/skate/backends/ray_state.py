"""A Ray cluster's state, by Ray's state API, as the rows of `skate.state`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIMIT = 10_000

_LISTS = {
    "tasks": "list_tasks",
    "actors": "list_actors",
    "objects": "list_objects",
    "workers": "list_workers",
    "jobs": "list_jobs",
}


def query(ray: Any, what: str, params: Mapping[str, Any]) -> Any:
    """What `Backend.query` answers.

    Raises:
        NotImplementedError: Ray has no such answer.
    """
    if what == "resources":
        return {"total": dict(ray.cluster_resources()), "available": dict(ray.available_resources())}
    if what == "nodes":
        return [
            {
                "node_id": node["NodeID"], "state": "ALIVE" if node["Alive"] else "DEAD", "node_ip": node.get("NodeManagerAddress", ""),
                "node_name": node.get("NodeName", ""), "is_head_node": "node:__internal_head__" in node.get("Resources", {}),
                "resources_total": dict(node.get("Resources", {})), "labels": dict(node.get("Labels", {})),
            }
            for node in ray.nodes()
        ]  # fmt: skip
    if what == "placement_groups":
        return [dict(row) for row in ray.util.placement_group_table().values()]
    if what == "timeline":
        return ray.timeline() or []
    if what in _LISTS:
        from ray.util import state

        return [_plain(row) for row in getattr(state, _LISTS[what])(limit=LIMIT, detail=True, raise_on_missing_output=False)]
    raise NotImplementedError(f"a Ray cluster does not tell {what!r} by its state API: see docs/how-to/run-on-ray.md")


def _plain(row: Any) -> dict[str, Any]:
    fields = row if isinstance(row, dict) else {name: getattr(row, name) for name in getattr(row, "__dataclass_fields__", ())}
    return dict(fields)
