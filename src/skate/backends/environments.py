"""Runtime environments as the engine compares them: merged, and in one canonical form. Two tasks share workers when their texts are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> dict[str, Any]:
    """The program's (or parent's) environment with the task's over it. Variables are merged one by one, the rest key by key."""
    merged = {**outer, **inner}
    if outer.get("env_vars") and inner.get("env_vars"):
        merged["env_vars"] = {**outer["env_vars"], **inner["env_vars"]}
    return merged


def canonical(env: Mapping[str, Any]) -> str:
    """JSON with sorted keys; "" for an environment that says nothing."""
    told = {key: value for key, value in env.items() if value not in (None, {}, [], "")}
    if not told:
        return ""
    import json

    return json.dumps(told, sort_keys=True, default=str)
