"""Policies over a model's outputs: how actions are drawn (NumPy, in runners) and how likely they were (differentiable, in learners).

`act(model, obs, rng)` gives the actions, as rows of the action space's parts, and what the learner wants to know about them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from skate.rl.networks import Model
from skate.rl.spaces import ActionShape, Array

LOG_2PI = math.log(2 * math.pi)


class Policy(Protocol):
    actions: ActionShape

    def act(
        self, model: Model, obs: Array, rng: np.random.Generator, *, greedy: bool = False
    ) -> tuple[Array, dict[str, Array]]: ...


@dataclass
class Categorical:
    """A softmax over each part of a discrete action."""

    actions: ActionShape

    def act(self, model: Model, obs: Array, rng: np.random.Generator, *, greedy: bool = False) -> tuple[Array, dict[str, Array]]:
        logits = model.infer(obs, ("policy",))["policy"]
        rows = np.arange(len(logits))
        chosen = np.empty((len(logits), len(self.actions.categories)), np.int64)
        logp = np.zeros(len(logits), np.float32)
        first = 0
        for part, n in enumerate(self.actions.categories):
            z = logits[:, first : first + n]
            first += n
            z = z - z.max(1, keepdims=True)
            p = np.exp(z)
            total = p.sum(1, keepdims=True)
            if greedy:
                chosen[:, part] = z.argmax(1)
            else:  # The inverse of the distribution function. The last category takes what rounding leaves.
                chosen[:, part] = (p.cumsum(1)[:, :-1] < rng.random((len(z), 1)) * total).sum(1)
            logp += z[rows, chosen[:, part]] - np.log(total[:, 0])
        return chosen, {"logp": logp}

    def log_prob_and_entropy(self, outputs: dict[str, Any], actions: Any) -> tuple[Any, Any]:
        logits = outputs["policy"]
        logp = entropy = None
        first = 0
        for part, n in enumerate(self.actions.categories):
            z = (logits if n == logits.shape[-1] else logits[:, first : first + n]).log_softmax(-1)
            first += n
            one = z.gather(-1, actions[:, part : part + 1]).sum(-1)
            spread = -(z.exp() * z).sum(-1)
            logp = one if logp is None else logp + one
            entropy = spread if entropy is None else entropy + spread
        return logp, entropy


@dataclass
class Gaussian:
    """Independent normal distributions, σ not depending on the observation (Schulman et al. 2017); clipped to the space when acted out."""

    actions: ActionShape

    def act(self, model: Model, obs: Array, rng: np.random.Generator, *, greedy: bool = False) -> tuple[Array, dict[str, Array]]:
        outputs = model.infer(obs, ("policy",))
        mean, log_std = outputs["policy"], outputs["log_std"]
        noise = np.zeros_like(mean) if greedy else rng.standard_normal(mean.shape, np.float32)
        logp = -0.5 * (noise * noise + LOG_2PI).sum(1) - log_std.sum()
        return mean + np.exp(log_std) * noise, {"logp": logp.astype(np.float32)}

    def log_prob_and_entropy(self, outputs: dict[str, Any], actions: Any) -> tuple[Any, Any]:
        mean, log_std = outputs["policy"], outputs["log_std"]
        z = (mean - actions) * (-log_std).exp()
        logp = (z.square() * -0.5 - log_std - 0.5 * LOG_2PI).sum(-1)
        entropy = (log_std + 0.5 * (1.0 + LOG_2PI)).sum() + mean[:, 0] * 0.0
        return logp, entropy


def stochastic_policy(actions: ActionShape) -> Categorical | Gaussian:
    return Categorical(actions) if actions.is_discrete else Gaussian(actions)


def clip_to_space(chosen: Array, actions: ActionShape) -> Array:
    """What the environment gets of a real action; the learner keeps the unclipped one, whose probability is known."""
    if actions.is_discrete:
        return chosen
    return np.clip(chosen, np.asarray(actions.low, np.float32), np.asarray(actions.high, np.float32))
