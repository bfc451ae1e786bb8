"""Atari by the standard preprocessing: a few hundred steps of each algorithm, and what the frame memory keeps of real games."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import skate
from skate import rl
from skate.rl.env_runner import EnvRunner
from skate.rl.frame_replay import FrameCoder, FrameReplay
from skate.rl.replay import n_step_transitions

pytest.importorskip("ale_py")

SMALL: dict[str, dict[str, Any]] = {
    "PPO": {"num_envs": 4, "horizon": 16, "epochs": 1, "minibatches": 1},
    "DQN": {"num_envs": 4, "learning_starts": 60, "batch": 8, "updates_per_step": 0.05, "replay_capacity": 2000},
    "ApeX": {"num_envs": 4, "learning_starts": 60, "batch": 8, "updates_per_step": 0.05, "replay_capacity": 2000},
}


@pytest.mark.parametrize(("name", "num_workers"), [("PPO", 0), ("DQN", 0), ("ApeX", 0), ("ApeX", 2)])
def test_pong_is_played_and_learned_from(name: str, num_workers: int) -> None:
    with getattr(rl, name)("ALE/Pong-v5", num_workers=num_workers, **SMALL[name]) as algorithm:
        before = algorithm.model.flat.copy()
        algorithm.train(250)
        assert algorithm.steps >= 250
        assert np.isfinite(algorithm.metrics["loss"])
        assert not np.array_equal(before, algorithm.model.flat)
    skate.shutdown()


def test_real_frames_come_back_as_they_were() -> None:
    """Breakout played at random, past the ends of episodes."""
    with rl.PPO("ALE/Breakout-v5", num_envs=2) as ppo:
        runner: EnvRunner = ppo.runners.here  # type: ignore[assignment]
        coder, replay, expected, frames_count = FrameCoder(), FrameReplay(3000, 0), [], 0
        for _ in range(8):
            rollout = runner.sample(None, 0, 60)
            expected.append(n_step_transitions(rollout, 1, 0.9)[0])
            frames, numbered = coder.encode(rollout)
            frames_count += len(frames)
            replay.add_frames(frames)
            replay.add_rows(n_step_transitions(numbered, 1, 0.9)[0])
        rows, _, places = replay.sample(256)
        np.testing.assert_array_equal(rows.obs, np.concatenate([part.obs for part in expected])[places])
        np.testing.assert_array_equal(rows.next_obs, np.concatenate([part.next_obs for part in expected])[places])
        assert sum(len(part) for part in expected) > 800
        assert frames_count < 1.1 * 2 * 8 * 60  # Once each; an episode's start may bring more.
