"""A run's page in the web UI: what `skate.publish("training", …)` is given. Its curves come by `skate.report`, on the UI's page of curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_CHECKPOINTS_MAX = 50


def training_page(
    *,
    state: str,
    framework: str,
    workers: Iterable[Mapping[str, Any]],
    world_sizes: Sequence[int],
    failures: int,
    last_error: str,
    metrics: Mapping[str, Any],
    checkpoints: Sequence[Mapping[str, Any]],
    path: str,
) -> dict[str, Any]:
    """The document, with how it is to be drawn.

    Args:
        workers: {"rank", "reports", "state"} of the attempt that runs.
        world_sizes: Workers of each attempt so far.
        last_error: Why the last attempt ended early; "" when none did.
        checkpoints: {"checkpoint", "report", …metrics}, the oldest first.
    """
    facts: dict[str, Any] = {"state": state.lower(), "framework": framework}
    if world_sizes:
        facts["workers"] = " → ".join(map(str, world_sizes[-10:]))
    if failures:
        facts["failures"] = failures
    facts["results"] = path
    shown = {name: value for name, value in metrics.items() if isinstance(value, int | float) and name != "timestamp"}
    sections: list[dict[str, Any]] = [{"type": "stats", "values": facts}]
    if last_error:
        sections.append({"type": "text", "title": "Last failure", "text": last_error})
    if shown:
        sections.append({"type": "stats", "title": "Last report", "values": shown})
    rows = [dict(worker) for worker in workers]
    if rows:
        sections.append({"type": "table", "title": "Workers", "rows": rows})
    if checkpoints:
        latest_first = [dict(one) for one in reversed(checkpoints[-_CHECKPOINTS_MAX:])]
        sections.append({"type": "table", "title": "Checkpoints", "rows": latest_first})
    return {"state": state, "sections": sections}
