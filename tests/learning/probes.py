"""Probe environments (after Andy Jones): each fails for one reason only, and the right answer is known.

Constant        one step, reward 1                                      V = 1: is the value learned at all?
Observed        one step, reward = the observation, ±1                  V = o: does the observation reach it?
Discounted      two steps, the reward at the second                     V(first) = γ: does the next value flow back?
Acting          one step, reward 1 for action 0, −1 for action 1        the policy: is it improved?
ActingOnSight   one step, reward 1 where the action matches the observation, else −1
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Probe(gym.Env[Any, Any]):
    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    steps = 1

    def __init__(self, *, is_continuous: bool = False) -> None:
        self.is_continuous = is_continuous
        self.action_space: Any = gym.spaces.Box(-1.0, 1.0, (1,)) if is_continuous else gym.spaces.Discrete(2)
        self.sign, self.at = 1.0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.sign, self.at = float(self.np_random.choice([-1.0, 1.0])), 0
        return self.observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        # A real action counts by how far it is to the right side: there is a gradient everywhere.
        choice = -float(action[0]) if self.is_continuous else 1.0 - 2.0 * float(action)
        reward = self.reward(choice)
        self.at += 1
        return self.observation(), reward, self.at == self.steps, False, {}

    def observation(self) -> Any:
        return np.ones(1, np.float32)  # Not 0, which lets nothing but biases learn.

    def reward(self, choice: float) -> float:
        """`choice` is 1 for action 0, and −1 for action 1."""
        return 1.0


class Constant(Probe):
    pass


class Observed(Probe):
    def observation(self) -> Any:
        return np.array([self.sign], np.float32)

    def reward(self, choice: float) -> float:
        return self.sign


class Discounted(Probe):
    steps = 2

    def observation(self) -> Any:
        return np.array([float(self.at)], np.float32)

    def reward(self, choice: float) -> float:
        return float(self.at == 1)


class Acting(Probe):
    def reward(self, choice: float) -> float:
        return choice


class ActingOnSight(Observed):
    def reward(self, choice: float) -> float:
        return choice * self.sign


class Shuffled(gym.Wrapper[Any, Any, Any, Any]):
    """A negative control: rewards come in another order than they were earned, so nothing can be learned from them."""

    def __init__(self, env: gym.Env[Any, Any], length: int = 64) -> None:
        super().__init__(env)
        self.rng = np.random.default_rng(0)
        self.length = length
        self.rewards: list[float] = []

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.rewards.append(float(reward))
        if len(self.rewards) < self.length:
            return observation, 0.0, terminated, truncated, info
        return observation, self.rewards.pop(int(self.rng.integers(self.length))), terminated, truncated, info
