"""A3C: asynchronous advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783, algorithm S3).

    each runner, by itself:   θ' ← θ;  play t_max steps with π(θ');  dθ ← ∇ of its own loss;  hand dθ in
    learner:                  apply each dθ as it comes, to the newest θ;  the runner gets the newest θ and goes on

Nobody waits for anybody: gradients are of weights that others have changed meanwhile (`lag` in the metrics says by how many updates). Each
runner steps several environments at once, where a thread of the paper had one. Deviations: Adam with its statistics at the learner (the
paper's shared RMSProp); runners are processes, weights come through shared memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skate.rl.a2c import A2CSettings, a2c_gradients
from skate.rl.actor_critic import ActorCritic
from skate.rl.env_runner import EnvRunner
from skate.rl.rollout import Rollout
from skate.rl.spaces import Array


@dataclass(frozen=True, kw_only=True)
class A3CSettings(A2CSettings):
    """As A2C's; `num_workers` are the runners that compute gradients."""

    num_workers: int = 2
    num_envs: int = 16
    lr: float = 2e-3


class GradientRunner(EnvRunner):
    """Plays, and brings back the gradient instead of the steps."""

    def sample(self, weights: Array | None, version: int, steps: int, policy_settings: dict[str, Any] | None = None) -> Rollout:
        rollout = super().sample(weights, version, steps, policy_settings)
        loss, notes = a2c_gradients(self.model, self.policy, rollout, self.spec.options["settings"])
        rollout.extras = {"gradient": self.model.gradient(loss), "loss": np.asarray(loss.item())}
        rollout.extras.update({name: np.asarray(value.item()) for name, value in notes.items()})
        rollout.obs = rollout.obs[:0]  # They stay here: only the gradient travels.
        return rollout


class A3C(ActorCritic[A3CSettings]):
    """`A3C("CartPole-v1", num_workers=2).train(100_000)`."""

    Settings = A3CSettings
    name = "A3C"
    runner = GradientRunner

    def iterate(self) -> dict[str, float]:
        """Take in one gradient."""
        horizon = self.settings.horizon
        if self.runners.here is not None:
            result = self.runners.sample(self.model.flat, self.version, horizon)
        else:
            self.runners.start_resting(self.model.flat, self.version, horizon)  # The one whose gradient came last; at first all.
            result = self.runners.next_ready()
        lag = self.version - result.version
        norm = self.optimizer.apply(result.extras["gradient"])
        self.version += 1
        self.note(result)
        names = ("loss", "policy_loss", "value_loss", "entropy")
        return {"lag": float(lag), "grad_norm": norm, **{name: float(result.extras[name]) for name in names}}
