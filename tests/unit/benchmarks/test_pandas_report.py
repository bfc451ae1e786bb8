"""Answers of the pandas benchmarks are compared, and goals are judged."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.pandas import report
from benchmarks.pandas.measure import disagreement, summary
from benchmarks.pandas.suites import SUITES

FRAME = pd.DataFrame({"key": ["a", "b", "c"], "value": [1.0, None, 3.0], "count": [1, 2, 3]})


def test_equal_results_agree() -> None:
    assert disagreement(summary(FRAME), summary(FRAME.copy()), is_strict=True) == ""


DIFFERENT = {
    "order": FRAME.iloc[::-1],
    "dtype": FRAME.astype({"count": "float64"}),
    "name": FRAME.rename(columns={"key": "name"}),
    "null": FRAME.fillna({"value": 0.0}),
    "rows": FRAME.head(2),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_differences_are_seen_in_strict_comparison(what: str) -> None:
    assert disagreement(summary(FRAME), summary(DIFFERENT[what]), is_strict=True) != ""


def test_order_does_not_count_for_the_other_libraries_but_values_do() -> None:
    assert disagreement(summary(FRAME), summary(FRAME.iloc[::-1]), is_strict=False) == ""
    assert disagreement(summary(FRAME), summary(FRAME.assign(count=[1, 2, 4])), is_strict=False) != ""


def test_goal_of_a_suite_is_the_geometric_mean_or_each_case() -> None:
    figures = {
        "pandas": {"q1": {"value_s": 8.0}, "q2": {"value_s": 1.0}},
        "skate": {"q1": {"value_s": 1.0}, "q2": {"value_s": 2.0}},
    }
    mean, is_reached = report.verdict(SUITES["groupby"], figures)
    assert mean == pytest.approx(2.0)
    assert is_reached is False
    worst, is_reached = report.verdict(SUITES["operations"], figures)
    assert worst == pytest.approx(0.5)
    assert is_reached is False


def test_a_failed_case_has_no_ratio() -> None:
    assert report.ratio({"value_s": 1.0}, {"error": "no answer within 120 s"}) is None
