"""Replay: what is drawn how often, and what an n-step transition is."""

from __future__ import annotations

import numpy as np
import pytest

from skate.rl.replay import Assembler, Replay, Transitions, n_step_transitions
from skate.rl.rollout import Rollout
from skate.rl.sum_tree import SumTree


def make_rows(count: int, first: int = 0) -> Transitions:
    numbers = np.arange(first, first + count, dtype=np.float32)
    return Transitions(numbers[:, None], np.zeros((count, 1), np.int64), numbers, numbers[:, None], np.ones(count, np.float32))


def make_rollout(steps: int, envs: int, seed: int) -> Rollout:
    rng = np.random.default_rng(seed)
    terminated = rng.random((steps, envs)) < 0.2
    truncated = (rng.random((steps, envs)) < 0.1) & ~terminated
    valid = np.ones((steps, envs), bool)
    for t in range(1, steps):
        valid[t] = ~(terminated | truncated)[t - 1]
        terminated[t] &= valid[t]
        truncated[t] &= valid[t]
    obs = np.arange((steps + 1) * envs, dtype=np.float32).reshape(steps + 1, envs, 1)
    rewards = (rng.normal(size=(steps, envs)) * valid).astype(np.float32)
    return Rollout(obs, np.zeros((steps, envs, 1), np.int64), rewards, terminated, truncated, valid)


@pytest.mark.parametrize("capacity", [10, 1000, 200_000])
def test_draws_follow_the_priorities(capacity: int) -> None:
    """Chi-square over 20 groups of leaves, at 40,000 draws."""
    rng = np.random.default_rng(1)
    tree = SumTree(capacity)
    priorities = rng.random(capacity) ** 3 + 1e-9
    tree.set(np.arange(capacity), priorities)
    draws = np.concatenate([tree.find(rng.random(500) * tree.total) for _ in range(80)])
    groups = np.arange(capacity) * min(20, capacity) // capacity
    observed = np.bincount(groups[draws], minlength=min(20, capacity))
    expected = len(draws) * np.bincount(groups, weights=priorities) / priorities.sum()
    chi_square = float(((observed - expected) ** 2 / expected).sum())
    assert chi_square < 43.8  # The 99.9th percentile at 19 degrees of freedom.


def test_every_target_is_found_exactly() -> None:
    rng = np.random.default_rng(2)
    for capacity in (1, 17, 300, 40_000):
        values = rng.integers(0, 5, capacity).astype(float)
        values[rng.integers(capacity)] = 3.0
        tree = SumTree(capacity)
        tree.set(np.arange(capacity), values)
        targets = np.sort(rng.integers(0, int(values.sum()), 200) + 0.5)
        np.testing.assert_array_equal(tree.find(targets), values.cumsum().searchsorted(targets, side="right"))
        assert tree.total == values.sum()


def test_priorities_can_change_and_what_has_none_is_not_drawn() -> None:
    tree = SumTree(100_000)
    tree.set(np.arange(1000), np.ones(1000))
    tree.set(np.array([5, 5, 7]), np.array([1.0, 9.0, 0.0]))
    assert tree.total == pytest.approx(1007.0)
    drawn = np.bincount(tree.sample(100_700, np.random.default_rng(0)), minlength=10)
    assert drawn[7] == 0
    assert drawn[5] == pytest.approx(900, abs=2)


def test_importance_weights_undo_the_priorities() -> None:
    """With β = 1 a weighted mean over draws is the plain mean over the memory."""
    replay = Replay(1000, 0, prioritised=True, alpha=0.7)
    replay.add(make_rows(1000), np.linspace(0.1, 2.0, 1000))
    rows, weights, _ = replay.sample(50_000, beta=1.0)
    assert float((rows.rewards * weights).sum() / weights.sum()) == pytest.approx(499.5, rel=0.01)
    assert rows.rewards.mean() > 550


def test_the_oldest_give_way() -> None:
    replay = Replay(100, 0)
    for first in range(0, 250, 30):
        replay.add(make_rows(30, first))
    rows, _, places = replay.sample(2000)
    assert replay.size == 100
    assert set(rows.rewards) == set(range(170, 270))
    assert 0 < replay.age(places) <= 100


@pytest.mark.parametrize("n", [1, 3, 5])
def test_n_step_transitions_equal_brute_force(n: int) -> None:
    gamma, rollout = 0.9, make_rollout(12, 4, n)
    rows, places = n_step_transitions(rollout, n, gamma)
    expected = []
    for t in range(12 - n + 1):
        for e in range(4):
            if not rollout.valid[t, e]:
                continue
            total, m, discount = 0.0, 0, 1.0
            for k in range(n):
                total += gamma**k * rollout.rewards[t + k, e]
                m, discount = k + 1, gamma ** (k + 1)
                if rollout.terminated[t + k, e] or rollout.truncated[t + k, e]:
                    discount = 0.0 if rollout.terminated[t + k, e] else discount
                    break
            expected.append((rollout.obs[t, e, 0], total, rollout.obs[t + m, e, 0], discount))
    found = np.stack([rows.obs[:, 0], rows.rewards, rows.next_obs[:, 0], rows.discounts], 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert rollout.valid[places[0], places[1]].all()


def test_rollouts_in_pieces_give_the_same_transitions() -> None:
    whole = make_rollout(24, 3, 9)
    expected, _ = n_step_transitions(whole, 4, 0.9)
    assembler, parts = Assembler(4, 0.9), []
    for start, stop in ((0, 2), (2, 3), (3, 15), (15, 24)):
        names = ("actions", "rewards", "terminated", "truncated", "valid")
        made = assembler.add(Rollout(whole.obs[start : stop + 1], *(getattr(whole, name)[start:stop] for name in names)))
        if made is not None:
            parts.append(made[0])
    for name in ("obs", "rewards", "next_obs", "discounts"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(expected, name))
