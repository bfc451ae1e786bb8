"""Replay memory: transitions that were played, drawn again uniformly or by priority (Schaul et al. 2016, arXiv:1511.05952).

Rows are columns of arrays, written in a circle. `n_step_transitions` makes them from rollouts: the reward of up to n steps, what they led to, and with
which discount the value there counts: γ^m, or 0 where the episode ended by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from skate.rl.rollout import Rollout
from skate.rl.spaces import Array
from skate.rl.sum_tree import SumTree


@dataclass
class Transitions:
    """Rows of (s, a, R, s′, γ^m or 0)."""

    obs: Array
    actions: Array
    rewards: Array
    next_obs: Array
    discounts: Array

    def __len__(self) -> int:
        return len(self.rewards)

    def take(self, rows: Array | slice) -> Transitions:
        return Transitions(*(getattr(self, field.name)[rows] for field in fields(self)))


def n_step_transitions(rollout: Rollout, n: int, gamma: float) -> tuple[Transitions, Array]:
    """
    Returns:
        The transitions whose n steps are in the rollout (T − n + 1 of each environment, without reset steps); and of each (t, e, t′), which
        observations s and s′ are.
    """
    steps, envs = rollout.rewards.shape
    starts = steps - n + 1
    if starts <= 0:
        raise ValueError(f"a rollout of {steps} steps has no {n}-step transition")
    rewards = np.zeros((starts, envs), np.float32)
    led_to = np.zeros((starts, envs), np.int64)  # t + m: the observation the steps led to.
    discounts = np.ones((starts, envs), np.float32)
    going = np.ones((starts, envs), bool)
    over = rollout.terminated | rollout.truncated
    for k in range(n):
        rewards += going * np.float32(gamma**k) * rollout.rewards[k : k + starts]
        led_to += going
        discounts = np.where(going, np.where(rollout.terminated[k : k + starts], 0.0, gamma ** (k + 1)), discounts)
        going &= ~over[k : k + starts]
    t, e = np.nonzero(rollout.valid[:starts])
    after = t + led_to[t, e]
    return (
        Transitions(
            rollout.obs[t, e], rollout.actions[t, e], rewards[t, e], rollout.obs[after, e], discounts[t, e].astype(np.float32)
        ),
        np.stack([t, e, after]),
    )


class Assembler:
    """Cuts a stream of rollouts into transitions: the last n − 1 steps of one wait for the next."""

    def __init__(self, n: int, gamma: float) -> None:
        self._n = n
        self._gamma = gamma
        self._rest: Rollout | None = None

    def add(self, rollout: Rollout) -> tuple[Transitions, Rollout, Array] | None:
        """The transitions, the steps they came from, and their places in these; None while there are too few steps."""
        joined = rollout if self._rest is None else _in_a_row(self._rest, rollout)
        keep = min(self._n - 1, len(joined.rewards))
        self._rest = _tail(joined, keep) if keep else None
        if len(joined.rewards) < self._n:
            return None
        transitions, places = n_step_transitions(joined, self._n, self._gamma)
        return transitions, joined, places


_COLUMNS = ("actions", "rewards", "terminated", "truncated", "valid")


def _in_a_row(first: Rollout, second: Rollout) -> Rollout:
    columns: dict[str, Any] = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _COLUMNS}
    extras = {name: np.concatenate([first.extras[name], note]) for name, note in second.extras.items()}
    return Rollout(np.concatenate([first.obs[:-1], second.obs]), extras=extras, **columns)


def _tail(rollout: Rollout, steps: int) -> Rollout:
    columns: dict[str, Any] = {name: getattr(rollout, name)[-steps:].copy() for name in _COLUMNS}
    extras = {name: note[-steps:].copy() for name, note in rollout.extras.items()}
    return Rollout(rollout.obs[-steps - 1 :].copy(), extras=extras, **columns)


class Replay:
    """
    Args:
        capacity: Transitions; the oldest give way.
        prioritised: Draw by p^α and weigh by (N·P)^−β; else uniformly, with weights of 1.
    """

    def __init__(self, capacity: int, seed: int, *, prioritised: bool = False, alpha: float = 0.6, epsilon: float = 1e-6) -> None:
        self.capacity = capacity
        self.size = 0
        self.added = 0
        self._rng = np.random.default_rng(seed)
        self._columns: Transitions | None = None
        self._tree = SumTree(capacity) if prioritised else None
        self._alpha = alpha
        self._epsilon = epsilon
        self._priority_max = 1.0
        self._added_at = np.zeros(capacity, np.int64)

    def add(self, rows: Transitions, priorities: Array | None = None) -> int:
        """
        Args:
            priorities: |TD errors| known to who adds; else the largest seen so far, so that everything is drawn soon.

        Returns:
            How many transitions there are now.
        """
        count = len(rows)
        if count > self.capacity:
            rows, count = rows.take(np.arange(count - self.capacity, count)), self.capacity
        if self._columns is None:
            self._columns = Transitions(
                *(np.zeros((self.capacity, *a.shape[1:]), a.dtype) for a in (getattr(rows, f.name) for f in fields(rows)))
            )
        start = self.added % self.capacity
        first = min(count, self.capacity - start)
        for field in fields(rows):
            column, new = getattr(self._columns, field.name), getattr(rows, field.name)
            column[start : start + first] = new[:first]
            column[: count - first] = new[first:]
        places = np.arange(start, start + count) % self.capacity
        self._added_at[places] = np.arange(self.added, self.added + count)
        if self._tree is not None:
            values: Array = np.full(count, self._priority_max) if priorities is None else priorities[-count:]
            self._tree.set(places, self._scaled(values))
        self.added += count
        self.size = min(self.capacity, self.size + count)
        return self.size

    def sample(self, batch: int, beta: float = 0.4) -> tuple[Transitions, Array, Array]:
        """
        Returns:
            Rows, importance weights (the largest is 1), and places for `update`.
        """
        assert self._columns is not None, "nothing has been added"
        places = self._draw(batch)
        if self._tree is None:
            weights: Array = np.ones(batch, np.float32)
        else:
            weights = (self._tree.leaves[places] * (self.size / self._tree.total)) ** -beta
            weights = (weights / weights.max()).astype(np.float32)
        return self._read(places), weights, places

    def _draw(self, batch: int) -> Array:
        return self._rng.integers(self.size, size=batch) if self._tree is None else self._tree.sample(batch, self._rng)

    def _read(self, places: Array) -> Transitions:
        assert self._columns is not None
        return self._columns.take(places)

    def _forget(self, places: Array) -> None:
        """Not to be drawn again."""
        if self._tree is not None:
            self._tree.set(places, np.zeros(len(places)))

    def update(self, places: Array, errors: Array) -> None:
        """New |TD errors| of what was drawn."""
        if self._tree is not None:
            self._priority_max = max(self._priority_max, float(errors.max()))
            self._tree.set(places, self._scaled(errors))

    def age(self, places: Array) -> float:
        """How many transitions came in since these did, on average."""
        return float((self.added - self._added_at[places]).mean())

    def _scaled(self, errors: Array) -> Any:
        return (np.abs(errors) + self._epsilon) ** self._alpha
