"""What training decides, as pure functions: how many workers, whether to try again, which checkpoints go.

No I/O, clock or dice here: `controller` and `storage` act.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def choose_world_size(bounds: tuple[int, int], free: Mapping[str, float], per_worker: Mapping[str, float]) -> int:
    """As many workers as fit into what is free, within bounds; 0 when not even the least do."""
    least, most = bounds
    fits = most
    for resource, amount in per_worker.items():
        if amount > 0:
            fits = min(fits, math.floor(free.get(resource, 0.0) / amount + 1e-6))
    return fits if fits >= least else 0


def may_retry(failures: int, max_failures: int) -> bool:
    """Whether training starts again after its `failures`-th failure."""
    return max_failures < 0 or failures <= max_failures


def non_finite(metrics: Mapping[str, Any]) -> str:
    """The first metric that is NaN or infinite; "" for none."""
    for name, value in metrics.items():
        if isinstance(value, float) and not math.isfinite(value):
            return name
    return ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint as the choice sees it."""

    index: int
    score: float | None  # None: it has no such metric, so it is worse than all that have.


def choose_dropped(kept: Sequence[Kept], num_to_keep: int | None, order: str) -> list[int]:
    """The indices of the checkpoints to delete: the worst beyond `num_to_keep`. Never the latest, because training resumes from it.

    Args:
        kept: What there is, in any order.
        order: "max" or "min": which score is best. Without scores, later is better.
    """
    if num_to_keep is None or len(kept) <= num_to_keep:
        return []
    sign = 1.0 if order == "max" else -1.0
    latest = max(one.index for one in kept)

    def goodness(one: Kept) -> tuple[float, int]:
        # Ties go to the later one. NaN is worse than everything.
        score = -math.inf if one.score is None or math.isnan(one.score) else sign * one.score
        return score, one.index

    best_first = sorted(kept, key=goodness, reverse=True)
    return sorted(one.index for one in best_first[num_to_keep:] if one.index != latest)


def rows_until(rows: Sequence[Mapping[str, Any]], iteration: int) -> list[dict[str, Any]]:
    """The history that stays when training goes back to the checkpoint of `iteration`: what came after is trained again."""
    return [dict(row) for row in rows if row.get("training_iteration", 0) <= iteration]
