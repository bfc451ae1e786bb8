"""PettingZoo's parallel environments with one policy for all agents (parameter sharing, or self-play): each agent is one row of the batch.

An agent that is out before the others waits: its rows are zero observations that only reset, until the game is over for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skate.rl.environments import EnvironmentFailedError, native_actions
from skate.rl.spaces import Array, action_shape, encoder, observation_shape


class ParallelAgents:
    """E games of A agents look like E·A environments."""

    def __init__(self, name: str, games: list[Any], seeds: Sequence[int]) -> None:
        self.name = name
        self._games = games
        self._agents = list(games[0].possible_agents)
        self._seeds = list(seeds)
        spaces = {str(games[0].observation_space(agent)) + str(games[0].action_space(agent)) for agent in self._agents}
        if len(spaces) > 1:
            raise ValueError(
                f"the agents of {name} have different spaces, and one policy plays them all: pad them with SuperSuit"
            )
        self.single_observation_space = games[0].observation_space(self._agents[0])
        self.single_action_space = games[0].action_space(self._agents[0])
        self.num_envs = len(games) * len(self._agents)
        shape = observation_shape(self.single_observation_space)
        self._encode = encoder(self.single_observation_space)
        self._actions = action_shape(self.single_action_space)
        self._observations = np.zeros((self.num_envs, *shape.shape), shape.dtype)
        self._is_over = [False] * len(games)
        self._steps = [0] * len(games)
        self.position = (0, self._seeds[0], 0)

    def reset(self) -> Array:
        for game, seed in enumerate(self._seeds):
            self._reset_one(game, int(seed))
        return self._observations

    def _reset_one(self, game: int, seed: int | None = None) -> None:
        try:
            observations, _ = self._games[game].reset(seed=seed)
        except Exception as error:
            raise EnvironmentFailedError(f"{self._describe(game)}: reset() raised {type(error).__name__}: {error}") from error
        self._write(game, observations)
        self._is_over[game] = False

    def _write(self, game: int, observations: dict[Any, Any]) -> None:
        for place, agent in enumerate(self._agents):
            row = self._observations[game * len(self._agents) + place]
            if agent in observations:
                self._encode(observations[agent], row)
            else:
                row[...] = 0

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        rewards = np.zeros(self.num_envs, np.float32)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        count = len(self._agents)
        native = list(native_actions(actions, self._actions))
        for index, game in enumerate(self._games):
            if self._is_over[index]:
                self._reset_one(index)
                continue
            self._steps[index] += 1
            self.position = (index * count, self._seeds[index], self._steps[index])
            playing = list(game.agents)
            chosen = {agent: native[index * count + place] for place, agent in enumerate(self._agents) if agent in playing}
            try:
                observations, gains, over, cut, _ = game.step(chosen)
            except Exception as error:
                raise EnvironmentFailedError(f"{self._describe(index)}: step raised {type(error).__name__}: {error}") from error
            self._write(index, observations)
            is_finished = not game.agents
            self._is_over[index] = is_finished
            for place, agent in enumerate(self._agents):
                row = index * count + place
                rewards[row] = gains.get(agent, 0.0)
                # One that is out already stays "over", so that its idle steps are masked like resets.
                terminated[row] = over.get(agent, True) if agent in playing else True
                truncated[row] = cut.get(agent, False) or (is_finished and not terminated[row])
        return self._observations, rewards, terminated, truncated

    def reseed(self, seeds: Sequence[int]) -> None:
        self._seeds = list(seeds)[: len(self._games)]

    def describe(self, index: int) -> str:
        return self._describe(index // len(self._agents))

    def _describe(self, game: int) -> str:
        return f"{self.name} (game {game}, seed {self._seeds[game]}, step {self._steps[game]})"

    def render(self) -> Any:
        return self._games[0].render()

    def close(self) -> None:
        for game in self._games:
            game.close()
