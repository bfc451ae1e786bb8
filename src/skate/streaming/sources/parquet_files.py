"""Parquet files, a row group at a time: as dicts, or as Arrow tables. A split is a row group, and a position the rows behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.sources.base import BATCH_RECORDS, Reader, Source, Split
from skate.streaming.sources.text_files import TextFiles


class ParquetFiles(Source):
    kind = "parquet files"
    imports = ("pyarrow.parquet",)

    def __init__(
        self, paths: str | Path | Sequence[str | Path], *, columns: Sequence[str] | None = None, frames: bool = False
    ) -> None:
        self.files = TextFiles(paths)
        self.columns = None if columns is None else list(columns)
        self.frames = frames
        self.label = self.files.label

    def splits(self) -> list[Split]:
        import pyarrow.parquet as pq

        return [
            Split(f"{path}#{group}", (path, group))
            for path in self.files.files()
            for group in range(pq.ParquetFile(path).num_row_groups)
        ]

    def open(self, split: Split, position: Any) -> Reader:
        return _RowGroupReader(self, split.detail, position or 0)

    def size_bytes(self) -> int | None:
        return self.files.size_bytes()


class _RowGroupReader(Reader):
    def __init__(self, source: ParquetFiles, place: tuple[str, int], position: int) -> None:
        import pyarrow.parquet as pq

        path, group = place
        self.path = path
        self.group = group
        self.frames = source.frames
        self.position: int = position
        self.table = pq.ParquetFile(path).read_row_group(group, columns=source.columns)

    def read(self) -> Batch | None:
        start = self.position
        origin = f"{self.path}, row group {self.group}, from row {start:,}"
        if self.frames:
            self.position, self.is_done = self.table.num_rows, True
            return Batch([self.table], None, None, origin)
        rows = self.table.slice(start, BATCH_RECORDS).to_pylist()
        self.position += len(rows)
        self.is_done = self.position >= self.table.num_rows
        return Batch(rows, None, None, origin) if rows else None
