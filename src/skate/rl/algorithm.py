"""`Algorithm`: what all algorithms share. One makes the networks and runners in `build` and learns once in `iterate`; the rest is here.

train ─► iterate ─► metrics ─► callbacks, skate.report          until total_steps, or until an evaluation reaches `until_return`
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from skate.rl.callbacks import Callback, Report
from skate.rl.env_runner import EnvRunner, RunnerSpec
from skate.rl.environments import MakeEnv, make_environments
from skate.rl.evaluation import Evaluation, evaluate
from skate.rl.learner import Adam
from skate.rl.networks import Model, set_threads
from skate.rl.policies import Policy
from skate.rl.rollout import Rollout
from skate.rl.runner_group import RunnerGroup
from skate.rl.settings import Settings, change
from skate.rl.spaces import action_shape, observation_shape

S = TypeVar("S", bound=Settings)
_EPISODES = 100  # For the training's own mean return.


@dataclass(frozen=True)
class TrainResult:
    """Where a training stands: all steps since the start, the seconds of this call, the curve of this call, the last evaluation."""

    steps: int
    seconds: float
    curve: list[dict[str, float]]
    evaluation: Evaluation | None = None


class Algorithm(Generic[S]):
    """
    Args:
        env: A registered id, or a function that makes an environment (Gymnasium, or PettingZoo parallel).
        seed: All chance follows from it.
        settings: Instead of the defaults of the environment's family (`settings_for`).
        changes: Settings by name: `PPO("CartPole-v1", num_workers=2, lr=1e-3)`.
    """

    Settings: type[S]
    name: ClassVar[str] = ""
    families: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # "vector", "image", "continuous" → what differs from the defaults.

    def __init__(
        self,
        env: MakeEnv,
        *,
        seed: int = 0,
        settings: S | None = None,
        callbacks: Sequence[Callback] = (),
        env_kwargs: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        self.env = env
        self.seed = seed
        self.env_kwargs = dict(env_kwargs or {})
        self.callbacks = list(callbacks)
        probe = make_environments(env, 1, [0], **self.env_kwargs)
        self.env_name = probe.name
        self.observations = observation_shape(probe.single_observation_space)
        self.actions = action_shape(probe.single_action_space)
        probe.close()
        self.settings: S = change(self._family_defaults() if settings is None else settings, changes)
        self.rng = np.random.default_rng([seed, 0x1EA2])
        self.steps = 0
        self.iterations = 0
        self.version = 0  # Of the weights.
        self.recent_returns: deque[float] = deque(maxlen=_EPISODES)
        self.recent_lengths: deque[int] = deque(maxlen=_EPISODES)
        self.metrics: dict[str, float] = {}
        set_threads(1)
        self.build()

    # ---- what an algorithm says

    model: Model
    policy: Policy
    optimizer: Adam
    runners: RunnerGroup

    def build(self) -> None:
        """Make `model`, `policy`, `optimizer` and `runners`."""
        raise NotImplementedError

    def iterate(self) -> dict[str, float]:
        """Sample and learn once; counts `steps` by `note`, and returns what is worth a curve."""
        raise NotImplementedError

    def extra_state(self) -> dict[str, Any]:
        """What else a checkpoint needs: target networks, replay."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        pass

    # ---- what users call

    def train(
        self,
        total_steps: int,
        *,
        until_return: float | None = None,
        evaluate_episodes: int = 100,
        seconds_max: float | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every_s: float = 60.0,
        progress: bool = False,
    ) -> TrainResult:
        """Learn until `total_steps` environment steps have been made, those before this call included.

        Args:
            until_return: Stop as soon as an evaluation over `evaluate_episodes` episodes reaches it. One is made when the returns of training
                come near, and is not part of the training.
            seconds_max: Stop after as much time.
            checkpoint: A file that is written from time to time and at the end, and that `load` reads.
            progress: A line with return and steps/s on the terminal.
        """
        from skate.rl.callbacks import Progress

        callbacks = [*self.callbacks, Report(), *([Progress(total_steps)] if progress else [])]
        started = saved = time.perf_counter()
        steps_before = self.steps
        curve: list[dict[str, float]] = []
        evaluation: Evaluation | None = None
        next_look = 0
        for callback in callbacks:
            callback.on_start(self)
        try:
            while self.steps < total_steps:
                self.metrics = self._iterate(started, steps_before)
                curve.append(self.metrics)
                stops = [callback.on_iteration(self, self.metrics) for callback in callbacks]  # Every one is asked.
                if any(stops):
                    break
                now = time.perf_counter()
                if checkpoint is not None and now - saved >= checkpoint_every_s:
                    self.save(checkpoint)
                    saved = now
                if until_return is not None and self.steps >= next_look and self._may_have_reached(until_return):
                    evaluation = self.evaluate(evaluate_episodes)
                    if evaluation.mean >= until_return:
                        break
                    next_look = self.steps + max(500, self.steps // 20)
                if seconds_max is not None and now - started >= seconds_max:
                    break
        finally:
            for callback in callbacks:
                callback.on_end(self)
        if checkpoint is not None:
            self.save(checkpoint)
        return TrainResult(self.steps, time.perf_counter() - started, curve, evaluation)

    def evaluate(self, episodes: int = 100, *, seed: int | None = None, greedy: bool = True) -> Evaluation:
        """Play whole episodes with seeds training has not seen, without learning."""
        return evaluate(self.runner_spec(), self.model.flat, episodes, seed, greedy=greedy)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint; a crash in the middle leaves the old one. Without workers the environments are in it, and training goes on bit-equal."""
        from skate.rl.checkpoint import write

        write(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, callbacks: Sequence[Callback] = (), **changes: Any) -> Self:
        """The training of a checkpoint, ready to go on. Checkpoints are pickles: load only your own."""
        from skate.rl.checkpoint import read

        return read(cls, Path(path), callbacks, changes)

    def close(self) -> None:
        """End the runners. Also what `with PPO(…) as ppo:` does."""
        self.runners.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- for algorithms

    def runner_spec(self) -> RunnerSpec:
        s = self.settings
        return RunnerSpec(
            self.env, s.envs_per_runner, self.policy, self.model.spec, s.framework, self.seed, s.runner_cpus, self.env_kwargs
        )

    def make_runners(self, runner: type[EnvRunner] | None = None, **options: Any) -> RunnerGroup:
        """
        Args:
            runner: A subclass of `EnvRunner`, which finds `options` in its spec.
        """
        spec = replace(self.runner_spec(), runner=runner, options=options)
        return RunnerGroup(spec, self.settings.num_workers, timeout_s=self.settings.runner_timeout_s)

    def note(self, rollout: Rollout) -> None:
        """Count a rollout's steps and episodes."""
        self.steps += rollout.steps
        self.recent_returns.extend(rollout.returns)
        self.recent_lengths.extend(rollout.lengths)

    def _iterate(self, started: float, steps_before: int) -> dict[str, float]:
        metrics = self.iterate()
        self.iterations += 1
        seconds = time.perf_counter() - started
        metrics["steps"] = float(self.steps)
        metrics["steps_per_s"] = (self.steps - steps_before) / seconds
        metrics["seconds"] = seconds
        if self.recent_returns:
            metrics["return"] = float(np.mean(self.recent_returns))
            metrics["length"] = float(np.mean(self.recent_lengths))
        return metrics

    def _may_have_reached(self, target: float) -> bool:
        """Whether an evaluation is worth its time: the last ten episodes, which still explore, are close."""
        last = list(self.recent_returns)[-10:]
        return len(last) == 10 and float(np.mean(last)) >= target - 0.25 * abs(target)

    def _family_defaults(self) -> S:
        family = "image" if self.observations.is_image else "vector" if self.actions.is_discrete else "continuous"
        return change(self.Settings(), self.families.get(family, {}))


AlgorithmFactory = Callable[..., Algorithm[Any]]
