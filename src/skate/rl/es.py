"""ES: evolution strategies (Salimans et al. 2017, arXiv:1703.03864).

    repeat:  ε_1 … ε_n ~ N(0, I), each also as −ε (mirrored sampling);  F_i = return of θ + σ ε_i          algorithm 2
             θ ← θ + α · 1/(n σ) Σ rank(F_i) ε_i                                        ranks from −½ to ½ (section 2.1)

Runners get θ and a seed, remake the noise from it, and send back returns only. A runner's environments each play with weights of their own, all in one
batched product. Deviations: Adam's step; no virtual batch normalisation; real actions are the outputs, without noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skate.rl.algorithm import Algorithm
from skate.rl.env_runner import EnvRunner, seeds_unseen
from skate.rl.learner import Adam
from skate.rl.networks import ModelSpec, NumpyModel
from skate.rl.policies import clip_to_space, stochastic_policy
from skate.rl.rollout import Rollout
from skate.rl.settings import Settings
from skate.rl.spaces import Array


@dataclass(frozen=True, kw_only=True)
class ESSettings(Settings):
    """
    Args:
        num_envs: The population 2n: an environment plays one whole episode with θ + σε, its neighbour with θ − σε.
        sigma: σ, the size of the noise.
        weight_decay: Of θ, each generation.
    """

    num_envs: int = 64
    lr: float = 0.05
    sigma: float = 0.2
    weight_decay: float = 0.005
    hidden: tuple[int, ...] = (16,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.envs_per_runner % 2:
            raise ValueError(f"each runner needs an even number of environments (pairs of ε and −ε), not {self.envs_per_runner}")


def mirrored_noise(seed: int, pairs: int, size: int) -> Array:
    """Rows ε_1, −ε_1, ε_2, −ε_2, …"""
    noise = np.random.default_rng(seed).standard_normal((pairs, size), np.float32)
    return np.stack([noise, -noise], 1).reshape(2 * pairs, size)


class PopulationRunner(EnvRunner):
    """Plays one episode with each member of the population."""

    def sample(self, weights: Array | None, version: int, steps: int, policy_settings: dict[str, Any] | None = None) -> Rollout:
        options = policy_settings or {}
        seed = seeds_unseen(self.spec.seed, (self.index + 1, version))
        assert weights is not None
        population = weights + options["sigma"] * mirrored_noise(seed, self.num_envs // 2, len(weights))
        self._envs.reseed([int(x) & 0x7FFFFFFF for x in np.random.SeedSequence(seed).generate_state(self.num_envs)])
        obs, over = self._envs.reset(), np.zeros(self.num_envs, bool)
        returns, lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        assert isinstance(self.model, NumpyModel)
        while not over.all():
            outputs = self.model.infer_each(population, obs, "policy")
            actions = greedy_actions(outputs, self.policy.actions)
            obs, rewards, terminated, truncated = self._envs.step(clip_to_space(actions, self.policy.actions))
            returns += rewards * ~over
            lengths += ~over
            over |= terminated | truncated
        empty = np.zeros((0, self.num_envs))
        return Rollout(
            empty, empty, empty, empty, empty, np.ones((int(lengths.sum()), 1), bool), {"seed": np.asarray(seed), "returns": returns},
            None, version, returns.tolist(), lengths.tolist(), self.index,
        )  # fmt: skip


def greedy_actions(outputs: Array, actions: Any) -> Array:
    if not actions.is_discrete:
        return outputs
    borders = np.cumsum(actions.categories)[:-1]
    return np.stack([part.argmax(1) for part in np.split(outputs, borders, axis=1)], 1)


def centred_ranks(values: Array) -> Array:
    """−½ for the worst, ½ for the best; equal values share a rank, so that a population of equals moves nowhere."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return ((first + (counts - 1) / 2)[place] / max(1, len(values) - 1) - 0.5).astype(np.float32)


class ES(Algorithm[ESSettings]):
    """`ES("CartPole-v1", num_workers=2).train(500_000)`."""

    Settings = ESSettings
    name = "ES"
    families: ClassVar = {"continuous": {"num_envs": 128}}

    def build(self) -> None:
        s = self.settings
        if self.observations.is_image or s.network is not None:
            raise ValueError("ES plays each environment with weights of its own, which is done for perceptrons over vectors only")
        free = {} if self.actions.is_discrete else {"log_std": [0.0] * self.actions.dimensions}
        spec = ModelSpec(self.observations.shape, {"policy": self.actions.policy_outputs}, s.hidden, s.activation, free=free)
        self.model = NumpyModel(spec, self.seed)
        self.policy = stochastic_policy(self.actions)
        self.optimizer = Adam(self.model, s.lr)
        self.runners = self.make_runners(PopulationRunner)

    def iterate(self) -> dict[str, float]:
        """One generation."""
        s, size = self.settings, self.model.flat.size
        options = {"sigma": s.sigma}
        if self.runners.here is not None:
            results = [self.runners.sample(self.model.flat, self.version, 0, options)]
        else:
            self.runners.start_resting(self.model.flat, self.version, 0, options)
            results = self.runners.collect()
        for result in results:
            self.note(result)
        ranks = np.split(centred_ranks(np.concatenate([result.extras["returns"] for result in results])), len(results))
        gradient: Array = np.zeros(size, np.float32)
        for result, rank in zip(results, ranks, strict=True):
            gradient -= rank @ mirrored_noise(int(result.extras["seed"]), s.envs_per_runner // 2, size)
        gradient = gradient / np.float32(s.num_envs * s.sigma) + s.weight_decay * self.model.flat
        norm = self.optimizer.apply(gradient)
        self.version += 1
        return {"grad_norm": norm, "weight_norm": float(np.linalg.norm(self.model.flat))}
