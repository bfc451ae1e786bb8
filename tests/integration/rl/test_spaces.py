"""Whatever an environment observes and does: Dict, Tuple, MultiDiscrete, MultiBinary, an action space that starts at 3, several agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import skate
from skate.rl import A2C, DQN, PPO, TensorBoard

OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "dict": spaces.Dict(
        {"camera": spaces.Box(0, 255, (2, 3, 3), np.uint8), "gear": spaces.Discrete(3), "speed": spaces.Box(-1, 1, (2,))}
    ),
    "tuple": spaces.Tuple((spaces.MultiBinary(3), spaces.MultiDiscrete([2, 4]), spaces.Box(-1, 1, (2, 2)))),
    "discrete": spaces.Discrete(5, start=2),
}
WIDTHS = {"dict": 18 + 3 + 2, "tuple": 3 + 6 + 4, "discrete": 5}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "multi_discrete": spaces.MultiDiscrete([3, 2]),
    "multi_binary": spaces.MultiBinary(4),
    "from_three": spaces.Discrete(2, start=3),
    "box": spaces.Box(-2.0, 2.0, (2, 2)),
}


class Strict(gym.Env[Any, Any]):
    """Says no to an action that is not of its space."""

    def __init__(self, observation: str, action: str) -> None:
        self.observation_space, self.action_space = OBSERVATIONS[observation], ACTIONS[action]
        self.at = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.observation_space.seed(seed)
        self.at = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        native = action if isinstance(action, int) else np.asarray(action).astype(self.action_space.dtype)
        assert self.action_space.contains(native), f"{action!r} is not in {self.action_space}"
        self.at += 1
        return self.observation_space.sample(), 1.0, self.at == 7, False, {}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_ppo_takes_every_space(observation: str, action: str) -> None:
    with PPO(lambda: Strict(observation, action), num_envs=2, horizon=16, epochs=1, minibatches=1) as ppo:
        assert ppo.observations.shape == (WIDTHS[observation],)
        ppo.train(64)
        assert ppo.evaluate(3).returns == [7.0, 7.0, 7.0]


def test_a_space_that_an_algorithm_cannot_act_in_is_refused_with_what_to_take_instead() -> None:
    with pytest.raises(ValueError, match="take PPO"):
        DQN(lambda: Strict("dict", "multi_discrete"))


class Meeting:
    """A parallel environment in PettingZoo's form: two agents are paid when they do the same; one leaves before the other."""

    possible_agents = ("a", "b")
    metadata: dict[str, Any] = {"name": "meeting"}

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0, 1, (1,))

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self.at = list(self.possible_agents), 0
        return {agent: np.ones(1, np.float32) for agent in self.agents}, {}

    def step(self, actions: dict[str, Any]) -> Any:
        assert set(actions) == set(self.agents)
        self.at += 1
        acted = list(self.agents)
        reward = float(len(set(actions.values())) == 1 and len(acted) == 2)
        over = {agent: (agent == "b" and self.at == 4) or self.at == 6 for agent in acted}
        self.agents = [agent for agent in acted if not over[agent]]
        return (
            {agent: np.ones(1, np.float32) for agent in acted},
            dict.fromkeys(acted, reward),
            over,
            dict.fromkeys(acted, False),
            {},
        )

    def close(self) -> None:
        pass


def test_agents_that_share_a_policy_learn_to_agree() -> None:
    with PPO(Meeting, num_envs=8, lr=3e-3, seed=1) as ppo:
        ppo.train(6000)
        assert np.mean(ppo.recent_returns) > 3.5  # 4 is all there is; chance gives 2.
        assert set(ppo.recent_lengths) == {4, 6}  # One agent is out first: its waiting is no episode.
        assert np.mean(ppo.evaluate(20).returns) == 4.0


def test_tensorboard_files_hold_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with A2C("CartPole-v1", callbacks=[TensorBoard(str(tmp_path))]) as a2c:
        a2c.train(2000)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    points = events.Scalars("train/return")
    assert points[-1].step >= 2000
    assert points[-1].value > 5


def test_workers_run_on_the_inline_backend_too() -> None:
    skate.init(local_mode=True)
    try:
        with PPO("CartPole-v1", num_workers=2) as ppo:
            assert ppo.train(1024).steps >= 1024
    finally:
        skate.shutdown()
