"""Row-exact shards: pure parts, and readers by way of the inline backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import skate
from skate.blocks import shards
from skate.blocks.shards import Shard


@pytest.fixture(autouse=True, scope="module")
def inline() -> Iterator[None]:
    with skate.init(address="inline"):
        yield


def _rows(shard: Shard, **options: int) -> list[list[int]]:
    return [batch["row"].tolist() for batch in shard.iter_batches(**options)]  # type: ignore[arg-type]


@settings(deadline=None)  # Prefetching has a thread: what it takes says nothing on a loaded machine.
@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 40), st.integers(0, 3))
def test_each_row_once_per_epoch_and_equally_many_batches(rows: int, workers: int, batch: int, depth: int) -> None:
    if rows < workers:
        return
    data = shards.from_columns({"row": np.arange(rows)})
    per_rank = [_rows(data.shard(rank, workers), batch_size=batch, prefetch_batches=depth) for rank in range(workers)]
    assert sorted(row for batches in per_rank for part in batches for row in part) == list(range(rows))
    assert len({len(batches) for batches in per_rank}) == 1
    assert all(part for batches in per_rank for part in batches)


@settings(deadline=None)
@given(st.integers(8, 100), st.integers(1, 4), st.integers(1, 4))
def test_a_global_batch_has_the_same_rows_whatever_the_number_of_workers(rows: int, few: int, many: int) -> None:
    data = shards.from_columns({"row": np.arange(rows)}, seed=3)

    def batches(workers: int) -> list[list[int]]:
        parts = [_rows(data.shard(rank, workers), global_batch_size=8) for rank in range(workers)]
        return [[row for part in step for row in part] for step in zip(*parts, strict=True)]

    one, other = batches(few), batches(many)
    whole = rows // 8 - 1  # Where the rest joins depends on the number of workers.
    assert one[:whole] == other[:whole]


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3))
def test_an_epoch_is_resumed_with_another_number_of_workers(stop: int, before: int, after: int) -> None:
    data = shards.from_columns({"row": np.arange(60)})
    seen: list[int] = []
    state = {}
    for rank in range(before):
        shard = data.shard(rank, before)
        for count, batch in enumerate(shard.iter_batches(global_batch_size=6), start=1):
            seen += batch["row"].tolist()
            if count == stop:
                state = shard.state_dict()
                break
    for rank in range(after):
        shard = data.shard(rank, after)
        shard.load_state_dict(state)
        seen += [row for part in _rows(shard, global_batch_size=6) for row in part]
        assert shard.epoch == 1
    assert sorted(seen) == list(range(60))


def test_epochs_differ_and_seeds_repeat_them() -> None:
    data = shards.from_columns({"row": np.arange(50)}, seed=1)
    shard = data.shard(0, 1)
    first, second = _rows(shard, batch_size=50)[0], _rows(shard, batch_size=50)[0]
    assert first != second
    assert _rows(data.shard(0, 1), batch_size=50)[0] == first
    assert _rows(shards.from_columns({"row": np.arange(50)}, shuffle=False).shard(0, 1), batch_size=50)[0] == list(range(50))


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 4))
def test_the_windowed_order_is_a_permutation_that_needs_few_groups_at_a_time(groups: list[int], window: int) -> None:
    order = shards.windowed_order(groups, 0, 0, window)
    assert sorted(order.tolist()) == list(range(sum(groups)))
    group_of = np.repeat(np.arange(len(groups)), groups)[order]
    last = {int(group): max(np.flatnonzero(group_of == group)) for group in set(group_of)}
    for at in range(len(order)):
        started = {int(group) for group in group_of[: at + 1]}
        assert sum(last[group] >= at for group in started) <= window


def test_large_parquet_files_are_read_by_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in range(2):
        table = pa.table({"row": np.arange(part * 100, part * 100 + 100), "half": np.arange(100) / 2})
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=10)
    monkeypatch.setattr(shards, "IN_MEMORY_BYTES", 0)
    data = shards.read_parquet(tmp_path)
    assert isinstance(data.source, shards.ParquetSource)
    rows = [_rows(data.shard(rank, 3), batch_size=7) for rank in range(3)]
    assert sorted(row for batches in rows for part in batches for row in part) == list(range(200))
    assert len(data.source._kept) <= 2 * shards.WINDOW_GROUPS


def test_arrow_pandas_csv_and_arrays_are_datasets(tmp_path: Path) -> None:
    import pandas as pd
    import pyarrow as pa

    frame = pd.DataFrame({"row": range(6), "y": [0.5] * 6})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for data in (frame, pa.table(frame), {"row": np.arange(6), "y": np.ones(6)}, str(tmp_path / "a.csv"), tmp_path / "a.parquet"):
        shard = shards.as_sharded("train", data).shard(0, 1)
        assert sorted(row for part in _rows(shard, batch_size=4) for row in part) == list(range(6))
    nested = shards.as_sharded("train", pa.table({"x": [[1.0, 2.0], [3.0, 4.0]]})).shard(0, 1)
    assert next(iter(nested.iter_batches()))["x"].shape == (2, 2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"a": np.arange(3), "b": np.arange(4)}, "different numbers of rows: a 3, b 4"),
        ({}, "no columns"),
        ("/nowhere.csv", "there is no file"),
        (42, "int is not a dataset"),
        ({"a": np.arange(1)}, "1 rows for 2 workers"),
    ],
)
def test_what_is_no_dataset_is_told_with_its_name(data: object, words: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        shards.as_sharded("validation", data, least_rows=2)
    assert "validation" in str(caught.value)
    assert words in str(caught.value)
