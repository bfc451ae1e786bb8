"""PPO reaches its scores: every seed that is listed, judged by episodes it has not seen."""

from __future__ import annotations

import os
import signal

import pytest

import skate
from skate.rl import PPO


@pytest.mark.parametrize("seed", [0, 1])
def test_cartpole_is_solved(seed: int) -> None:
    with PPO("CartPole-v1", seed=seed) as ppo:
        result = ppo.train(60_000, until_return=475)
        assert result.evaluation is not None
        assert result.evaluation.mean >= 475
        assert ppo.evaluate(100, seed=987_654 + seed).mean >= 450


def test_without_learning_nothing_is_learned() -> None:
    """Negative control: the same test with lr 0 must not pass."""
    with PPO("CartPole-v1", lr=0.0) as ppo:
        ppo.train(10_000)
        assert ppo.evaluate(100, greedy=False).mean < 60


@pytest.mark.timeout(280)  # A few seconds, where nothing else runs.
def test_a_runner_is_killed_and_the_score_still_reached() -> None:
    def kill_one(algorithm: PPO) -> None:
        pid = skate.get(algorithm.runners.actors[0].__ray_call__.remote(lambda self: os.getpid()))
        os.kill(pid, signal.SIGKILL)

    try:
        with PPO("CartPole-v1", seed=2, num_workers=2) as ppo:
            ppo.train(4000)
            kill_one(ppo)
            result = ppo.train(80_000, until_return=475)
            assert ppo.runners.replaced == 1
            assert result.evaluation is not None
            assert result.evaluation.mean >= 475
    finally:
        skate.shutdown()
