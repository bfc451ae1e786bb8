"""Ape-X DQN: distributed prioritised experience replay (Horgan et al. 2018, arXiv:1803.00933).

    actor i      plays ε_i-greedily, ε_i = ε^(1 + α·i/(N−1)) for each environment;  knows q(s, a) and max q(s′) of the n-step transitions it makes,    algorithm 1
                 hence their priorities;  sends both to a replay shard itself, not by way of the learner
    shard        holds a part of the memory;  adds, draws batches, takes new priorities
    learner      always has batches on their way from every shard;  updates;  sends priorities back;  weights every so often              algorithm 2

`num_workers=0`: one actor, one shard and the learner in this process, by the same code. Deviations: Adam; priorities of new transitions are of the
weights that acted; shards are drawn from in turn, each in proportion to its own priorities.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import skate
from skate.rl.dqn import DQN, DQNSettings
from skate.rl.env_runner import EnvRunner
from skate.rl.networks import set_threads
from skate.rl.replay import Assembler, Replay, Transitions
from skate.rl.rollout import Rollout
from skate.rl.spaces import Array

_ON_THEIR_WAY = 3  # Batches asked of each shard before they are needed.


@dataclass(frozen=True, kw_only=True)
class ApexSettings(DQNSettings):
    """
    Args:
        num_shards: Replay actors.
        epsilon_base, epsilon_alpha: ε and α of the actors' exploration: 0.4 and 7 in the paper.
        weights_every: Updates between new weights for the actors.
        updates_per_step: The most updates for each environment step; 0: as fast as the learner can.
    """

    num_workers: int = 2
    num_envs: int = 16
    horizon: int = 16
    num_shards: int = 1
    epsilon_base: float = 0.4
    epsilon_alpha: float = 7.0
    weights_every: int = 10
    prioritised: bool = True
    batch: int = 64
    updates_per_step: float = 0.5


class Shard:
    """A part of the memory. Batches are drawn before they are asked for, by `sample` calls that wait here in line."""

    def __init__(self, capacity: int, seed: int, alpha: float, learning_starts: int) -> None:
        set_threads(1)
        self.replay = Replay(capacity, seed, prioritised=True, alpha=alpha)
        self._learning_starts = learning_starts

    def add(self, rows: Transitions, priorities: Array) -> int:
        return self.replay.add(rows, priorities)

    def sample(self, batch: int, beta: float) -> tuple[Transitions, Array, Array, float, int] | None:
        """Rows, weights, places, mean age and the size of this shard; None while there is too little."""
        if self.replay.size < self._learning_starts:
            return None
        rows, weights, places = self.replay.sample(batch, beta)
        return rows, weights, places, self.replay.age(places), self.replay.size

    def update(self, places: Array, errors: Array) -> None:
        self.replay.update(places, errors)


class ApexRunner(EnvRunner):
    """Plays, and hands its transitions with their priorities to its shard."""

    def __init__(self, spec: Any, index: int = -1, life: int = 0) -> None:
        super().__init__(spec, index, life)
        s: ApexSettings = spec.options["settings"]
        all_envs = self.num_envs * max(1, s.num_workers)
        place = max(0, index) * self.num_envs + np.arange(self.num_envs)
        self.policy.epsilon = s.epsilon_base ** (1.0 + s.epsilon_alpha * place / max(1, all_envs - 1))  # type: ignore[attr-defined]
        self._assembler = Assembler(s.n_step, s.gamma)
        self._shards = spec.options["shards"]
        self._turn = max(0, index)
        self._sent: Any = None

    def sample(self, weights: Array | None, version: int, steps: int, policy_settings: dict[str, Any] | None = None) -> Rollout:
        rollout = super().sample(weights, version, steps, policy_settings)
        made = self._assembler.add(rollout)
        if made is not None:
            self._send(*made)
        rollout.obs = rollout.obs[:0]
        return rollout

    def _send(self, rows: Transitions, steps: Rollout, places: Array) -> None:
        """|R + γ^m max q(s′) − q(s, a)|, from the q values noted while acting; where s′ was not acted in, from the network."""
        t, e = places
        q_next = self.policy.q(self.model, rows.next_obs).max(1)  # type: ignore[attr-defined]
        priorities = np.abs(rows.rewards + rows.discounts * q_next - steps.extras["q"][t, e])
        shard = self._shards[self._turn % len(self._shards)]
        self._turn += 1
        if isinstance(shard, Shard):
            shard.add(rows, priorities)
            return
        if self._sent is not None:
            skate.get(self._sent)  # One on its way: a memory that is behind slows the actors, instead of filling the store.
        self._sent = shard.add.remote(rows, priorities)


class ApeX(DQN):
    """`ApeX("CartPole-v1", num_workers=2).train(100_000)`."""

    Settings = ApexSettings
    name = "ApeX"
    families: ClassVar = {
        "image": {
            "hidden": (128,),
            "lr": 3e-4,
            "learning_starts": 5000,
            "target_every": 300,
            "num_envs": 32,
            "updates_per_step": 0.0,
        },
    }

    def start(self) -> None:
        s = self.settings
        assert isinstance(s, ApexSettings)
        arguments = (s.replay_capacity // s.num_shards, s.alpha, max(1, s.learning_starts // s.num_shards))
        if s.num_workers == 0:
            self.shards: list[Any] = [Shard(arguments[0], self.seed + i, *arguments[1:]) for i in range(s.num_shards)]
        else:
            make: Any = skate.remote(num_cpus=0)(Shard)
            self.shards = [make.remote(arguments[0], self.seed + i, *arguments[1:]) for i in range(s.num_shards)]
        self.runners = self.make_runners(ApexRunner, settings=s, shards=self.shards)
        self._asked: deque[tuple[Any, Any]] = deque()  # (shard, ref of a batch)
        self._is_running = False
        self._resting: list[int] = []  # Runners whose rollout is in, and that were not sent on yet.
        self._waited_s = 0.0
        self._started_s = time.perf_counter()

    def iterate(self) -> dict[str, float]:
        """Take in what actors report, then learn as much as is due."""
        s = self.settings
        assert isinstance(s, ApexSettings)
        if self.runners.here is not None:
            vars(self.runners.here)["_shards"] = self.shards  # Of a checkpoint, both came as copies.
            self.note(self.runners.sample(self.model.flat, self.version, s.horizon))
        elif not self._is_running:
            self._is_running = True
            for index in range(s.num_workers):
                self.runners.start(index, self.model.flat, self.version, s.horizon)
            for shard in self.shards * _ON_THEIR_WAY:
                self._asked.append((shard, shard.sample.remote(s.batch, s.beta)))
        steps_before = self.steps
        if self.runners.here is None:
            self._take_in_rollouts(wait=self.updates == 0 or (s.updates_per_step > 0 and self._debt < 1.0))
        self._debt += (self.steps - steps_before) * s.updates_per_step if self.runners.here is None else self._due(s)
        metrics: dict[str, float] = {"weights": float(self.version)}
        rounds = int(self._debt) if s.updates_per_step else s.weights_every
        for _ in range(rounds if self.runners.here is not None else min(rounds, s.weights_every)):
            batch = self._next_batch()
            if batch is None:
                self._debt = 0.0  # Nothing to learn from yet: no updates pile up.
                break
            self._debt = max(0.0, self._debt - 1.0)
            metrics.update(batch)
        return metrics

    def _due(self, s: ApexSettings) -> float:
        return s.horizon * s.num_envs * s.updates_per_step

    def _take_in_rollouts(self, *, wait: bool) -> None:
        s = self.settings
        assert isinstance(s, ApexSettings)
        while (wait and not self._resting) or self.runners.is_ready():
            rollout = self.runners.next_ready()
            self.note(rollout)
            self._resting.append(rollout.runner)
            wait = False
        # Actors that are far ahead of the learner rest: on few cores they would take its time, and play with old weights.
        if self._debt < 2 * self._due(s):
            for runner in self._resting:
                self.runners.start(runner, self.model.flat, self.updates // s.weights_every, s.horizon)
            self._resting = []

    def _next_batch(self) -> dict[str, float] | None:
        s = self.settings
        if self.runners.here is not None:
            shard = self.shards[self.updates % len(self.shards)]
            drawn = shard.sample(s.batch, s.beta)
        else:
            shard, ref = self._asked.popleft()
            started = time.perf_counter()
            drawn = skate.get(ref)
            self._waited_s += time.perf_counter() - started
            self._asked.append((shard, shard.sample.remote(s.batch, s.beta)))
        if drawn is None:
            return None
        rows, weights, places, age, size = drawn
        loss, errors = self.update(rows, weights)
        if self.runners.here is not None:
            shard.update(places, errors)
        else:
            shard.update.remote(places, errors)
        starved = self._waited_s / (time.perf_counter() - self._started_s)
        return {"loss": loss, "replay_age": age, "replay": float(size), "starved": starved, "updates": float(self.updates)}

    def close(self) -> None:
        super().close()
        for shard in self.shards:
            if not isinstance(shard, Shard):
                skate.kill(shard)

    def extra_state(self) -> dict[str, Any]:
        """The memory is part of a checkpoint only without workers; with them it fills anew."""
        state = {
            "updates": self.updates,
            "_debt": self._debt,
            "optimizer": self.optimizer.state(),
            "target": self.target.flat.copy(),
        }
        return {**state, "shards": self.shards if self.runners.here is not None else None}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state(state["optimizer"])
        self.target.flat = state["target"]
        self.updates, self._debt = state["updates"], state["_debt"]
        if state["shards"] is not None:
            self.shards = state["shards"]
