"""For tests of `skate.pandas` in real processes."""

from __future__ import annotations

import pandas as pd
import pytest

import skate.pandas as spd


@pytest.fixture(scope="session", autouse=True)
def polars_is_at_work(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Polars starts its threads, and opens what they poll, with its first scan, and keeps both as long as the process lives: not a test's leak."""
    path = tmp_path_factory.mktemp("polars") / "scan.parquet"
    pd.DataFrame({"a": range(500_000), "b": range(500_000)}).to_parquet(path)
    frame = spd.read_parquet(path)
    assert len(frame[frame.a > 1].groupby("b").sum()) == 499_998
