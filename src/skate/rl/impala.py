"""IMPALA: importance weighted actor-learner architecture (Espeholt et al. 2018, arXiv:1802.01561).

    runners:  play T steps with the newest weights they have, send the steps and log μ(a|x); never wait for the learner
    learner:  takes trajectories as they come;  corrects for the policy's lag by V-trace (section 4.1);
              ρ_s (r_s + γ v_{s+1} − V(x_s)) ∇ log π,   (v_s − V(x_s)) ∇ V,   ∇ H                     (section 4.2)

Deviations: Adam; each trajectory is learned `updates_per_rollout` times (once in the paper; corrected by V-trace like any lag), since a small network
on a few cores wants more learning per step. Advantages can be normalised, and are not: once the critic is exact, that makes steps of mere noise (on
CartPole 7 of 13 runs then took more than 190,000 steps and one never got there; without, 15 of 15 took at most 87,000).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skate.rl.actor_critic import ActorCritic, ActorCriticSettings, policy_gradient_loss
from skate.rl.advantages import vtrace
from skate.rl.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class IMPALASettings(ActorCriticSettings):
    """
    Args:
        rho_max, c_max: ρ̄ and c̄, where importance weights are cut.
        trace_lambda: λ of remark 2; 1 in the paper's experiments.
        updates_per_rollout: Updates from each trajectory.
    """

    num_workers: int = 2
    num_envs: int = 16
    lr: float = 1e-3
    rho_max: float = 1.0
    c_max: float = 1.0
    trace_lambda: float = 0.95
    updates_per_rollout: int = 1
    normalize_advantages: bool = False


class IMPALA(ActorCritic[IMPALASettings]):
    """`IMPALA("CartPole-v1", num_workers=2).train(100_000)`."""

    Settings = IMPALASettings
    name = "IMPALA"

    def iterate(self) -> dict[str, float]:
        """Learn from one trajectory of one runner, which plays on meanwhile."""
        s = self.settings
        if self.runners.here is not None:
            rollout = self.runners.sample(self.model.flat, self.version, s.horizon)
        else:
            self.runners.start_resting(self.model.flat, self.version, s.horizon)
            rollout = self.runners.next_ready()
            self.runners.start_resting(self.model.flat, self.version, s.horizon)
        self.note(rollout)
        lag = self.version - rollout.version
        for _ in range(s.updates_per_rollout):
            metrics = self.learn(rollout)
        return {"lag": float(lag), **metrics}

    def learn(self, rollout: Rollout) -> dict[str, float]:
        s = self.settings
        steps, envs = rollout.rewards.shape
        obs = rollout.obs.reshape(-1, *self.observations.shape)
        actions = rollout.actions.reshape(steps * envs, -1)
        now = self.model.infer(obs)
        tensors = {name: self.model.tensor(x if name == "log_std" else x[: steps * envs]) for name, x in now.items()}
        logp = log_prob(self.policy, tensors, self.model.tensor(actions)).reshape(steps, envs)
        targets, advantages = vtrace(
            logp - rollout.extras["logp"],
            rollout.rewards * np.float32(s.reward_scale),
            now["value"].reshape(steps + 1, envs),
            rollout.terminated,
            rollout.ended,
            s.gamma,
            s.rho_max,
            s.c_max,
            s.trace_lambda,
        )
        rows = np.flatnonzero(rollout.valid.reshape(-1))
        advantages = advantages.reshape(-1)[rows]
        if s.normalize_advantages:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        loss, notes = policy_gradient_loss(
            self.model, self.policy, obs[rows], actions[rows], advantages, targets.reshape(-1)[rows], s
        )
        norm = self.optimizer.minimise(loss)
        self.version += 1
        return {"loss": float(loss.item()), "grad_norm": norm, **{name: float(value.item()) for name, value in notes.items()}}


def log_prob(policy: Any, outputs: dict[str, Any], actions: Any) -> Any:
    """As plain numbers, whichever engine the outputs are of."""
    from skate.rl.tape import Tensor

    wrapped = {name: Tensor(x) if isinstance(x, np.ndarray) else x for name, x in outputs.items()}
    logp, _ = policy.log_prob_and_entropy(wrapped, actions)
    return logp.detach() if isinstance(logp, Tensor) else logp.detach().cpu().numpy()
