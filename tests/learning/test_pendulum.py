"""SAC and TD3 on Pendulum: a few thousand steps, far from the score of chance (about −1200), judged by unseen episodes."""

from __future__ import annotations

import pytest

from skate import rl


@pytest.mark.timeout(280)  # 15 CPU seconds each.
@pytest.mark.parametrize(("name", "steps"), [("SAC", 4500), ("TD3", 6500)])
def test_pendulum_swings_up(name: str, steps: int) -> None:
    with getattr(rl, name)("Pendulum-v1", seed=0) as algorithm:
        before = algorithm.evaluate(20).mean
        algorithm.train(steps)
        assert before < -1000
        assert algorithm.evaluate(20).mean > -400
