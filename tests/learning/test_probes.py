"""Every algorithm learns the probes, in seconds; and the negative controls, which must not learn, do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from skate import rl
from tests.learning.probes import Acting, ActingOnSight, Constant, Discounted, Observed, Shuffled

SMALL: dict[str, dict[str, Any]] = {
    "PPO": {"lr": 3e-3},
    "A2C": {"lr": 1e-2},
    "A3C": {"lr": 1e-2, "num_workers": 0},
    "IMPALA": {"lr": 1e-2, "num_workers": 0},
    "DQN": {"learning_starts": 100, "target_every": 20, "epsilon_steps": 500},
    "ApeX": {"num_workers": 0, "learning_starts": 200, "target_every": 20},
    "SAC": {"learning_starts": 100, "tau": 0.05, "batch": 64},
    "TD3": {"learning_starts": 100, "tau": 0.05, "batch": 64},
    "ES": {},
}
STEPS = {
    "PPO": 3000,
    "A2C": 12_000,
    "A3C": 12_000,
    "IMPALA": 12_000,
    "DQN": 1500,
    "ApeX": 3000,
    "SAC": 700,
    "TD3": 700,
    "ES": 4000,
}
HAVE_V = ["PPO", "A2C", "A3C", "IMPALA"]
CONTINUOUS = ["SAC", "TD3"]


def train(name: str, env: Callable[..., Any], **changes: Any) -> Any:
    def make() -> Any:
        return env(is_continuous=name in CONTINUOUS)

    algorithm = getattr(rl, name)(make, seed=0, gamma=0.5, **{**SMALL[name], **changes})
    algorithm.train(STEPS[name])
    return algorithm


def value(algorithm: Any, *observations: float) -> Any:
    """What the algorithm holds an observation worth: V, or the best of Q."""
    obs = np.asarray(observations, np.float32)[:, None]
    if algorithm.name in HAVE_V:
        return algorithm.model.infer(obs)["value"][:, 0]
    if algorithm.name in ("DQN", "ApeX"):
        return algorithm.policy.q(algorithm.model, obs).max(1)
    actions = np.tanh(algorithm.model.infer(obs)["policy"])
    return algorithm.critic.infer(np.concatenate([obs, actions], 1))["q1"][:, 0]


WITH_VALUES = [name for name in SMALL if name != "ES"]  # Evolution has no value function.


@pytest.mark.parametrize("name", WITH_VALUES)
def test_a_constant_reward_is_the_value(name: str) -> None:
    changes = {"learn_alpha": False, "alpha": 0.01} if name == "SAC" else {}
    with train(name, Constant, **changes) as algorithm:
        assert value(algorithm, 1.0) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", WITH_VALUES)
def test_the_value_depends_on_the_observation(name: str) -> None:
    changes = {"learn_alpha": False, "alpha": 0.01} if name == "SAC" else {}
    with train(name, Observed, **changes) as algorithm:
        assert value(algorithm, -1.0, 1.0) == pytest.approx([-1.0, 1.0], abs=0.25)


@pytest.mark.parametrize("name", WITH_VALUES)
def test_the_value_flows_back_with_its_discount(name: str) -> None:
    changes: dict[str, Any] = {"learn_alpha": False, "alpha": 0.01} if name == "SAC" else {}
    with train(name, Discounted, **changes) as algorithm:
        assert value(algorithm, 0.0, 1.0) == pytest.approx([0.5, 1.0], abs=0.15)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("env", [Acting, ActingOnSight])
def test_the_right_action_is_found(name: str, env: type) -> None:
    with train(name, env) as algorithm:
        assert algorithm.evaluate(50).mean > (0.8 if name in CONTINUOUS else 0.9)  # tanh never quite gets to the border.


def shuffled(env: type) -> Callable[..., Any]:
    return lambda **options: Shuffled(env(**options))


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_from_shuffled_rewards_nothing_is_learned(name: str) -> None:
    """Negative control: the same test and the same steps, with the rewards in another order."""
    with train(name, shuffled(ActingOnSight)) as algorithm:
        with train(name, ActingOnSight) as plain:
            assert plain.evaluate(50).mean > 0.9
            algorithm.env = plain.env  # Judged by the true rewards.
            assert algorithm.evaluate(50).mean < 0.5


@pytest.mark.parametrize("name", SMALL)
def test_with_a_learning_rate_of_zero_nothing_changes(name: str) -> None:
    """Negative control: whatever improves the score is the optimiser."""
    changes = {"weight_decay": 0.0} if name == "ES" else {}
    with train(name, ActingOnSight, lr=0.0, **changes) as algorithm:
        fresh = type(algorithm)(algorithm.env, seed=0, settings=algorithm.settings)
        np.testing.assert_array_equal(algorithm.model.flat, fresh.model.flat)
        fresh.close()
