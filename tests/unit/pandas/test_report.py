"""A user can see what was planned, what ran where and why."""

from __future__ import annotations

from typing import Any

import pytest

import skate.pandas as pd
from skate.pandas import ledger


@pytest.fixture
def frame(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(pd.settings, "rows_min", 1)
    monkeypatch.setattr(ledger, "entries", {})
    return pd.DataFrame({"a": [1, 2, 3], "b": [1.0, 2.0, 3.0]})


def test_explain_shows_the_plan(frame: Any) -> None:
    text = pd.explain(frame[frame.a > 1][["b"]])
    assert "└ filter" in text
    assert "memory: 3 rows" in text
    assert "FILTER" in text
    assert "nothing is planned" in pd.explain(frame)
    with pytest.raises(TypeError, match="this is a int"):
        pd.explain(1)


def test_report_names_line_engine_and_reason(frame: Any) -> None:
    made = frame[frame.a > 1]  # the line that is reported
    len(made.to_pandas())
    made = frame[frame.a > 1]
    made.merge(frame, on="a", how="outer")
    text = pd.report()
    assert "filter" in text
    assert "test_report.py:" in text
    assert "polars" in text
    assert "merge how='outer'" in text
    assert "this form of it is not planned" in text
    assert not any("skate/pandas" in str(entry.line) for entry in ledger.entries.values())


def test_parquet_is_scanned_with_pushdown(frame: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.settings, "file_bytes_min", 0)
    monkeypatch.setattr(pd.settings, "check", True)
    path = tmp_path / "x.parquet"
    frame.to_parquet(path)
    lazy_frame = pd.read_parquet(path)
    made = lazy_frame[lazy_frame.a > 1]["b"]
    assert "PROJECT 2/2" in pd.explain(made) or "Parquet" in pd.explain(made)
    path.unlink()  # A planned file is held open.
    pd.settings.check = False
    assert made.tolist() == [2.0, 3.0]


def test_a_file_that_changed_is_an_error(frame: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.settings, "file_bytes_min", 0)
    path = tmp_path / "x.parquet"
    frame.to_parquet(path)
    lazy_frame = pd.read_parquet(path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(pd.SourceChangedError, match="was changed after read_parquet"):
        len(lazy_frame[lazy_frame.a > 1].to_pandas())


def test_missing_and_broken_files_raise_what_pandas_raises(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError):
        pd.read_parquet(tmp_path / "nope.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 not really")
    with pytest.raises(Exception, match=r"(?i)parquet"):
        pd.read_parquet(broken)
