"""`Rollout`: what a runner brings back. T steps of E environments, as arrays that travel through shared memory without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from skate.rl.spaces import Array


@dataclass
class Rollout:
    """
    Args:
        obs: (T + 1, E, *shape): `obs[t + 1]` is what step t led to, the last observation of an episode included.
        actions: (T, E, parts of the action).
        rewards: (T, E) float32.
        terminated, truncated: (T, E): step t ended the episode; cut it off.
        valid: (T, E): False for the step after an episode's end, which only resets: nothing may be learned from it.
        extras: What the policy noted at each step, (T, E, …): "logp", "values", ….
        hidden: (E, units): the state of a recurrent policy before step 0.
        version: Of the weights that acted.
        returns, lengths: Of the episodes that ended.
    """

    obs: Array
    actions: Array
    rewards: Array
    terminated: Array
    truncated: Array
    valid: Array
    extras: dict[str, Array] = field(default_factory=dict)
    hidden: Array | None = None
    version: int = 0
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    runner: int = 0
    seconds: float = 0.0

    @property
    def ended(self) -> Array:
        """Nothing flows from the next step back over these."""
        return self.terminated | self.truncated | ~self.valid

    @property
    def steps(self) -> int:
        """Steps of environments, without those that only reset."""
        return int(self.valid.sum())


def join(rollouts: Sequence[Rollout]) -> Rollout:
    """Rollouts of several runners side by side, in the order of the runners."""
    if len(rollouts) == 1:
        return rollouts[0]
    first = rollouts[0]

    def side_by_side(name: str) -> Array:
        array: Array = np.concatenate([getattr(rollout, name) for rollout in rollouts], axis=1)
        return array

    return Rollout(
        side_by_side("obs"),
        side_by_side("actions"),
        side_by_side("rewards"),
        side_by_side("terminated"),
        side_by_side("truncated"),
        side_by_side("valid"),
        extras={name: np.concatenate([rollout.extras[name] for rollout in rollouts], axis=1) for name in first.extras},
        hidden=None if first.hidden is None else np.concatenate([r.hidden for r in rollouts if r.hidden is not None]),
        version=min(rollout.version for rollout in rollouts),
        returns=[value for rollout in rollouts for value in rollout.returns],
        lengths=[value for rollout in rollouts for value in rollout.lengths],
        seconds=max(rollout.seconds for rollout in rollouts),
    )
