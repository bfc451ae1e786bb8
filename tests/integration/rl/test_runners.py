"""Runners as actors: what they bring back, and what happens when one dies, hangs or fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import skate
from skate.rl import PPO, EnvironmentFailedError


@pytest.fixture(autouse=True)
def engine() -> Iterator[None]:
    skate.init(num_cpus=2)
    yield
    skate.shutdown()


class Fragile(gym.Env[Any, Any]):
    """Goes well for some steps; then what `fault` says."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, fault: str, at: int) -> None:
        self.fault, self.at, self.count = fault, at, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        if self.count == self.at:
            match self.fault:
                case "raise":
                    raise ZeroDivisionError("the pole fell through the floor")
                case "hang":
                    while True:
                        time.sleep(0.05)
                case "nan":
                    return np.array([np.nan, 0.0], np.float32), 0.0, False, False, {}
        return np.zeros(2, np.float32), 1.0, False, False, {}


def test_a_killed_runner_is_replaced_and_training_goes_on() -> None:
    with PPO("CartPole-v1", num_workers=2) as ppo:
        ppo.train(512)
        pid = skate.get(ppo.runners.actors[0].__ray_call__.remote(lambda self: os.getpid()))
        os.kill(pid, signal.SIGKILL)
        result = ppo.train(4096)
        assert result.steps >= 4096
        assert ppo.runners.replaced == 1


@pytest.mark.parametrize(("fault", "message"), [("raise", "the pole fell"), ("nan", "observation that is not finite")])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_faulty_environment_is_named_with_seed_and_step(fault: str, message: str, num_workers: int) -> None:
    with PPO(lambda: Fragile(fault, 40), num_envs=2, num_workers=num_workers, horizon=16) as ppo:
        with pytest.raises(EnvironmentFailedError, match=message) as caught:
            ppo.train(10_000)
        assert "seed" in str(caught.value)
        assert "step 4" in str(caught.value)  # 40, or 48 at the end of the rollout that held the NaN, with how long ago it was.


def test_a_hanging_environment_is_named_with_seed_and_step() -> None:
    with PPO(lambda: Fragile("hang", 40), num_envs=2, num_workers=2, horizon=16, runner_timeout_s=1.0) as ppo:
        with pytest.raises(EnvironmentFailedError, match=r"has not come back for 1 s: .*seed \d+, step 40"):
            ppo.train(10_000)


def test_each_batch_carries_the_version_of_its_weights() -> None:
    with PPO("CartPole-v1", num_workers=2) as ppo:
        ppo.train(1024)
        rollout = ppo.runners.sample(ppo.model.flat, ppo.version, 8)
        assert rollout.version == ppo.version > 0
        assert rollout.obs.shape == (9, 8, 4)
