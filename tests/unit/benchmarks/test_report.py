"""Ratios and goals of the benchmark table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.engine import actor_model, limits, measure, pools, report, runner
from benchmarks.engine.rows import PEERS, ROWS, Goal, Row
from benchmarks.engine.runner import Figure

MORE = Row("more", "more is better", goals=(Goal(10, "ray"), Goal(100)))
LESS = Row("less", "less is better", "s", goals=(Goal(0.3), Goal(2, "ray")), is_less_better=True)


def test_a_ratio_says_how_many_times_as_good() -> None:
    assert report.ratio(MORE, 500, 50) == 10
    assert report.ratio(LESS, 0.1, 2.0) == pytest.approx(20)
    assert report.ratio(MORE, None, 5) is None


def test_goals_are_reached_missed_or_not_measured() -> None:
    assert report.verdicts(MORE, {"skate": 500.0, "ray": 50.0}) == [("10× ray", True), ("≥ 100", True)]
    assert report.verdicts(LESS, {"skate": 0.4}) == [("≤ 0.3", False), ("2× ray", None)]


def test_other_answers_than_skates_are_reported() -> None:
    figures = [
        Figure("r", "skate", 1.0, answer=[1, 2]),
        Figure("r", "ray", 1.0, answer=[1, 3]),
        Figure("r", "pool", 1.0, answer=[1, 2]),
    ]
    assert runner.disagreements(figures) == ["r: ray computed [1, 3], skate [1, 2]"]


def test_the_record_says_where_figures_come_from(tmp_path: Path) -> None:
    figures = [Figure("more", "skate", 500.0, version="0.1.0"), Figure("more", "ray", None, error="no answer within 1 s")]
    record = json.loads(report.write(figures, [MORE], quick=True, problems=[], directory=tmp_path).read_text())
    assert record["versions"] == {"skate": "0.1.0"}
    assert record["rows"][0]["figures"]["ray"]["error"] == "no answer within 1 s"
    assert {"commit", "machine", "command", "is_quick"} <= record.keys()


def test_the_table_prints(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_table(
        [MORE, LESS], [Figure("more", "skate", 1234.0), Figure("more", "ray", 10.0), Figure("less", "skate", None, error="broke")]
    )
    out = capsys.readouterr().out
    assert "1,234" in out
    assert "(123×)" in out
    assert "broke" in out


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_every_row_has_code_for_each_of_its_peers(row: Row) -> None:
    assert callable(getattr(actor_model.Rows, row.name))
    for peer in row.peers:
        assert peer in PEERS
        if peer != "ray":
            assert callable(getattr({**pools.PEERS, **limits.PEERS}[peer], row.name))
    assert all(not goal.peer or goal.peer in row.peers for goal in row.goals)


def test_measuring_needs_no_engine_to_be_imported() -> None:
    assert "skate" not in vars(measure)
