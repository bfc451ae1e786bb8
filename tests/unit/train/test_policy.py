"""What training decides."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from skate.train import policy
from skate.train.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig


def test_as_many_workers_as_fit_within_bounds() -> None:
    assert policy.choose_world_size((1, 4), {"CPU": 3.0}, {"CPU": 1.0}) == 3
    assert policy.choose_world_size((1, 4), {"CPU": 9.0}, {"CPU": 1.0}) == 4
    assert policy.choose_world_size((2, 4), {"CPU": 1.0}, {"CPU": 1.0}) == 0
    assert policy.choose_world_size((1, 4), {"CPU": 9.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.5}) == 2


def test_max_failures_counts_failures_and_minus_one_never_ends() -> None:
    assert [policy.may_retry(n, 2) for n in (1, 2, 3)] == [True, True, False]
    assert not policy.may_retry(1, 0)
    assert policy.may_retry(10**6, -1)


def test_the_best_checkpoints_stay_and_always_the_latest() -> None:
    kept = [policy.Kept(0, 0.9), policy.Kept(1, 0.5), policy.Kept(2, 0.7), policy.Kept(3, 0.1)]
    assert policy.choose_dropped(kept, 2, "max") == [1]  # 0 and 2 are best; 3 is the latest.
    assert policy.choose_dropped(kept, 2, "min") == [0, 2]
    assert policy.choose_dropped(kept, None, "max") == []


@given(st.lists(st.floats(allow_nan=True) | st.none(), max_size=12), st.integers(1, 5), st.sampled_from(["max", "min"]))
def test_dropping_leaves_the_latest_and_no_worse_than_what_goes(scores: list[float | None], keep: int, order: str) -> None:
    kept = [policy.Kept(index, score) for index, score in enumerate(scores)]
    dropped = policy.choose_dropped(kept, keep, order)
    left = [one for one in kept if one.index not in dropped]
    if kept:
        assert kept[-1] in left
    assert len(left) <= keep + 1
    assert len(left) >= min(keep, len(kept))

    def goodness(score: float | None) -> float:
        return -math.inf if score is None or math.isnan(score) else score if order == "max" else -score

    others = [goodness(one.score) for one in left if one.index != len(kept) - 1]
    gone = [goodness(scores[index]) for index in dropped]
    assert not others or not gone or min(others) >= max(gone) or len(others) < keep


def test_history_goes_back_to_a_checkpoint() -> None:
    rows = [{"training_iteration": n, "loss": 1 / n} for n in range(1, 6)]
    assert [row["training_iteration"] for row in policy.rows_until(rows, 3)] == [1, 2, 3]


def test_the_first_metric_that_is_not_finite_is_named() -> None:
    assert policy.non_finite({"a": 1, "b": 2.0, "name": "x"}) == ""
    assert policy.non_finite({"a": 1, "loss": math.nan}) == "loss"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ScalingConfig(num_workers=0), "num_workers=0"),
        (lambda: ScalingConfig(num_workers=(3, 2)), "least"),
        (lambda: ScalingConfig(num_workers="2"), "must be an int"),  # type: ignore[arg-type]
        (lambda: ScalingConfig(resources_per_worker={"GPU": 1}), "use_gpu=True"),
        (lambda: ScalingConfig(resources_per_worker={"num_cpus": 1}), "write 'CPU'"),
        (lambda: FailureConfig(max_failures=-2), "max_failures=-2"),
        (lambda: FailureConfig(nan_policy="stop"), "nan_policy='stop'"),
        (lambda: FailureConfig(hang_timeout_s=0), "hang_timeout_s=0"),
        (lambda: CheckpointConfig(num_to_keep=0), "num_to_keep=0"),
        (lambda: CheckpointConfig(checkpoint_score_order="best"), "'max' or 'min'"),
        (lambda: RunConfig(name="a/b"), "name='a/b'"),
        (lambda: RunConfig(failure_config=3), "must be a FailureConfig"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_setting_is_told_where_it_is_written(make: object, words: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()  # type: ignore[operator]
    assert words in str(caught.value)
