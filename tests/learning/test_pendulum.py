"""SAC and TD3 on Pendulum: a few thousand steps, far from the score of chance (about −1200), judged by unseen episodes."""

from __future__ import annotations

import pytest

from skate import rl


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["SAC", "TD3"])
def test_pendulum_swings_up(name: str) -> None:
    with getattr(rl, name)("Pendulum-v1", seed=0) as algorithm:
        result = algorithm.train(9000, until_return=-250, evaluate_episodes=30)
        assert (result.evaluation or algorithm.evaluate(30)).mean > -300
