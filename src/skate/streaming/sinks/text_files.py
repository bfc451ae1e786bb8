"""Text files, exactly once: each subtask writes `<directory>/part-<index>`, which only ever holds what snapshots have committed.

A transaction is a file `.part-<index>.<sequence>.pending`; committing appends it at an offset that the snapshot knows, so that doing it
twice gives the same bytes; undoing cuts the part back to that offset.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skate.streaming import storage
from skate.streaming.errors import SinkError
from skate.streaming.operators.base import Emit
from skate.streaming.sinks.base import TransactionalSink


def as_line(record: Any) -> str:
    """A string as it is; all else as JSON where that is possible, by repr otherwise."""
    if type(record) is str:
        return record
    try:
        return json.dumps(record, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(record)


class TextSink(TransactionalSink):
    kind = "text files"

    def __init__(self, directory: str | Path, format: Callable[[Any], str] = as_line) -> None:
        super().__init__()
        self.directory = Path(os.path.abspath(os.path.expanduser(directory)))
        self.format = format
        self.label = self.directory.name
        self.size_bytes = 0  # Of the part, with all that is prepared.

    def open(self, index: int, parallelism: int) -> None:
        super().open(index, parallelism)
        self.directory.mkdir(parents=True, exist_ok=True)

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        lines, _ = self.mapped(self.format, batch, emit)
        self.buffer.extend(lines)

    def prepare(self, sequence: int, records: list[Any]) -> Any:
        data = ("\n".join(records) + "\n").encode("utf-8", "surrogateescape")
        path = self._pending(sequence)
        storage.write(path, data)
        offset = self.size_bytes
        self.size_bytes += len(data)
        return {
            "file": path.name,
            "offset": offset,
            "size": len(data),
            "checksum": storage.checksum(data),
            "part": self._part().name,
        }

    def commit_transaction(self, sequence: int, prepared: Any) -> None:
        part, pending = self.directory / prepared["part"], self.directory / prepared["file"]
        end = prepared["offset"] + prepared["size"]
        size = part.stat().st_size if part.exists() else 0
        if not pending.exists():
            if size < end:
                raise SinkError(
                    f"{part} has {size:,} bytes, the snapshot says at least {end:,}: was it changed by another program?"
                )
            return  # Committed before.
        if size < prepared["offset"]:
            raise SinkError(
                f"{part} has {size:,} bytes, the snapshot says {prepared['offset']:,}: was it changed by another program?"
            )
        data = pending.read_bytes()
        if len(data) != prepared["size"] or storage.checksum(data) != prepared["checksum"]:
            raise SinkError(
                f"{pending} is damaged: {len(data):,} bytes that do not match the snapshot ({prepared['size']:,} bytes)"
            )
        storage.append_at(part, prepared["offset"], data)
        storage.sync_directory(self.directory)
        storage.remove(pending)

    def undo_after(self, sequence: int) -> None:
        part = self._part()
        if sequence == 0 and self.size_bytes == 0 and part.exists() and part.stat().st_size:
            raise SinkError(
                f"{part} exists, and there is no snapshot that says where to go on: remove it, or write to another directory"
            )
        storage.truncate(part, self.size_bytes)
        for path in self.directory.glob(".part-*.pending"):
            if self.cares_for(int(path.name[len(".part-") :].partition(".")[0])):
                storage.remove(path)

    def extra_state(self) -> dict[str, Any]:
        return {"size_bytes": self.size_bytes}

    def restore_extra(self, state: dict[str, Any]) -> None:
        self.size_bytes = state["size_bytes"]

    def finish(self, emit: Emit) -> None:
        self._part().touch()  # A part with nothing in it says so.

    def _part(self) -> Path:
        return self.directory / f"part-{self.index:05d}"

    def _pending(self, sequence: int) -> Path:
        return self.directory / f".part-{self.index:05d}.{sequence:08d}.pending"


def read_parts(directory: str | Path) -> bytes:
    """All that has been committed, part after part."""
    return b"".join(path.read_bytes() for path in sorted(Path(directory).glob("part-*")))
