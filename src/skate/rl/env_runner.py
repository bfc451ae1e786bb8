"""`EnvRunner`: steps a batch of environments with a policy. The same class runs in this process and as an actor.

It needs the weights (a flat vector, a read-only view of shared memory), and gives a `Rollout`. All chance comes from its seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skate.rl.environments import EnvironmentFailedError, MakeEnv, first_not_finite, make_environments
from skate.rl.networks import ModelSpec, make_model, set_threads
from skate.rl.policies import Policy, clip_to_space
from skate.rl.rollout import Rollout
from skate.rl.spaces import Array


@dataclass(frozen=True)
class RunnerSpec:
    """What all runners of a training have in common."""

    env: MakeEnv
    num_envs: int
    policy: Policy
    model: ModelSpec
    framework: str = "auto"
    seed: int = 0
    cpus: float = 0.0
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    runner: type[Any] | None = None  # A subclass of EnvRunner that also does part of the learning.
    options: dict[str, Any] = field(default_factory=dict)  # For that subclass.


class EnvRunner:
    """
    Args:
        index: Of this runner; -1 for the one in the learner's process. A runner's seed follows from it and from the training's.
        life: How often the runner of this index was replaced: a new life does not repeat the old one's episodes.
    """

    def __init__(self, spec: RunnerSpec, index: int = -1, life: int = 0) -> None:
        if index >= 0:
            set_threads(int(spec.cpus))
        self.spec = spec
        self.index = index
        seeds = np.random.SeedSequence([spec.seed, index + 1, life])
        self._rng = np.random.default_rng(seeds)
        env_seeds = [int(word) & 0x7FFFFFFF for word in seeds.spawn(1)[0].generate_state(spec.num_envs)]
        self.policy = spec.policy
        self.model = make_model(spec.model, 0, spec.framework, "cpu")
        self._envs = make_environments(spec.env, spec.num_envs, env_seeds, **spec.env_kwargs)
        self.num_envs = self._envs.num_envs
        self._obs = self._envs.reset().copy()
        self._was_over = np.zeros(self.num_envs, bool)
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, np.int64)
        self._version = -1

    def sample(self, weights: Array | None, version: int, steps: int, policy_settings: dict[str, Any] | None = None) -> Rollout:
        """Play `steps` steps in each environment.

        Args:
            weights: None: those of the last call.
            policy_settings: Attributes of the policy to change first, such as an exploration rate.

        Raises:
            EnvironmentFailedError: With the environment's seed and step.
        """
        started = time.perf_counter()
        if weights is not None:
            self.model.flat = weights
            self._version = version
        for name, value in (policy_settings or {}).items():
            setattr(self.policy, name, value)
        shape = (steps, self.num_envs)
        obs = np.empty((steps + 1, *self._obs.shape), self._obs.dtype)
        rewards = np.empty(shape, np.float32)
        terminated, truncated, valid = (np.empty(shape, bool) for _ in range(3))
        actions: Array | None = None
        extras: dict[str, Array] = {}
        returns: list[float] = []
        lengths: list[int] = []
        is_recurrent = self.spec.model.recurrent > 0
        hidden = self.model.hidden_state(self.num_envs) if is_recurrent else None  # type: ignore[attr-defined]
        obs[0] = self._obs
        for t in range(steps):
            if is_recurrent:
                self.model.forget(self._was_over)  # type: ignore[attr-defined]
            chosen, notes = self.policy.act(self.model, obs[t], self._rng)
            if actions is None:
                actions = np.empty((steps, *chosen.shape), chosen.dtype)
                extras = {name: np.empty((steps, *note.shape), note.dtype) for name, note in notes.items()}
            actions[t] = chosen
            for name, note in notes.items():
                extras[name][t] = note
            obs[t + 1], rewards[t], terminated[t], truncated[t] = self._envs.step(clip_to_space(chosen, self.policy.actions))
            valid[t] = ~self._was_over
            rewards[t] *= valid[t]  # Some vectors reward the reset.
            self._was_over = terminated[t] | truncated[t]
            self._return += rewards[t]
            self._length += valid[t]
            ends = self._was_over & valid[t]  # An agent that is out before the others stays over: that is one end.
            if ends.any():
                returns.extend(self._return[ends].tolist())
                lengths.extend(self._length[ends].tolist())
                self._return[ends] = 0.0
                self._length[ends] = 0
        assert actions is not None
        self._obs = obs[-1].copy()
        self._check(obs, rewards)
        return Rollout(
            obs, actions, rewards, terminated, truncated, valid, extras, hidden, self._version, returns, lengths,
            self.index, time.perf_counter() - started,
        )  # fmt: skip

    def where(self) -> str:
        """Which environment is being stepped now; asked from another thread when `sample` does not come back."""
        index, _, _ = self._envs.position
        return self._envs.describe(index)

    def ready(self) -> int:
        return self.num_envs

    def close(self) -> None:
        self._envs.close()

    def _check(self, obs: Array, rewards: Array) -> None:
        steps = len(rewards)
        for what, values in (("reward", rewards), ("observation", obs)):
            found = first_not_finite(values)
            if found is not None:
                back = steps - found[0] - (1 if what == "reward" else 0)
                raise EnvironmentFailedError(
                    f"{self._envs.describe(found[1])} returned a {what} that is not finite, {back} steps before that"
                    if back
                    else f"{self._envs.describe(found[1])} returned a {what} that is not finite"
                )


def play(runner_spec: RunnerSpec, weights: Array, episodes: int, *, greedy: bool = True) -> tuple[list[float], list[int]]:
    """Returns and lengths of whole episodes, the first ones of each environment: short episodes are not preferred."""
    runner = EnvRunner(runner_spec, -1)
    runner.model.flat = weights
    envs, policy, model = runner._envs, runner.policy, runner.model
    share = -(-episodes // runner.num_envs)
    returns: list[list[float]] = [[] for _ in range(runner.num_envs)]
    lengths: list[list[int]] = [[] for _ in range(runner.num_envs)]
    obs, was_over = runner._obs, np.zeros(runner.num_envs, bool)
    total, length = np.zeros(runner.num_envs), np.zeros(runner.num_envs, np.int64)
    while min(map(len, returns)) < share:
        if runner_spec.model.recurrent:
            model.forget(was_over)  # type: ignore[attr-defined]
        chosen, _ = policy.act(model, obs, runner._rng, greedy=greedy)
        obs, rewards, terminated, truncated = envs.step(clip_to_space(chosen, policy.actions))
        total += rewards * ~was_over
        length += ~was_over
        ends = (terminated | truncated) & ~was_over
        was_over = terminated | truncated
        for index in np.flatnonzero(ends):
            if len(returns[index]) < share:
                returns[index].append(float(total[index]))
                lengths[index].append(int(length[index]))
            total[index], length[index] = 0.0, 0
    runner.close()
    flat = [value for one in returns for value in one][:episodes]
    return flat, [value for one in lengths for value in one][:episodes]


def seeds_unseen(seed: int, purpose: Sequence[int] = (0xE7A1,)) -> int:
    """A seed that no runner of this training has."""
    return int(np.random.SeedSequence([seed, *purpose]).generate_state(1)[0]) & 0x7FFFFFFF
