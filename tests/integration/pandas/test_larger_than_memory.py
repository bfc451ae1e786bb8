"""Files that are larger than the memory a process may use: filtered, grouped and written all the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import skate.pandas as spd
from skate.pandas import ledger

BLOCK_ROWS, BLOCKS = 500_000, 48
LIMIT_BYTES = 450 << 20  # On top of what the libraries take; the file has 768,000,000.

PROGRAM = """
import resource, sys
import polars as pl
import skate.pandas as pd
pl.LazyFrame({"a": [1]}).select(pl.col("a").sum()).collect()
for line in open("/proc/self/status"):
    if line.startswith("VmData"):
        used = int(line.split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + %d,) * 2)
source, target = sys.argv[1:]
"""


def block() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "key": rng.integers(0, 1000, BLOCK_ROWS), "a": rng.normal(size=BLOCK_ROWS), "b": rng.integers(0, 100, BLOCK_ROWS).astype(float),
            "c": rng.integers(0, 10**6, BLOCK_ROWS),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "large.parquet"
    table = pa.Table.from_pandas(block(), preserve_index=False).replace_schema_metadata(None)
    with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(BLOCKS):
            writer.write_table(table)
    yield path
    path.unlink()


def limited(rest: str, source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM % LIMIT_BYTES + rest, str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_pandas_can_not(large: Path, tmp_path: Path) -> None:
    done = limited("print(pd.read_parquet(source).to_pandas().shape)", large, tmp_path / "out")
    assert done.returncode != 0


def test_filter_and_groupby(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    rest = """
df = pd.read_parquet(source)
result = df[df.a > -1].groupby("key").agg({"b": "mean", "c": "sum"})
result.to_pandas().to_parquet(target)
"""
    done = limited(rest, large, target)
    assert done.returncode == 0, done.stderr[-2000:]
    one = block()
    expected = one[one.a > -1].groupby("key").agg({"b": "mean", "c": "sum"})
    expected["c"] *= BLOCKS
    pd.testing.assert_frame_equal(pd.read_parquet(target), expected)


def test_to_parquet(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    done = limited("df = pd.read_parquet(source)\ndf[df.a > 0].to_parquet(target)\nprint(pd.report())", large, target)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "to_parquet('out.parquet')" in done.stdout
    one = block()
    kept = one[one.a > 0]
    found = pq.ParquetFile(target)
    assert found.metadata.num_rows == len(kept) * BLOCKS
    head = pd.read_parquet(target, filters=[("__index_level_0__", "<", 2 * BLOCK_ROWS)])
    pd.testing.assert_frame_equal(head, pd.concat([kept, kept.set_axis(kept.index + BLOCK_ROWS)]))


def test_to_csv(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    done = limited("df = pd.read_parquet(source)\ndf[df.a > 3].to_csv(target)", large, target)
    assert done.returncode == 0, done.stderr[-2000:]
    one = block()
    kept = one[one.a > 3]
    whole = pd.concat([kept.set_axis(kept.index + place * BLOCK_ROWS) for place in range(BLOCKS)])
    assert target.read_text() == whole.to_csv()


# ---------------------------------------------------------------- the same files, small


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spd.settings, "memory_bytes", 1)
    monkeypatch.setattr(spd.settings, "file_bytes_min", 0)
    monkeypatch.setattr("skate.pandas.memory._KNOWN_SMALL", 0)
    ledger.entries.clear()


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    rows = 3_000
    return pd.DataFrame(
        {
            "n": np.arange(rows), "x": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)), "text": [None if i % 9 == 0 else f'a "{i}", ß' for i in range(rows)],
            "flag": rng.random(rows) < 0.5, "small": rng.integers(0, 99, rows).astype("int16"), "f": rng.normal(size=rows).astype("float32"),
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{}, {"index": False}, {"sep": ";", "na_rep": "NA"}, {"header": False}, {"float_format": "%.2f"}]
)
def test_csv_is_the_same_to_the_byte(
    short_of_memory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    monkeypatch.setattr("skate.pandas.sinks.BATCH_CELLS", 2_000)
    source, target = tmp_path / "in.parquet", tmp_path / "out.csv"
    frame().to_parquet(source)
    ours = spd.read_parquet(source)
    ours[ours.n > 100].to_csv(target, **options)
    assert any(entry.what.startswith("to_csv") for entry in ledger.entries.values())
    plain = frame()
    assert target.read_text() == plain[plain.n > 100].to_csv(**options)  # type: ignore[call-overload]


@pytest.mark.parametrize("case", ["filter", "columns", "sorted", "nothing", "index"])
def test_parquet_reads_back_the_same(short_of_memory: None, tmp_path: Path, case: str) -> None:
    source, target, control = tmp_path / "in.parquet", tmp_path / "out.parquet", tmp_path / "control.parquet"
    frame().assign(t=pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(3_000), unit="h")).to_parquet(source)

    def change(df: pd.DataFrame) -> pd.DataFrame:
        return {
            "filter": lambda: df[df.n > 100], "columns": lambda: df.assign(y=df.n + df.small)[["y", "text", "t"]], "sorted": lambda: df.sort_values(["flag", "n"]),
            "nothing": lambda: df[df.n < 0], "index": lambda: df.set_index("n")[["x", "t"]],
        }[case]()  # fmt: skip

    change(spd.read_parquet(source)).to_parquet(target)
    change(pd.read_parquet(source)).to_parquet(control)
    pd.testing.assert_frame_equal(pd.read_parquet(target), pd.read_parquet(control))


def test_csv_is_read_in_pieces_too(short_of_memory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spd.settings, "rows_min", 100)
    source = tmp_path / "in.csv"
    rows = 40_000
    rng = np.random.default_rng(6)
    plain = pd.DataFrame(
        {"n": np.arange(rows), "x": rng.normal(size=rows), "k": rng.integers(0, 9, rows), "word": rng.choice(["a", "b"], rows)}
    )
    plain.to_csv(source, index=False)
    ours, plain = spd.read_csv(source), pd.read_csv(source)
    assert "_sk_plan" in ours.__dict__
    ours[ours.x > 0].to_csv(tmp_path / "out.csv")
    assert any(entry.what.startswith("to_csv") for entry in ledger.entries.values())
    assert (tmp_path / "out.csv").read_text() == plain[plain.x > 0].to_csv()
    ours[ours.x > 0].to_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), plain[plain.x > 0])
    result = ours[ours.x > 0].groupby("k").agg({"x": "sum", "n": "max"})
    pd.testing.assert_frame_equal(result.to_pandas(), plain[plain.x > 0].groupby("k").agg({"x": "sum", "n": "max"}))
