"""The runners of a training: one in this process, or several as actors. A runner whose process dies is replaced.

sample()         all of them, side by side, with these weights (A2C)
sample_ahead()   the same, and they play on while the caller learns (DQN, SAC, TD3; PPO by `start_resting` and `take`)
next_ready()     each by itself, as it comes (A3C, IMPALA, Ape-X)

A round trip to a runner takes a tenth of a millisecond, and weights are put into shared memory once a version: what costs is waiting for each other.
"""

from __future__ import annotations

import sys
from typing import Any

import skate
from skate.exceptions import GetTimeoutError, RayActorError
from skate.rl.env_runner import EnvRunner, RunnerSpec
from skate.rl.environments import EnvironmentFailedError
from skate.rl.rollout import Rollout, join
from skate.rl.spaces import Array


class RunnerGroup:
    """
    Args:
        num_workers: Actors; 0: the environments are stepped in this process, by the same code.
        timeout_s: A runner that takes longer for one `sample` is taken to hang.
        replacements_max: How many runners may die before the training gives up: environments that kill their process again and again are a fault.
    """

    def __init__(self, spec: RunnerSpec, num_workers: int, *, timeout_s: float = 300.0, replacements_max: int = 100) -> None:
        self.spec = spec
        self.num_workers = num_workers
        self.replaced = 0
        self._timeout_s = timeout_s
        self._replacements_max = replacements_max
        self._lives = [0] * num_workers
        self._pending: dict[Any, tuple[int, tuple[Any, ...]]] = {}  # Ref of a rollout → (runner, what was asked for).
        self._weights: tuple[int, Any] = (-1, None)  # The newest version put, and its ref.
        self.here = (spec.runner or EnvRunner)(spec) if num_workers == 0 else None
        self.actors: list[Any] = [self._make(index) for index in range(num_workers)]

    def _make(self, index: int) -> Any:
        # A second thread answers `where` while the first one is stuck in an environment.
        actor = skate.remote(num_cpus=self.spec.cpus, max_concurrency=2)(self.spec.runner or EnvRunner)
        return actor.remote(self.spec, index, self._lives[index])

    def sample(self, weights: Array, version: int, steps: int, settings: dict[str, Any] | None = None) -> Rollout:
        """`steps` steps of every environment, all with these weights."""
        if self.here is not None:
            return self.here.sample(weights, version, steps, settings)
        if self._pending:
            self.collect()  # They were sent on with older weights.
        self.start_resting(weights, version, steps, settings)
        return join(self.collect())

    def take(self, weights: Array, version: int, steps: int, settings: dict[str, Any] | None = None) -> Rollout:
        """The steps the runners were sent on for before; if they rest, as `sample`."""
        return join(self.collect()) if self._pending else self.sample(weights, version, steps, settings)

    def sample_ahead(self, weights: Array, version: int, steps: int, settings: dict[str, Any] | None = None) -> Rollout:
        """As `take`; then the runners play on with these weights, while the caller learns."""
        rollout = self.take(weights, version, steps, settings)
        self.start_resting(weights, version, steps, settings)
        return rollout

    def start_resting(self, weights: Array, version: int, steps: int, settings: dict[str, Any] | None = None) -> None:
        """Let every runner play that does not."""
        playing = {index for index, _ in self._pending.values()}
        for index in range(len(self.actors)):
            if index not in playing:
                self.start(index, weights, version, steps, settings)

    def collect(self) -> list[Rollout]:
        """What all that play bring, in the order of the runners."""
        return sorted((self.next_ready() for _ in range(len(self._pending))), key=lambda rollout: rollout.runner)

    def start(self, index: int, weights: Array, version: int, steps: int, settings: dict[str, Any] | None = None) -> None:
        """Let one runner play on; its rollout comes by `next_ready`. Weights of one version are put once."""
        if self._weights[0] != version:
            self._weights = (version, skate.put(weights))
        self._call(index, (self._weights[1], version, steps, settings))

    def _call(self, index: int, call: tuple[Any, ...]) -> None:
        self._pending[self.actors[index].sample.remote(*call)] = (index, call)

    def is_ready(self) -> bool:
        """Whether `next_ready` would not wait."""
        return bool(self._pending) and bool(skate.wait(list(self._pending), timeout=0)[0])

    def next_ready(self) -> Rollout:
        """The next rollout that is there, of whichever runner."""
        while True:
            ready, _ = skate.wait(list(self._pending), timeout=self._timeout_s)
            if not ready:
                self._fail_hanging()
            index, call = self._pending.pop(ready[0])
            try:
                rollout: Rollout = skate.get(ready[0])
            except RayActorError as error:
                self._replace(index, error)
                self._call(index, call)
                continue
            return rollout

    def _replace(self, index: int, error: Exception) -> None:
        self.replaced += 1
        if self.replaced > self._replacements_max:
            raise EnvironmentFailedError(f"{self.replaced} runners have died, the last one with: {error}") from error
        self._lives[index] += 1
        print(f"skate.rl: runner {index} died and is replaced ({str(error).splitlines()[0]})", file=sys.stderr)  # noqa: T201
        self.actors[index] = self._make(index)

    def _fail_hanging(self) -> None:
        index, _ = next(iter(self._pending.values()))
        try:
            where = skate.get(self.actors[index].where.remote(), timeout=5.0)
        except (GetTimeoutError, RayActorError):
            where = "an environment that does not let its process answer"
        self.close()
        raise EnvironmentFailedError(
            f"runner {index} has not come back for {self._timeout_s:g} s: it is in {where}; "
            "raise runner_timeout_s if its steps may take that long"
        )

    def close(self) -> None:
        for actor in self.actors:
            skate.kill(actor)
        self.actors = []
        self._pending = {}
        if self.here is not None:
            self.here.close()
