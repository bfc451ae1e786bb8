"""Tails a run file for a browser: what it has not had yet, as the bytes that are in the files. (Python programs read them by `runfile`.)

A run is a folder (docs/architecture/run-file.md): rows, strings and blobs, in files that only grow. A `Tail` remembers how far one
reader has come, so a slow reader costs nothing but its own delay, and the server keeps no copy of anything. What decides what the bytes
mean is the page (static/model.js) and `report.py`; this file only moves them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from skate import run_format as f
from skate.dashboard import runfile
from skate.dashboard.runfile import list_segments, read_piece

CHUNK_BYTES = 512 * 1024  # Of one file in one step: a browser that has just come gets its history in pieces.
BLOB_HISTORY_BYTES = (
    8 * 1024 * 1024
)  # Of log lines, errors and documents are sent to a browser that has just come; older ones on demand.

STRINGS, BLOBS, ROWS = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one of the files: `offset` in `segment`."""

    kind: int
    segment: int
    offset: int
    data: bytes


class Tail:
    """Where one reader stands in a run. `step` returns what is new; strings and blobs come before the rows that name them."""

    def __init__(self, directory: str, blob_history_bytes: int = BLOB_HISTORY_BYTES) -> None:
        self._directory = directory
        self._strings = _Files(directory, "strings")
        self._rows = _Files(directory, "rows-")
        self._blobs = _Files(directory, "blobs-")
        self._rows.start_at_oldest()
        self._blobs.start_before_end(blob_history_bytes)

    def step(self) -> list[Piece]:
        """The next pieces; empty when nothing is new. Each is at most CHUNK_BYTES long."""
        rows = self._rows.read(CHUNK_BYTES, f.ROW_BYTES)
        # Read after the rows: the recorder writes strings and blobs first, so what these rows name is there by now.
        pieces = [Piece(STRINGS, *piece) for piece in self._strings.read_all()]
        pieces += [Piece(BLOBS, *piece) for piece in self._blobs.read_all()]
        if rows is not None:
            pieces.append(Piece(ROWS, *rows))
        return pieces

    def close(self) -> None:
        for files in (self._strings, self._rows, self._blobs):
            files.close()


class _Files:
    """One kind of file of a run, in segments that come and go; `strings` is a single file."""

    def __init__(self, directory: str, prefix: str) -> None:
        self._directory = directory
        self._prefix = prefix
        self._is_single = not prefix.endswith("-")
        self._segment = 0
        self._offset = 0
        self._fd = -1

    def start_at_oldest(self) -> None:
        self._segment = self._oldest()

    def start_before_end(self, size_bytes: int) -> None:
        """So that at most so many bytes of history come; at the border of a blob is not needed, the page joins by offset."""
        left = size_bytes
        segments = self._segments()
        for segment in reversed(segments):
            size = os.path.getsize(self._path(segment)) if os.path.exists(self._path(segment)) else 0
            self._segment, self._offset = segment, max(0, size - left)
            left -= size
            if left <= 0:
                break

    def read(self, bytes_max: int, unit: int = 1) -> tuple[int, int, bytes] | None:
        """The next bytes, a multiple of `unit`: (segment, offset, bytes)."""
        for _ in range(3):  # This segment, or the next, or the oldest that is left.
            if self._fd < 0 and not self._open():
                return None
            data = os.pread(self._fd, bytes_max, self._offset)
            data = data[: len(data) - len(data) % unit]
            if data:
                offset = self._offset
                self._offset += len(data)
                return self._segment, offset, data
            if not self._advance():
                return None
        return None

    def read_all(self) -> Iterator[tuple[int, int, bytes]]:
        while (piece := self.read(CHUNK_BYTES)) is not None:
            yield piece

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> bool:
        try:
            self._fd = os.open(self._path(self._segment), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            oldest = self._oldest()
            if self._is_single or oldest <= self._segment:
                return False
            self._segment, self._offset = oldest, 0
            return self._open()
        return True

    def _advance(self) -> bool:
        """To the next segment, when there is one; then this one is complete."""
        if self._is_single:
            return False
        next_segment = self._segment + 1
        if not os.path.exists(self._path(next_segment)):
            if os.fstat(self._fd).st_nlink:  # Not rotated away: this is the newest. The folder is not listed at every look.
                return False
            later = [segment for segment in self._segments() if segment > self._segment]
            if not later:
                return False
            next_segment = later[0]
        size = os.fstat(self._fd).st_size
        if size > self._offset and size - self._offset >= f.ROW_BYTES:
            return True  # It grew between the read and the look at the next.
        self.close()
        self._segment, self._offset = next_segment, 0
        return True

    def _path(self, segment: int) -> str:
        return os.path.join(self._directory, self._prefix if self._is_single else f"{self._prefix}{segment:05d}")

    def _segments(self) -> list[int]:
        return list_segments(self._directory, self._prefix)

    def _oldest(self) -> int:
        return next(iter(self._segments()), 0)


def read_record(directory: str) -> dict[str, Any]:
    """What run.json tells; {} while there is none."""
    try:
        with open(os.path.join(directory, f.RECORD_NAME), encoding="utf-8") as file:
            record: dict[str, Any] = json.load(file)
            return record
    except (OSError, ValueError):
        return {}


def read_blob(directory: str, segment: int, offset: int, size_bytes: int) -> bytes:
    """Some bytes of a blob file; b"" when they have been rotated away."""
    return read_piece(os.path.join(directory, f.blobs_name(segment)), offset, size_bytes)


def list_runs(folder: str) -> list[dict[str, Any]]:
    """The runs of a folder, newest first: what run.json tells, with `id`, `size_bytes` and `modified_s`."""
    runs = []
    for run in runfile.list_runs(folder):
        try:
            size = sum(file.stat().st_size for file in os.scandir(run.path))
            modified_s = os.stat(run.path).st_mtime
        except OSError:  # Removed meanwhile.
            continue
        runs.append({**run.record, "id": run.name, "size_bytes": size, "modified_s": modified_s})
    return runs
