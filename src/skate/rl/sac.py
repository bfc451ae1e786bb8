"""SAC: soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905), with the temperature learned (section 5).

    y = R + γ (min_i Q'_i(s′, a′) − α log π(a′|s′)),  a′ ~ π       both critics learn y                          equation 6
    actor:        minimise  α log π(a|s) − min_i Q_i(s, a),  a = tanh(μ + σ ε)                                  equation 9
    temperature:  minimise  −α (log π(a|s) + H̄),  H̄ = −dim(A)                                                  equation 18

Deviations: several environments at once; actions are drawn uniformly until learning starts; log σ is bounded by a smooth map to [−5, 2].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skate.rl.networks import Model, make_model
from skate.rl.policies import LOG_2PI
from skate.rl.replay import Transitions
from skate.rl.spaces import ActionShape, Array
from skate.rl.td3 import ReplayControl, ReplayControlSettings, scale_to_space

_LOG_STD = (-5.0, 2.0)
_MIDDLE, _HALF = (_LOG_STD[0] + _LOG_STD[1]) / 2, (_LOG_STD[1] - _LOG_STD[0]) / 2


@dataclass(frozen=True, kw_only=True)
class SACSettings(ReplayControlSettings):
    """
    Args:
        alpha: The temperature at the start.
        learn_alpha: Whether it changes.
        target_entropy: H̄; 0: −dim(A).
    """

    alpha: float = 0.2
    learn_alpha: bool = True
    target_entropy: float = 0.0


@dataclass
class SquashedGaussian:
    """tanh of a normal distribution (appendix C)."""

    actions: ActionShape
    is_random: bool = True

    def act(self, model: Model, obs: Array, rng: np.random.Generator, *, greedy: bool = False) -> tuple[Array, dict[str, Array]]:
        if greedy:
            return scale_to_space(np.tanh(model.infer(obs, ("policy",))["policy"]), self.actions), {}
        if self.is_random:
            chosen = rng.uniform(-1, 1, (len(obs), self.actions.dimensions)).astype(np.float32)
        else:
            chosen, _ = draw(model, obs, rng)
        return scale_to_space(chosen, self.actions), {}


def draw(model: Model, obs: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Actions and their log probabilities, without gradients."""
    outputs = model.infer(obs)
    log_std = _MIDDLE + _HALF * np.tanh(outputs["log_std"])
    noise = rng.standard_normal(log_std.shape, np.float32)
    before = outputs["policy"] + np.exp(log_std) * noise
    # log(1 − tanh²x) = 2 (log 2 − x − softplus(−2x)), which does not lose the ends.
    squash = 2.0 * (math.log(2.0) - before - np.logaddexp(-2.0 * before, 0.0))
    logp = (-0.5 * noise * noise - log_std - 0.5 * LOG_2PI - squash).sum(1)
    return np.tanh(before).astype(np.float32), logp.astype(np.float32)


def draw_differentiably(model: Model, obs: Any, noise: Array) -> tuple[Any, Any]:
    """The same of given noise, for the actor's loss."""
    outputs = model(obs)
    log_std = outputs["log_std"].tanh() * _HALF + _MIDDLE
    noise = model.tensor(noise)
    before = outputs["policy"] + log_std.exp() * noise
    squash = (before + (before * -2.0).logaddexp(model.tensor(np.zeros(noise.shape, np.float32))) - math.log(2.0)) * -2.0
    logp = (log_std * -1.0 - squash + (noise * noise * -0.5 - 0.5 * LOG_2PI)).sum(-1)
    return before.tanh(), logp


class SAC(ReplayControl):
    """`SAC("Pendulum-v1").train(10_000)`."""

    Settings = SACSettings
    name = "SAC"
    families: ClassVar = {}

    def build(self) -> None:
        s = self.settings
        d = self.actions.dimensions
        spec, critic_spec = self.check_and_spec({"policy": d, "log_std": d})
        self.model = make_model(spec, self.seed, s.framework, s.device)
        self.policy = SquashedGaussian(self.actions)
        self.log_alpha = math.log(s.alpha)
        self._alpha_moments = (0.0, 0.0)
        self.build_critics(critic_spec)

    def learn(self, rows: Transitions, actions: Array) -> dict[str, float]:
        s, alpha = self.settings, math.exp(self.log_alpha)
        next_actions, next_logp = draw(self.model, rows.next_obs, self.rng)
        y = rows.rewards + rows.discounts * (self.next_q(rows.next_obs, next_actions) - alpha * next_logp)
        critic_loss = self.learn_critics(rows.obs, actions, y)

        obs = self.model.tensor(rows.obs)
        chosen, logp = draw_differentiably(self.model, obs, self.rng.standard_normal(actions.shape, np.float32))
        q = self.critic(self.model.concatenate([obs, chosen]))
        loss = (logp * alpha - q["q1"].minimum(q["q2"]).sum(-1)).mean()
        self.optimizer.minimise(loss)
        entropy = -float(np.asarray(logp.detach()).mean())
        if s.learn_alpha:
            self._learn_alpha(alpha * (entropy - (s.target_entropy or -float(self.actions.dimensions))))
        self.follow(self.critic_target, self.critic)
        return {"loss": float(loss.item()), "critic_loss": critic_loss, "entropy": entropy, "alpha": alpha}

    def _learn_alpha(self, gradient: float) -> None:
        """Adam, on one number."""
        t = self.updates + 1
        mean, variance = self._alpha_moments
        mean, variance = 0.9 * mean + 0.1 * gradient, 0.999 * variance + 0.001 * gradient**2
        self._alpha_moments = (mean, variance)
        self.log_alpha -= self.settings.lr * (mean / (1 - 0.9**t)) / (math.sqrt(variance / (1 - 0.999**t)) + 1e-8)

    def extra_state(self) -> dict[str, Any]:
        return {**super().extra_state(), "alpha": (self.log_alpha, self._alpha_moments)}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        self.log_alpha, self._alpha_moments = state["alpha"]
