"""Parquet files, exactly once: one file for each transaction, `part-<index>-<transaction>.parquet`, renamed into place by the commit.

How many files there are depends on when snapshots were taken; the rows and their order do not. Read the directory as one table.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from skate.streaming import storage
from skate.streaming.errors import SinkError
from skate.streaming.operators.base import Emit
from skate.streaming.sinks.base import TransactionalSink


class ParquetSink(TransactionalSink):
    kind = "parquet files"

    def __init__(self, directory: str | Path) -> None:
        super().__init__()
        self.directory = Path(os.path.abspath(os.path.expanduser(directory)))
        self.label = self.directory.name

    def open(self, index: int, parallelism: int) -> None:
        super().open(index, parallelism)
        self.directory.mkdir(parents=True, exist_ok=True)

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        rows, _ = self.mapped(_row_of, batch, emit)
        self.buffer.extend(rows)

    def prepare(self, sequence: int, records: list[Any]) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pa.Table.from_pylist(records)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise SinkError(f"{self.name}: records of one file do not have the same types: {error}") from error
        stream = pa.BufferOutputStream()
        pq.write_table(table, stream)
        path = self._pending(sequence)
        data = stream.getvalue().to_pybytes()
        storage.write(path, data)
        return {"file": path.name, "final": self._final(sequence).name, "checksum": storage.checksum(data)}

    def commit_transaction(self, sequence: int, prepared: Any) -> None:
        pending, final = self.directory / prepared["file"], self.directory / prepared["final"]
        if not pending.exists():
            if not final.exists():
                raise SinkError(
                    f"neither {pending.name} nor {final.name} is in {self.directory}: were they removed by another program?"
                )
            return
        if storage.checksum(pending.read_bytes()) != prepared["checksum"]:
            raise SinkError(f"{pending} is damaged")
        storage.rename(pending, final)

    def undo_after(self, sequence: int) -> None:
        for path in self.directory.glob(".part-*.pending"):
            if self.cares_for(int(path.name.split("-")[1])):
                storage.remove(path)
        for path in self.directory.glob(f"part-{self.index:05d}-*.parquet"):
            if int(path.stem.rsplit("-", 1)[1]) > sequence:
                if sequence == 0:
                    raise SinkError(
                        f"{path} exists, and there is no snapshot that says where to go on: remove it, or write elsewhere"
                    )
                storage.remove(path)

    def _final(self, sequence: int) -> Path:
        return self.directory / f"part-{self.index:05d}-{sequence:08d}.parquet"

    def _pending(self, sequence: int) -> Path:
        return self.directory / f".part-{self.index:05d}-{sequence:08d}.pending"


def _row_of(record: Any) -> dict[str, Any]:
    if isinstance(record, dict):
        return record
    if hasattr(record, "_asdict"):
        return dict(record._asdict())
    raise TypeError(f"a row is a dict or a named tuple, not {type(record).__name__}; write .map(…) before the sink")
