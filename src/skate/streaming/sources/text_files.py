"""Lines of text files: plain ones in byte ranges that subtasks share, compressed ones (.gz .bz2 .xz .zst) as a whole.

Lines end with "\n" (or "\r\n"); a position is a byte offset behind a line (in a compressed file: in its contents). With `watch=True`
the paths are looked at again and again: new files are read, and files that grow are read on; a last line without its end waits for it.
"""

from __future__ import annotations

import glob as globbing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from skate.streaming.batch import Batch
from skate.streaming.sources.base import BATCH_BYTES, Reader, Source, Split

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
SPLIT_BYTES = 2 * 1024 * 1024  # The less, the more evenly subtasks share what there is to read.
BLOCK_BYTES = 256 * 1024  # Columnar kernels would rather have more at once.
LINE_BYTES = 4096  # Read beyond the end of a split, for the line that goes over it.


class TextFiles(Source):
    kind = "text files"

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        watch: bool = False,
        blocks: bool = False,
        encoding: str = "utf-8",
        errors: str = "replace",
        split_bytes: int = SPLIT_BYTES,
        batch_bytes: int | None = None,
    ) -> None:
        """`blocks`: records are blocks of whole lines, as bytes, for functions that take many lines at once."""
        names = [paths] if isinstance(paths, str | Path) else list(paths)
        self.paths = [os.path.abspath(os.path.expanduser(name)) for name in names]
        self.blocks = blocks
        self.encoding = encoding
        self.errors = errors
        self.split_bytes = split_bytes
        self.batch_bytes = batch_bytes or (BLOCK_BYTES if blocks else BATCH_BYTES)
        self.grows = watch
        self.is_bounded = not watch
        self.label = os.path.basename(self.paths[0]) + (f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else "")

    def files(self) -> list[str]:
        """The files there are, sorted by name.

        Raises:
            FileNotFoundError: A path that is neither a file, a directory nor a pattern that fits any.
            ValueError: A file is named twice: positions belong to names, so it could not be read twice.
        """
        found: list[str] = []
        for path in self.paths:
            if os.path.isdir(path):
                found += sorted(entry.path for entry in os.scandir(path) if entry.is_file() and not entry.name.startswith("."))
            elif os.path.isfile(path):
                found.append(path)
            else:
                matching = sorted(name for name in globbing.glob(path, recursive=True) if os.path.isfile(name))
                if not matching and not self.grows:
                    raise FileNotFoundError(f"no such file, directory or pattern: {path}")
                found += matching
        if len(set(found)) < len(found):
            twice = next(path for path in found if found.count(path) > 1)
            raise ValueError(f"{twice} is named twice; name it once, or join two streams of it by union")
        return found

    def splits(self) -> list[Split]:
        splits = []
        for path in self.files():
            if self.grows or path.endswith(COMPRESSED):
                splits.append(Split(path, (path, 0, None)))
                continue
            size = os.path.getsize(path)
            for start in range(0, size, self.split_bytes):
                stop = min(start + self.split_bytes, size)
                splits.append(Split(f"{path}@{start}", (path, start, stop if stop < size else None)))
        return splits

    def open(self, split: Split, position: Any) -> Reader:
        path, start, stop = split.detail
        return _LineReader(self, path, start, stop, position)

    def settings(self) -> dict[str, Any]:
        return {} if self.grows else {"split_bytes": self.split_bytes}

    def size_bytes(self) -> int | None:
        return None if self.grows else sum(os.path.getsize(path) for path in self.files())


def open_bytes(path: str) -> IO[bytes]:
    """The contents of a file, uncompressed."""
    if path.endswith(".gz"):
        import gzip

        return cast("IO[bytes]", gzip.open(path, "rb"))
    if path.endswith(".bz2"):
        import bz2

        return bz2.open(path, "rb")
    if path.endswith(".xz"):
        import lzma

        return lzma.open(path, "rb")
    if path.endswith(".zst"):
        import pyarrow as pa

        return pa.input_stream(path, compression="zstd")  # type: ignore[no-any-return]
    return open(path, "rb", buffering=0)


class _LineReader(Reader):
    """A split has the lines that begin in [start, stop)."""

    def __init__(self, source: TextFiles, path: str, start: int, stop: int | None, position: int | None) -> None:
        self.source = source
        self.path = path
        self.stop = stop
        self.file = open_bytes(path)
        self.rest = b""
        self.position: int = start if position is None else position
        if path.endswith(".zst"):
            left = self.position
            while left > 0:
                left -= len(self.file.read(min(left, 1 << 20)) or b"x" * left)
        elif self.position:
            self.file.seek(self.position if position is not None else start - 1)
            if position is None:  # The line that `start` falls into belongs to the split before.
                self._skip_line(start - 1)

    def _skip_line(self, offset: int) -> None:
        while True:
            block = self.file.read(8192)
            end = block.find(b"\n")
            if end >= 0 or not block:
                self.rest = block[end + 1 :] if block else b""
                self.position = offset + (end + 1 if block else 0)
                break
            offset += len(block)
        if self.stop is not None and self.position >= self.stop:
            self.is_done = True

    def read(self) -> Batch | None:
        if self.is_done:
            return None
        block = self.file.read(self._wanted())
        data = self.rest + block
        end = data.rfind(b"\n") + 1
        if self.stop is not None and self.position + len(data) >= self.stop:
            # The line that goes over the border is ours; the next one begins at or behind `stop`.
            border = data.find(b"\n", max(0, self.stop - self.position - 1)) + 1
            if border:
                self.is_done = True
                return self._batch(data, border)
        if not block:
            if self.source.grows and not self.path.endswith(COMPRESSED):
                self.rest = data  # The last line may go on.
                return None
            self.is_done = True
            self.rest = b""
            return self._batch(data, len(data)) if data else None
        if not end:
            self.rest = data  # One line, longer than a block.
            return None if self.source.grows else self.read()
        self.rest = data[end:]
        return self._batch(data, end)

    def _wanted(self) -> int:
        """How many bytes to read: no more than this split needs, if the line over its end is not long."""
        if self.stop is None:
            return self.source.batch_bytes
        left = max(self.stop - self.position - len(self.rest), 0)
        return min(self.source.batch_bytes, left + LINE_BYTES)

    def _batch(self, data: bytes, end: int) -> Batch:
        start = self.position
        self.position = start + end
        origin = f"{self.path}, bytes {start:,} to {self.position:,}"
        piece = data if end == len(data) else data[:end]
        if self.source.blocks:
            return Batch([piece], None, None, origin)
        lines = piece.decode(self.source.encoding, self.source.errors).split("\n")
        if not lines[-1]:
            lines.pop()
        if b"\r" in piece:
            lines = [line.removesuffix("\r") for line in lines]
        return Batch(lines, None, None, origin)

    def close(self) -> None:
        self.file.close()
