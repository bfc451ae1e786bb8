"""Option names that do not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from skate import train, tune
from skate.train.torch import TorchConfig


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: train.ScalingConfig(num_worker=2), "ScalingConfig: 'num_worker' is not an argument; did you mean 'num_workers'?"),
        (lambda: train.ScalingConfig(trainer_resources={}), "'trainer_resources' is an option of Ray that is not taken here"),
        (lambda: train.FailureConfig(max_failure=1), "did you mean 'max_failures'?"),
        (lambda: train.CheckpointConfig(num_keep=1), "did you mean 'num_to_keep'?"),
        (lambda: train.RunConfig(storage="/tmp"), "did you mean 'storage_path'?"),
        (lambda: tune.TuneConfig(num_sample=3), "did you mean 'num_samples'?"),
        (lambda: tune.TuneConfig(max_concurrent=3), "it is called max_concurrent_trials"),
        (lambda: TorchConfig(timeout=3), "did you mean 'timeout_s'?"),
        (lambda: train.FunctionTrainer(print, epochs=3), "(they are: train_loop_per_worker, train_loop_config,"),
        (lambda: tune.ASHAScheduler(max_time=3), "did you mean 'max_t'?"),
        (lambda: tune.Tuner(print, params={}), "did you mean 'param_space'?"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_told_with_the_right_one(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert words in str(caught.value)


def test_values_still_come_by_position_and_by_name() -> None:
    assert train.ScalingConfig(2, use_gpu=True) == train.ScalingConfig(num_workers=2, use_gpu=True)
    assert "num_workers=3" in repr(train.ScalingConfig(3))
