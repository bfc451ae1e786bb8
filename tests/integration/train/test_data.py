"""Data of each kind on two workers: each row once per epoch, also when a worker is killed in the middle of one."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pytest

import skate
import skate.pandas as spd  # Here: what Polars keeps open is no leak of a test.
from skate import train
from skate.blocks import shards
from skate.train import FailureConfig, FunctionTrainer, RunConfig, ScalingConfig

ROWS = 100


@pytest.fixture(autouse=True, scope="module")
def engine() -> Iterator[None]:
    with skate.init(num_cpus=2):
        yield


def _dataset(kind: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import pyarrow as arrow
    from pyarrow import csv, parquet

    table = arrow.table({"row": np.arange(ROWS), "double": np.arange(ROWS) * 2.0})
    match kind:
        case "csv":
            csv.write_csv(table, path / "rows.csv")
            return str(path / "rows.csv")
        case "parquet":
            parquet.write_table(table.slice(0, 60), path / "a.parquet")
            parquet.write_table(table.slice(60), path / "b.parquet")
            return shards.read_parquet(path)
        case "parquet by row groups":
            monkeypatch.setattr(shards, "IN_MEMORY_BYTES", 0)
            parquet.write_table(table, path / "rows.parquet", row_group_size=9)
            return shards.read_parquet(path / "rows.parquet")
        case "skate.pandas":
            return spd.DataFrame({"row": np.arange(ROWS), "double": np.arange(ROWS) * 2.0})
    return {"row": np.arange(ROWS), "double": np.arange(ROWS) * 2.0}


@pytest.fixture(scope="session", autouse=True)
def arrow_has_read_csv() -> None:
    """pyarrow opens a pipe for Ctrl-C with the first CSV file it reads, and keeps it as long as the process lives: not a test's leak."""
    pyarrow.csv.read_csv(io.BytesIO(b"a\n1\n"))


@pytest.mark.parametrize("kind", ["arrays", "csv", "parquet", "parquet by row groups", "skate.pandas"])
def test_each_row_once_per_epoch_though_a_worker_is_killed_in_the_middle(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loop() -> None:
        from skate.train import collective

        context, checkpoint, shard = train.get_context(), train.get_checkpoint(), train.get_dataset_shard("train")
        if checkpoint:
            shard.load_state_dict(json.loads(Path(checkpoint.path, "shard").read_text()))
        while shard.epoch < 2:
            epoch = shard.epoch
            for batch in shard.iter_batches(global_batch_size=16):
                if context.get_attempt() == 0 and context.get_world_rank() == 1 and epoch == 1 and shard.position == 48:
                    os.kill(os.getpid(), 9)
                assert (batch["double"] == batch["row"] * 2).all()
                seen = np.zeros(ROWS)
                seen[batch["row"]] += 1
                collective.all_reduce(seen)
                with tempfile.TemporaryDirectory() as directory:
                    Path(directory, "shard").write_text(json.dumps(shard.state_dict()))
                    kept = train.Checkpoint.from_directory(directory) if context.get_world_rank() == 0 else None
                    train.report({"epoch": epoch, "seen": seen}, checkpoint=kept)

    result = FunctionTrainer(
        loop,
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=tmp_path / "runs", verbose=0, failure_config=FailureConfig(max_failures=1)),
        datasets={"train": _dataset(kind, tmp_path, monkeypatch)},
    ).fit()
    assert result.failures == 1
    orders = []
    for epoch in range(2):
        batches = [np.array(row["seen"]) for row in result.metrics_history if row["epoch"] == epoch]
        assert sum(batches).tolist() == [1.0] * ROWS
        orders.append([sorted(np.flatnonzero(batch)) for batch in batches])
    assert orders[0] != orders[1], "each epoch has an order of its own"
