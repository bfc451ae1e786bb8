"""Columnar windows give what a loop over the records gives."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skate.streaming import RecordError, Session, Stream, Tumbling
from skate.streaming.batch import Batch
from skate.streaming.operators.table_windows import TableWindows

AGGREGATES: dict[str, str | tuple[str, str]] = {
    "n": "count", "total": ("sum", "value"), "low": ("min", "value"), "high": ("max", "value"), "mean": ("mean", "value"),
}  # fmt: skip


def make_rows(count: int = 5000) -> list[dict[str, Any]]:
    dice = random.Random(5)
    return [
        {
            "time": i / 50 + dice.uniform(0, 2),
            "user": f"u{dice.randrange(40)}",
            "site": dice.randrange(3),
            "value": dice.randrange(100),
        }
        for i in range(count)
    ]


def by_loop(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    windows: dict[Any, list[int]] = {}
    for row in rows:
        windows.setdefault((row["time"] // 10 * 10, row["user"], row["site"]), []).append(row["value"])
    return sorted(
        (start, user, site, len(v), sum(v), min(v), max(v), sum(v) / len(v)) for (start, user, site), v in windows.items()
    )


def rows_of(results: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((r["start_s"], r["user"], r["site"], r["n"], r["total"], r["low"], r["high"], r["mean"]) for r in results)


@pytest.mark.parametrize("parallelism", [1, 3])
def test_results_are_those_of_a_loop(tmp_path: Path, parallelism: int) -> None:
    rows = make_rows()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=300)
    stream = Stream.from_parquet(tmp_path / "a.parquet", frames=True)
    windows = stream.window_tables(Tumbling(10), time="time", keys=["user", "site"], aggregates=AGGREGATES, max_delay_s=500)
    assert rows_of(windows.to_list().run(in_process=True, parallelism=parallelism, interval_s=0.01)) == by_loop(rows)


def test_state_goes_on_with_another_parallelism() -> None:
    rows = make_rows(2000)
    first = TableWindows(Tumbling(10), ["user", "site"], AGGREGATES)
    frame = pl.DataFrame(rows).with_columns(start_s=pl.col("time"))
    first.process(Batch([frame]), lambda batch, side="": None)
    state = first.snapshot()
    results: list[dict[str, Any]] = []
    counts = []
    for index in range(3):
        part = TableWindows(Tumbling(10), ["user", "site"], AGGREGATES)
        part.open(index, 3)
        part.restore([state], lambda key: True)
        before = len(results)
        part.finish(lambda batch, side="": results.extend(batch.values))
        counts.append(len(results) - before)
    assert rows_of(results) == by_loop(rows)
    assert all(counts)


def test_windows_close_with_the_watermark_and_late_rows_are_counted() -> None:
    operator = TableWindows(Tumbling(10), ["user"], {"n": "count"})
    out: list[dict[str, Any]] = []
    emit = lambda batch, side="": out.extend(batch.values)  # noqa: E731
    operator.process(Batch([pl.DataFrame({"start_s": [1.0, 2.0, 12.0], "user": ["a", "a", "a"]})]), emit)
    operator.advance(9.0, emit)
    assert out == []
    operator.advance(11.0, emit)
    assert out == [{"user": "a", "start_s": 0.0, "end_s": 10.0, "n": 2}]
    operator.process(Batch([pl.DataFrame({"start_s": [3.0, 13.0], "user": ["a", "a"]})]), emit)
    assert operator.late == 1
    operator.finish(emit)
    assert out[1:] == [{"user": "a", "start_s": 10.0, "end_s": 20.0, "n": 2}]


def test_times_may_be_timestamps() -> None:
    table = pa.table({"at": [datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC), datetime(1970, 1, 1, 0, 0, 25, tzinfo=UTC)], "k": [1, 1]})
    windows = Stream.from_list([table]).window_tables(Tumbling(10), time="at", keys="k", aggregates={"n": "count"})
    assert [row["start_s"] for row in windows.to_list().run(in_process=True)] == [0.0, 20.0]


def test_mistakes_are_named() -> None:
    stream = Stream.from_list([pa.table({"t": [1.0], "k": [1]})])
    with pytest.raises(TypeError, match="takes Tumbling windows, not Session"):
        stream.window_tables(Session(5), time="t", keys="k", aggregates={"n": "count"})
    with pytest.raises(ValueError, match=r"total='sum': \"count\", or"):
        stream.window_tables(Tumbling(5), time="t", keys="k", aggregates={"total": "sum"})
    with pytest.raises(RecordError, match=r"the column 'time' is needed, not \(t, k\)"):
        stream.window_tables(Tumbling(5), time="time", keys="k", aggregates={"n": "count"}).to_list().run(in_process=True)
