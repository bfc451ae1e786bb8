"""A2C: the synchronous form of A3C (Mnih et al. 2016, arXiv:1602.01783, section 4; Wu et al. 2017).

    repeat:  E environments play t_max steps;  R_t = n-step returns, bootstrapped;  one update by  ∇ log π · (R − V),  ∇ (R − V)²,  ∇ H

Deviations: Adam instead of shared RMSProp; two networks unless `shared`; advantages come from GAE, and λ = 1 is the paper's n-step return.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skate.rl.actor_critic import ActorCritic, ActorCriticSettings, policy_gradient_loss
from skate.rl.advantages import gae
from skate.rl.networks import Model
from skate.rl.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class A2CSettings(ActorCriticSettings):
    """
    Args:
        gae_lambda: λ; 1 for n-step returns.
        normalize_advantages: Zero mean and unit variance over each batch.
    """

    num_envs: int = 16
    lr: float = 3e-3
    gae_lambda: float = 0.95
    normalize_advantages: bool = True


def a2c_gradients(model: Model, policy: Any, rollout: Rollout, s: Any) -> tuple[Any, dict[str, Any]]:
    """The loss of one rollout; also what A3C's runners differentiate."""
    steps, envs = rollout.rewards.shape
    obs = rollout.obs.reshape(-1, *rollout.obs.shape[2:])
    values = model.infer(obs, ("value",))["value"].reshape(steps + 1, envs)
    rewards = rollout.rewards * np.float32(s.reward_scale)
    advantages, returns = gae(rewards, values, rollout.terminated, rollout.ended, s.gamma, s.gae_lambda)
    rows = np.flatnonzero(rollout.valid.reshape(-1))
    advantages = advantages.reshape(-1)[rows]
    if s.normalize_advantages:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    actions = rollout.actions.reshape(steps * envs, -1)
    return policy_gradient_loss(model, policy, obs[rows], actions[rows], advantages, returns.reshape(-1)[rows], s)


class A2C(ActorCritic[A2CSettings]):
    """`A2C("CartPole-v1").train(100_000)`."""

    Settings = A2CSettings
    name = "A2C"

    def iterate(self) -> dict[str, float]:
        rollout = self.runners.sample(self.model.flat, self.version, self.settings.horizon)
        self.note(rollout)
        loss, notes = a2c_gradients(self.model, self.policy, rollout, self.settings)
        norm = self.optimizer.minimise(loss)
        self.version += 1
        return {"loss": float(loss.item()), "grad_norm": norm, **{name: float(value.item()) for name, value in notes.items()}}
