"""What the estimates rest on, and what is pandas' at once because planning would cost more than it brings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pytest

import skate.pandas as pd
from skate.pandas import costs, lazy
from skate.pandas.plan import largest


@pytest.mark.parametrize("groups", [1, 10, 1000, 50_000])
def test_the_number_of_groups_is_estimated_from_a_sample(groups: int) -> None:
    dice = np.random.default_rng(1)
    estimates = [costs.estimated_groups(6000, len(np.unique(dice.integers(0, groups, 6000)))) for _ in range(20)]
    assert np.median(estimates) == pytest.approx(groups, rel=0.15)
    assert costs.estimated_groups(100, 100) == np.inf


@pytest.fixture
def frame() -> Any:
    rows = 1_200_000
    dice = np.random.default_rng(2)
    when = pandas.Timestamp("2020-01-01") + pandas.to_timedelta(dice.integers(0, 10**6, rows), unit="s")
    return pd.DataFrame(
        {"key": dice.integers(0, 9, rows), "x": dice.normal(size=rows), "y": dice.normal(size=rows), "when": when}
    )


def test_arithmetic_on_columns_in_memory_is_done_at_once(frame: Any) -> None:
    for made in (
        frame.x * 2 + frame.y,
        -frame.x,
        frame.key.astype("float64"),
        frame.x.fillna(0.0),
        frame.when.dt.hour,
        frame[["x", "y"]],
    ):
        assert lazy.planned(made) is None
    mask = frame.x > 0
    assert lazy.planned(mask) is not None  # For the filter that follows.
    rows = frame[mask]
    assert lazy.planned(rows.x * 2 + rows.y) is not None
    assert lazy.planned(rows.when.dt.hour) is not None


def test_assign_shares_what_it_does_not_change(frame: Any) -> None:
    made = frame.assign(z=lambda d: d.x * d.y)
    assert np.shares_memory(made["x"].to_numpy(), frame["x"].to_numpy())
    pandas.testing.assert_series_equal(pandas.Series(made.z), pandas.Series(frame.x * frame.y), check_names=False)
    made.loc[0, "x"] = 100.0
    assert frame.x[0] != 100.0


@pytest.mark.parametrize(
    ("values", "is_bounded"), [([0.5, 1.5], True), ([np.nan, 1.0], True), ([np.inf, 1.0], False), ([1e200, 1e200], False)]
)
def test_sums_of_products_are_cleaned_where_they_may_hold_nan(
    values: list[float], is_bounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """inf * 0 is NaN, which pandas' sum skips and Polars' does not."""
    monkeypatch.setattr(pd.settings, "rows_min", 1)
    plain = pandas.DataFrame({"key": [1, 1, 2, 2], "x": [*values, 3.0, 4.0], "y": [0.0, 2.0, 3.0, 4.0], "on": [True] * 4})
    ours = pd.DataFrame(plain)
    rows = ours[ours.on]
    product = rows.x * rows.y * (1 - rows.x)
    plan: Any = lazy.planned(product)
    assert (largest(plan.base, next(iter(plan.columns.values()))) is not None) is is_bounded
    expected = plain.assign(product=plain.x * plain.y * (1 - plain.x))
    wanted: Any = {"total": ("product", "sum"), "mean": ("product", "mean")}
    made = rows.assign(product=product).groupby("key").agg(**wanted)
    assert lazy.planned(made) is not None
    pandas.testing.assert_frame_equal(pandas.DataFrame(made), expected.groupby("key").agg(**wanted))
    assert float(product.sum()) == pytest.approx(expected["product"].sum())
