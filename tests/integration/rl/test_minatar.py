"""MinAtar and LunarLander, where their packages are installed: a few hundred steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from skate import rl


@pytest.mark.parametrize(
    ("name", "settings"), [("PPO", {"horizon": 16, "epochs": 1}), ("DQN", {"learning_starts": 100, "batch": 16})]
)
def test_minatar_breakout_is_played_and_learned_from(name: str, settings: dict[str, Any]) -> None:
    pytest.importorskip("minatar")
    with getattr(rl, name)("MinAtar/Breakout-v1", **settings) as algorithm:
        algorithm.train(400)
        assert np.isfinite(algorithm.metrics["loss"])


def test_lunar_lander_is_played_and_learned_from() -> None:
    pytest.importorskip("Box2D")
    with rl.PPO("LunarLander-v3") as ppo:
        ppo.train(2000)
        assert np.isfinite(ppo.metrics["loss"])
        assert len(ppo.recent_returns) > 5
