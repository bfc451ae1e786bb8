"""Environments in a batch: one `reset`, one `step`, whatever is behind it.

    SerialEnvironments    any Gymnasium environment, a loop in this process
    NativeEnvironments    environments that are vectors by themselves (CartPoleVectorEnv, AtariVectorEnv): no Python per environment

Both follow Gymnasium 1.x's *next-step autoreset*: the step that ends an episode returns its last observation, the step after it ignores
its action and returns the first observation of the next episode. So `observation[t + 1]` always is what step t led to, also where
an episode was cut off (truncated), and the reset steps are what rollouts mask.

An environment that raises, or returns what is not finite, is reported with its seed and its step, so that it can be run again alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from skate.rl.spaces import ActionShape, Array, action_shape, encoder, observation_shape

MakeEnv = str | Callable[[], Any]


class EnvironmentFailedError(RuntimeError):
    """An environment raised, hung, or returned something that is not a number."""


class Environments(Protocol):
    """A batch of E environments. Observations are (E, *shape) arrays that the next step overwrites."""

    name: str
    num_envs: int
    single_observation_space: Any
    single_action_space: Any
    position: tuple[int, int, int]  # (environment, its seed, its step) being stepped now: what a hang is reported with.

    def reset(self) -> Array: ...
    def reseed(self, seeds: Sequence[int]) -> None:
        """Seeds for the next `reset`."""
        ...

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        """`(observations, rewards, terminated, truncated)`."""
        ...

    def describe(self, index: int) -> str:
        """Which environment, with which seed, at which step: for errors."""
        ...

    def close(self) -> None: ...


def make_environments(make: MakeEnv, num_envs: int, seeds: Sequence[int], **kwargs: Any) -> Environments:
    """
    Args:
        make: A registered id, or a function that makes one environment (a Gymnasium environment, or a PettingZoo parallel one).
        seeds: One for each environment.
        kwargs: For `gymnasium.make`.
    """
    if isinstance(make, str):
        if make.startswith("MinAtar/"):
            _register_minatar()
        if make.startswith("ALE/"):
            return NativeEnvironments(make, _make_atari(make, num_envs, **kwargs), seeds)
        if gym.spec(make).vector_entry_point is not None and not kwargs and gym.spec(make).entry_point is not None:
            return NativeEnvironments(make, _make_native(make, num_envs), seeds)
        name = make
        envs = [gym.make(make, disable_env_checker=True, **kwargs) for _ in range(num_envs)]
        return SerialEnvironments(name, envs, seeds)
    first = make()
    name = getattr(make, "__name__", type(first).__name__)
    if hasattr(first, "possible_agents"):
        from skate.rl.multi_agent import ParallelAgents

        return ParallelAgents(name, [first, *(make() for _ in range(num_envs - 1))], seeds)
    return SerialEnvironments(name, [first, *(make() for _ in range(num_envs - 1))], seeds)


def _make_native(name: str, num_envs: int) -> Any:
    return gym.make_vec(name, num_envs=num_envs, vectorization_mode="vector_entry_point")


def _make_atari(name: str, num_envs: int, **kwargs: Any) -> Any:
    """The standard preprocessing (Mnih 2015; Machado 2018), inside ALE: 84×84 grey, skip 4, stack 4, up to 30 no-ops, rewards clipped."""
    try:
        import ale_py
        from ale_py.vector_env import AtariVectorEnv
    except ImportError as error:
        raise ImportError("Atari environments need ale-py: pip install 'skate[atari]'") from error
    del ale_py
    game = name.removeprefix("ALE/").rsplit("-", 1)[0]
    game = "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(game))
    return AtariVectorEnv(game, num_envs=num_envs, num_threads=1, **{"repeat_action_probability": 0.0, **kwargs})


def _register_minatar() -> None:
    try:
        from minatar.gym import register_envs
    except ImportError as error:
        raise ImportError("MinAtar environments need MinAtar (GPL): pip install 'skate[minatar]'") from error
    if "MinAtar/Breakout-v1" not in gym.registry:
        register_envs()


class SerialEnvironments:
    """Environments stepped one after the other, here."""

    def __init__(self, name: str, envs: list[Any], seeds: Sequence[int]) -> None:
        self.name = name
        self.num_envs = len(envs)
        self._envs = envs
        self._seeds = list(seeds)
        self.single_observation_space = envs[0].observation_space
        self.single_action_space = envs[0].action_space
        shape = observation_shape(self.single_observation_space)
        self._encode = encoder(self.single_observation_space)
        self._actions = action_shape(self.single_action_space)
        self._observations = np.zeros((self.num_envs, *shape.shape), shape.dtype)
        self._rewards = np.zeros(self.num_envs, np.float32)
        self._terminated = np.zeros(self.num_envs, bool)
        self._truncated = np.zeros(self.num_envs, bool)
        self._steps = [0] * self.num_envs
        self._is_over = [False] * self.num_envs
        self.position = (0, self._seeds[0], 0)

    def reset(self) -> Array:
        for index in range(self.num_envs):
            self._reset_one(index, self._seeds[index])
        return self._observations

    def _reset_one(self, index: int, seed: int | None = None) -> None:
        self.position = (index, self._seeds[index], self._steps[index])
        try:
            observation, _ = self._envs[index].reset(seed=seed)
            self._encode(observation, self._observations[index])
        except Exception as error:
            raise EnvironmentFailedError(f"{self.describe(index)}: reset() raised {type(error).__name__}: {error}") from error
        self._is_over[index] = False

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        rewards, terminated, truncated, steps = self._rewards, self._terminated, self._truncated, self._steps
        for index, action in enumerate(native_actions(actions, self._actions)):
            if self._is_over[index]:
                self._reset_one(index)
                rewards[index], terminated[index], truncated[index] = 0.0, False, False
                continue
            steps[index] += 1
            self.position = (index, self._seeds[index], steps[index])
            try:
                observation, rewards[index], over, cut, _ = self._envs[index].step(action)
                self._encode(observation, self._observations[index])
            except Exception as error:
                raise EnvironmentFailedError(
                    f"{self.describe(index)}: step({action!r}) raised {type(error).__name__}: {error}"
                ) from error
            terminated[index], truncated[index] = over, cut
            self._is_over[index] = bool(over or cut)
        return self._observations, rewards, terminated, truncated

    def reseed(self, seeds: Sequence[int]) -> None:
        self._seeds = list(seeds)

    def describe(self, index: int) -> str:
        return f"{self.name} (environment {index}, seed {self._seeds[index]}, step {self._steps[index]})"

    def render(self) -> Any:
        return self._envs[0].render()

    def close(self) -> None:
        for env in self._envs:
            env.close()


class NativeEnvironments:
    """An environment that is a vector by itself."""

    def __init__(self, name: str, env: Any, seeds: Sequence[int]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not None and mode != gym.vector.AutoresetMode.NEXT_STEP:
            raise ValueError(f"{name} resets by {mode}: make it with autoreset_mode=AutoresetMode.NEXT_STEP")
        self.name = name
        self.num_envs = env.num_envs
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self._env = env
        self._seeds = list(seeds)
        self._steps = 0
        self._actions = action_shape(self.single_action_space)
        shape = observation_shape(self.single_observation_space)
        self._shape = (self.num_envs, *shape.shape)
        self._dtype = np.dtype(shape.dtype)
        self.position = (0, self._seeds[0], 0)

    def reset(self) -> Array:
        try:
            observations, _ = self._env.reset(seed=[int(seed) for seed in self._seeds])
        except (TypeError, ValueError, gym.error.Error):  # Some take one seed for all of them.
            observations, _ = self._env.reset(seed=int(self._seeds[0]))
        return self._rows(observations)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        self._steps += 1
        self.position = (0, self._seeds[0], self._steps)
        try:
            observations, rewards, terminated, truncated, _ = self._env.step(self._native(actions))
        except Exception as error:
            raise EnvironmentFailedError(f"{self.describe(0)}: step raised {type(error).__name__}: {error}") from error
        return self._rows(observations), rewards, terminated, truncated

    def _native(self, actions: Array) -> Array:
        if self._actions.is_scalar:
            return actions.reshape(-1) + self._actions.start if self._actions.start else actions.reshape(-1)
        return actions.reshape(self.num_envs, *self._actions.shape)

    def _rows(self, observations: Array) -> Array:
        return observations.reshape(self._shape).astype(self._dtype, copy=False)

    def reseed(self, seeds: Sequence[int]) -> None:
        self._seeds = list(seeds)

    def describe(self, index: int) -> str:
        return f"{self.name} (environment {index} of a vector, seed {self._seeds[index]}, step {self._steps})"

    def close(self) -> None:
        self._env.close()


def native_actions(actions: Array, shape: ActionShape) -> Any:
    """Rows as policies answer them → what the environments' `step` takes, one each."""
    if shape.is_scalar:
        return (actions.reshape(-1) + shape.start).tolist()
    if shape.shape and shape.shape != (shape.dimensions,):
        return actions.reshape(-1, *shape.shape)
    return actions


def first_not_finite(values: Array) -> tuple[int, ...] | None:
    """The index of the first NaN or infinity; None when there is none."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return None
    return tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
