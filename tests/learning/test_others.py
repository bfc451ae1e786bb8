"""The other algorithms on CartPole: every listed seed, judged by an evaluator of its own with seeds training has not seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import skate
from skate import rl


@pytest.fixture(autouse=True)
def engine() -> Iterator[None]:
    yield
    skate.shutdown()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "changes", "steps"),
    [
        ("A2C", {}, 600_000),
        ("A3C", {"num_workers": 2}, 600_000),
        ("IMPALA", {"num_workers": 2}, 180_000),
        ("ES", {}, 600_000),
        ("DQN", {}, 600_000),
        ("ApeX", {"num_workers": 2}, 600_000),
    ],
)
def test_cartpole_is_solved(name: str, changes: dict[str, Any], steps: int) -> None:
    with getattr(rl, name)("CartPole-v1", seed=1, **changes) as algorithm:
        result = algorithm.train(steps, until_return=475, seconds_max=100)
        assert result.evaluation is not None, f"never came near: {result.curve[-1]}"
        assert result.evaluation.mean >= 475
