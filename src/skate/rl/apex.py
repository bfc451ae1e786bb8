"""Ape-X DQN: distributed prioritised experience replay (Horgan et al. 2018, arXiv:1803.00933).

    actor i      plays ε_i-greedily, ε_i = ε^(1 + α·i/(N−1)) for each environment;  knows q(s, a) and max q(s′) of the n-step transitions it makes,    algorithm 1
                 hence their priorities;  sends both to a replay shard itself, not by way of the learner
    shard        holds a part of the memory;  adds, draws batches, takes new priorities
    learner      always has batches on their way from every shard;  updates;  sends priorities back;  weights every so often              algorithm 2

Batches travel several at a time, in one message that comes through shared memory and whose answer is the priorities and the next request. So
a learner makes a few messages a second, and never waits for one: the metric `starved` is the share of its time that it did.

`num_workers=0`: one actor, one shard and the learner in this process, by the same code. Deviations: Adam; priorities of new transitions are of the
weights that acted; shards are drawn from in turn, each in proportion to its own priorities.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

import skate
from skate.rl.dqn import DQN, DQNSettings
from skate.rl.env_runner import EnvRunner
from skate.rl.frame_replay import FrameCoder, FrameReplay, is_stack, make_replay
from skate.rl.networks import set_threads
from skate.rl.replay import Assembler, Transitions
from skate.rl.rollout import Rollout
from skate.rl.spaces import Array, ObservationShape

_ON_THEIR_WAY = 3  # Parcels asked of each shard before they are needed.
_PARCEL_ROWS = 1024  # The most rows and bytes of a parcel, but at least one batch.
_PARCEL_BYTES = 16 << 20


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


@dataclass
class Parcel:
    """Batches of one shard, one after the other in the rows."""

    rows: Transitions
    weights: Array
    places: Array
    age: float  # Mean, in transitions added since.
    size: int  # Of the shard.


class Shard:
    """A part of the memory. Parcels are drawn before they are needed: requests wait here in line."""

    def __init__(self, observations: ObservationShape, seed: int, settings: ApexSettings) -> None:
        set_threads(1)
        s, shards = settings, settings.num_shards
        options: dict[str, Any] = {"frames_once": s.frames_once, "streams": max(1, s.num_workers), "prioritised": True}
        self.replay = make_replay(observations, s.replay_capacity // shards, seed, **options, alpha=s.alpha)
        self._learning_starts = max(1, s.learning_starts // shards)

    def add(self, rows: Transitions, priorities: Array, frames: Array | None, stream: int) -> int:
        """
        Args:
            frames: The new ones of that stream; `rows` then name frames by numbers.
        """
        if frames is None or not isinstance(self.replay, FrameReplay):
            return self.replay.add(rows, priorities)
        self.replay.add_frames(frames, stream)
        return self.replay.add_rows(rows, priorities, stream)

    def exchange(self, places: Array | None, errors: Array | None, batch: int, batches: int, beta: float) -> Parcel | None:
        """Take the errors of a parcel that was learned, and draw the next one; None while there is too little."""
        if places is not None and errors is not None:
            self.replay.update(places, errors)
        if self.replay.size < self._learning_starts:
            return None
        drawn = [self.replay.sample(batch, beta) for _ in range(batches)]
        if batches == 1:
            rows, weights, places = drawn[0]
        else:
            rows = Transitions(*(np.concatenate([getattr(d[0], f.name) for d in drawn]) for f in fields(Transitions)))
            weights, places = np.concatenate([d[1] for d in drawn]), np.concatenate([d[2] for d in drawn])
        return Parcel(rows, weights, places, self.replay.age(places), self.replay.size)


class ApexRunner(EnvRunner):
    """Plays, and hands its transitions with their priorities to its shard."""

    def __init__(self, spec: Any, index: int = -1, life: int = 0) -> None:
        super().__init__(spec, index, life)
        s: ApexSettings = spec.options["settings"]
        all_envs = self.num_envs * max(1, s.num_workers)
        place = max(0, index) * self.num_envs + np.arange(self.num_envs)
        self.policy.epsilon = s.epsilon_base ** (1.0 + s.epsilon_alpha * place / max(1, all_envs - 1))  # type: ignore[attr-defined]
        self._assembler = Assembler(s.n_step, s.gamma)
        observations = ObservationShape(self._obs.shape[1:], str(self._obs.dtype))
        self._coder = FrameCoder() if s.frames_once and is_stack(observations) else None
        self._shards = spec.options["shards"]
        self._turn = max(0, index)
        self._sent: Any = None

    def sample(self, weights: Array | None, version: int, steps: int, policy_settings: dict[str, Any] | None = None) -> Rollout:
        rollout = super().sample(weights, version, steps, policy_settings)
        q_last = self.policy.q(self.model, rollout.obs[-1]).max(1)  # type: ignore[attr-defined]
        frames, coded = (None, rollout) if self._coder is None else self._coder.encode(rollout)
        made = self._assembler.add(coded)
        if made is not None or frames is not None:
            self._send(made, frames, q_last)
        rollout.obs = rollout.obs[:0]
        return rollout

    def _send(self, made: tuple[Transitions, Rollout, Array] | None, frames: Array | None, q_last: Array) -> None:
        """With priorities |R + γ^m max q(s′) − q(s, a)|, from the q values noted while acting."""
        if made is None:
            raise ValueError("frames are kept once only where horizon ≥ n_step: raise horizon, or set frames_once=False")
        rows, steps, (t, e, after) = made
        q_max = np.concatenate([steps.extras["q_max"], q_last[None]])
        priorities = np.abs(rows.rewards + rows.discounts * q_max[after, e] - steps.extras["q"][t, e])
        # Frames that transitions share must be in one shard: a runner of images keeps to its own.
        shard = self._shards[self._turn % len(self._shards)]
        self._turn += frames is None
        stream = max(0, self.index)
        if isinstance(shard, Shard):
            shard.add(rows, priorities, frames, stream)
            return
        if self._sent is not None:
            skate.get(self._sent)  # One on its way: a memory that is behind slows the actors, instead of filling the store.
        self._sent = shard.add.remote(rows, priorities, frames, stream)


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
        make: Any = Shard if s.num_workers == 0 else skate.remote(num_cpus=0)(Shard).remote
        self.shards: list[Any] = [make(self.observations, self.seed + i, s) for i in range(s.num_shards)]
        self.runners = self.make_runners(ApexRunner, settings=s, shards=self.shards)
        row_bytes = 2 * np.dtype(self.observations.dtype).itemsize * int(np.prod(self.observations.shape))
        self._batches = max(1, min(_PARCEL_ROWS, _PARCEL_BYTES // row_bytes) // s.batch)  # In a parcel.
        self._asked: deque[tuple[Any, Any]] = deque()  # (shard, ref of a parcel)
        self._parcel: Parcel | None = None  # The one that is being learned, and the errors of its first batches.
        self._errors: list[Array] = []
        self._is_running = False
        self._resting: list[int] = []  # Runners whose rollout is in, and that were not sent on yet.
        self._waited_s = 0.0
        self._started_s = 0.0  # When the first update was made.

    def iterate(self) -> dict[str, float]:
        """Take in what actors report, then learn as much as is due."""
        s = self.settings
        assert isinstance(s, ApexSettings)
        steps_before = self.steps
        if self.runners.here is not None:
            vars(self.runners.here)["_shards"] = self.shards  # Of a checkpoint, both came as copies.
            self.note(self.runners.sample(self.model.flat, self.version, s.horizon))
        elif not self._is_running:
            self._is_running = True
            for index in range(s.num_workers):
                self.runners.start(index, self.model.flat, self.version, s.horizon)
            for shard in self.shards * _ON_THEIR_WAY:
                self._ask(shard)
        if self.runners.here is None:
            self._take_in_rollouts(wait=self.updates == 0 or (s.updates_per_step > 0 and self._debt < 1.0))
        self._debt += (self.steps - steps_before) * s.updates_per_step
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
        """Learn from one batch; None while the memory holds too little."""
        s = self.settings
        if self.runners.here is not None:
            shard = self.shards[self.updates % len(self.shards)]
            parcel = shard.exchange(None, None, s.batch, 1, s.beta)
            if parcel is None:
                return None
            loss, errors = self.update(parcel.rows, parcel.weights)
            shard.replay.update(parcel.places, errors)
            return {"loss": loss, "replay_age": parcel.age, "replay": float(parcel.size), "updates": float(self.updates)}
        shard, ref = self._asked[0]
        if self._parcel is None:
            asked_s = time.perf_counter()
            self._parcel = skate.get(ref)
            if self.updates:
                self._waited_s += time.perf_counter() - asked_s
            else:
                self._started_s = time.perf_counter()
            if self._parcel is None:
                self._asked.popleft()
                self._ask(shard)
                return None
        parcel, first = self._parcel, len(self._errors) * s.batch
        part = slice(first, first + s.batch)
        loss, errors = self.update(parcel.rows.take(part), parcel.weights[part])
        self._errors.append(errors)
        if first + s.batch >= len(parcel.rows):
            self._asked.popleft()
            self._ask(shard, parcel.places, np.concatenate(self._errors))
            self._parcel, self._errors = None, []
        starved = self._waited_s / max(1e-9, time.perf_counter() - self._started_s)
        notes = {"replay_age": parcel.age, "replay": float(parcel.size) * len(self.shards), "starved": starved}
        return {"loss": loss, **notes, "updates": float(self.updates)}

    def _ask(self, shard: Any, places: Array | None = None, errors: Array | None = None) -> None:
        s = self.settings
        self._asked.append((shard, shard.exchange.remote(places, errors, s.batch, self._batches, s.beta)))

    def close(self) -> None:
        super().close()
        for shard in self.shards:
            if not isinstance(shard, Shard):
                skate.kill(shard)

    def extra_state(self) -> dict[str, Any]:
        """The memory is part of a checkpoint only without workers; with them it fills anew."""
        state = {"updates": self.updates, "_debt": self._debt, "target": self.target.flat.copy()}
        return {**state, "shards": self.shards if self.runners.here is not None else None}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.target.flat = state["target"]
        self.updates, self._debt = state["updates"], state["_debt"]
        if state["shards"] is not None:
            self.shards = state["shards"]
