"""Saving, loading, going on: equal to never having stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skate import rl

CASES: list[tuple[str, str, int, dict[str, Any]]] = [
    ("PPO", "CartPole-v1", 600, {}),
    ("A2C", "CartPole-v1", 600, {}),
    ("A3C", "CartPole-v1", 600, {"num_workers": 0}),
    ("IMPALA", "CartPole-v1", 600, {"num_workers": 0}),
    ("ES", "CartPole-v1", 600, {"num_envs": 8}),
    ("DQN", "CartPole-v1", 400, {"learning_starts": 100, "prioritised": True}),
    ("ApeX", "CartPole-v1", 600, {"num_workers": 0, "learning_starts": 100}),
    ("SAC", "Pendulum-v1", 300, {"learning_starts": 100, "updates_per_step": 0.2}),
    ("TD3", "Pendulum-v1", 300, {"learning_starts": 100, "updates_per_step": 0.2}),
]


@pytest.mark.parametrize(("name", "env", "steps", "settings"), CASES, ids=[case[0] for case in CASES])
def test_resumed_equals_uninterrupted_bit_for_bit(
    name: str, env: str, steps: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    algorithm = getattr(rl, name)
    with algorithm(env, seed=3, **settings) as whole, algorithm(env, seed=3, **settings) as first:
        whole.train(steps)
        middle = whole.model.flat.copy()
        whole.train(2 * steps)
        first.train(steps)
        np.testing.assert_array_equal(first.model.flat, middle)  # The same seed gives the same run.
        first.save(tmp_path / "checkpoint")
        with rl.load(tmp_path / "checkpoint") as second:
            assert type(second) is algorithm
            second.train(2 * steps)
            np.testing.assert_array_equal(second.model.flat, whole.model.flat)
            assert list(second.recent_returns) == list(whole.recent_returns)
        assert not np.array_equal(middle, whole.model.flat)


def test_a_killed_driver_goes_on_from_its_checkpoint_with_the_same_curve(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    program = (
        "import sys; from skate.rl import PPO\n"
        f"PPO('CartPole-v1', seed=5).train(10**9, checkpoint={str(path)!r}, checkpoint_every_s=0.0)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": "src"})
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with rl.load(path) as resumed, rl.PPO("CartPole-v1", seed=5) as whole:
        goal = resumed.steps + 1500
        resumed.train(goal)
        whole.train(goal)
        np.testing.assert_array_equal(resumed.model.flat, whole.model.flat)


def test_the_command_line_trains_evaluates_and_films(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skate.cli.main import main

    checkpoint, video = str(tmp_path / "c"), str(tmp_path / "v.mp4")
    assert main(["rl", "train", "ppo", "CartPole-v1", "--steps", "600", "--save", checkpoint, "--set", "lr=1e-3"]) == 0
    assert main(["rl", "eval", checkpoint, "--episodes", "5"]) == 0
    assert "over 5 episodes" in capsys.readouterr().out
    assert main(["rl", "play", checkpoint, "--video", video]) == 0
    assert Path(video).stat().st_size > 1000
    assert main(["rl", "train", "ppo", "CartPole-v1", "--set", "lrate=1"]) != 0
    assert "did you mean" in capsys.readouterr().err
