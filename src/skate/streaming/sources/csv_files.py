"""Rows of CSV files, by their header line; compressed ones, too.

A row may span lines (quoted ones), so a file is read as a whole by one subtask; a position is a number of rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from skate.streaming.batch import Batch
from skate.streaming.sources.base import BATCH_RECORDS, Reader, Source, Split
from skate.streaming.sources.text_files import TextFiles, open_bytes

RawRow = tuple[list[str], list[str], int]  # (header, fields, row number from 1)


class CsvFiles(Source):
    kind = "csv files"

    def __init__(self, paths: str | Path | Sequence[str | Path], *, delimiter: str = ",", watch: bool = False) -> None:
        if len(delimiter) != 1:
            raise ValueError(f"delimiter={delimiter!r}: one character")
        self.files = TextFiles(paths, watch=watch)
        self.delimiter = delimiter
        self.grows = watch
        self.is_bounded = not watch
        self.label = self.files.label

    def splits(self) -> list[Split]:
        return [Split(path, path) for path in self.files.files()]

    def open(self, split: Split, position: Any) -> Reader:
        return _CsvReader(split.detail, self.delimiter, position or 0)

    def settings(self) -> dict[str, Any]:
        return {"delimiter": self.delimiter}

    def size_bytes(self) -> int | None:
        return self.files.size_bytes()


class _CsvReader(Reader):
    def __init__(self, path: str, delimiter: str, position: int) -> None:
        self.path = path
        self.position: int = position
        contents: Any = open_bytes(path)
        self.file = io.TextIOWrapper(io.BufferedReader(contents), encoding="utf-8-sig", errors="replace", newline="")
        self.rows: Iterator[list[str]] = csv.reader(self.file, delimiter=delimiter)
        self.header = next(self.rows, [])
        for _ in islice(self.rows, position):
            pass

    def read(self) -> Batch | None:
        start = self.position
        rows: list[RawRow] = []
        for row in islice(self.rows, BATCH_RECORDS):
            self.position += 1
            if row:
                rows.append((self.header, row, self.position))
        if self.position == start:
            self.is_done = True
            return None
        return Batch(rows, None, None, f"{self.path}, rows {start + 1:,} to {self.position:,}")

    def close(self) -> None:
        self.file.close()


def row_of(raw: RawRow) -> dict[str, str]:
    """The row as a dict.

    Raises:
        ValueError: It has more or fewer fields than the header.
    """
    header, fields, number = raw
    if len(fields) != len(header):
        raise ValueError(f"row {number:,} has {len(fields)} fields, the header has {len(header)}")
    return dict(zip(header, fields, strict=True))
