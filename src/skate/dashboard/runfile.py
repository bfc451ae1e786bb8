"""Reading run files, while they grow and afterwards. The format is told in docs/architecture/run-file.md.

    run = RunFile(path)
    delta = run.tail()          # what is new since the last call: strings first, then rows
    run.names[row.name]         # texts
    run.blob(row)               # lines or JSON that a row points to

Nothing is written, nothing is locked: a reader never holds up the session. One thread at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from skate import run_format as f
from skate.run_format import ROW_BYTES, Row, unpack_row

READ_BYTES_MAX = 64 * 1024 * 1024  # In one `tail`, so that a huge run is taken in pieces.


@dataclass(slots=True)
class Delta:
    """What is new."""

    rows: bytes = b""  # Whole rows of ROW_BYTES, in the order they were written.
    strings: dict[int, str] = field(default_factory=dict)
    lost_rows: int = 0  # Were removed from the disk before this reader came to them.

    def __bool__(self) -> bool:
        return bool(self.rows or self.strings or self.lost_rows)

    def __iter__(self) -> Iterator[Row]:
        return (unpack_row(self.rows, offset) for offset in range(0, len(self.rows), ROW_BYTES))


class RunFile:
    """One run. `path`: its directory."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            FileNotFoundError: There is no run there (yet: a session writes its first row within a second of its first task).
            ValueError: It was written by a version of skate that this one does not know.
        """
        self.path = path
        self.record: dict[str, Any] = {}
        self.refresh_record()
        self.names: dict[int, str] = {0: "…"}
        self._strings_offset = 0
        self._segment = -1
        self._offset = 0

    @property
    def name(self) -> str:
        return os.path.basename(self.path.rstrip("/"))

    def refresh_record(self) -> dict[str, Any]:
        """run.json as it is now: `ended_s` and `end` appear when the session is over."""
        with open(os.path.join(self.path, f.RECORD_NAME), encoding="utf-8") as file:
            record = json.load(file)
        if record.get("format") != f.VERSION:
            raise ValueError(f"{self.path} has format {record.get('format')}, this version of skate reads {f.VERSION}")
        self.record = record
        return self.record

    @property
    def is_live(self) -> bool:
        """Whether its session still runs."""
        if self.record.get("ended_s"):
            return False
        directory = self.record.get("session_dir")
        return bool(directory) and os.path.exists(os.path.join(str(directory), "session.json"))

    def tail(self, bytes_max: int = READ_BYTES_MAX) -> Delta:
        """What was written since the last call. Call again at once while it answers with `bytes_max`."""
        delta = Delta()
        pieces: list[bytes] = []
        left = max(ROW_BYTES, bytes_max)
        segments = list_segments(self.path, "rows-")
        if segments and self._segment < segments[0]:
            if self._segment >= 0 or segments[0] > 0:
                # At least: how full the removed ones were is known for whole segments only.
                delta.lost_rows = int(self.record.get("dropped") or 0)
            self._segment, self._offset = segments[0], 0
        for segment in segments:
            if segment < self._segment or left < ROW_BYTES:
                continue
            if segment > self._segment:
                self._segment, self._offset = segment, 0
            data = self._read(f.rows_name(segment), self._offset, left)
            data = data[: len(data) - len(data) % ROW_BYTES]
            self._offset += len(data)
            left -= len(data)
            pieces.append(data)
            if left < ROW_BYTES:
                break
        # After the rows: what they name was written before them.
        delta.strings = self._new_strings()
        delta.rows = b"".join(pieces)
        return delta

    def rows(self) -> Iterator[Row]:
        """All rows from where the last `tail` stopped."""
        while delta := self.tail(4 * 1024 * 1024):
            yield from delta

    def blob(self, row: Row) -> bytes:
        """What a row of kind LOG, DOCUMENT or ERROR points to; b"" when it has been removed."""
        return self.read_blob(row.attempt, int(row.number), int(row.duration_us))

    def read_blob(self, segment: int, offset: int, size: int) -> bytes:
        return self._read(f.blobs_name(segment), offset, size)

    def document(self, row: Row) -> dict[str, Any]:
        """JSON of a row of kind DOCUMENT or ERROR; {} when it has been removed."""
        data = self.blob(row)
        try:
            value = json.loads(data) if data else {}
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def _new_strings(self) -> dict[int, str]:
        data = self._read(f.STRINGS_NAME, self._strings_offset, 1 << 30)
        found: dict[int, str] = {}
        start = 0
        head = f.STRING_HEAD.size
        while start + head <= len(data):
            number, size = f.STRING_HEAD.unpack_from(data, start)
            end = start + head + size
            if end > len(data):
                break
            found[number] = data[start + head : end].decode("utf-8", "replace")
            start = end
        self._strings_offset += start
        self.names.update(found)
        return found

    def _read(self, name: str, offset: int, size: int) -> bytes:
        return read_piece(os.path.join(self.path, name), offset, size)


def read_piece(path: str, offset: int, size: int) -> bytes:
    """Some bytes of one of a run's files; fewer at its end, none when it has been removed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        size = min(size, max(0, os.fstat(fd).st_size - offset))
        return os.pread(fd, size, offset) if size else b""
    finally:
        os.close(fd)


def list_segments(directory: str, prefix: str) -> list[int]:
    """The numbers of the files of one kind that there are, ascending."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    tails = (name[len(prefix) :] for name in names if name.startswith(prefix))
    return sorted(int(tail) for tail in tails if tail.isdigit())


# ---------------------------------------------------------------- which runs there are


def runs_folder() -> str:
    """Where runs are kept: $SKATE_RUNS_DIR, else $XDG_STATE_HOME/skate/runs, else ~/.local/state/skate/runs."""
    return f.runs_folder(os.environ)


def list_runs(folder: str | None = None) -> list[RunFile]:
    """All runs, the newest first. One that can't be read is left out."""
    folder = runs_folder() if folder is None else folder
    runs = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        try:
            runs.append(RunFile(os.path.join(folder, name)))
        except (OSError, ValueError):
            continue
    return sorted(runs, key=lambda run: -float(run.record.get("started_s") or 0))


def open_run(name: str | None = None, folder: str | None = None) -> RunFile:
    """A run by its name, the beginning of it, or its path; the newest when no name is given.

    Raises:
        LookupError: There is none, or the beginning fits several.
    """
    if name is not None and os.sep in name:
        try:
            return RunFile(name)
        except FileNotFoundError as error:
            raise LookupError(f"there is no run in {name}") from error
    runs = list_runs(folder)
    if name is None:
        if not runs:
            raise LookupError(
                f"no run is kept in {runs_folder() if folder is None else folder}: run a program that uses skate first"
            )
        return runs[0]
    fits = [run for run in runs if run.name == name] or [run for run in runs if run.name.startswith(name)]
    if len(fits) != 1:
        known = ", ".join(run.name for run in (fits or runs)[:5]) or "none"
        raise LookupError(
            f"{'several runs begin with' if fits else 'no run is called'} {name!r} ({'they' if fits else 'there'} are: {known})"
        )
    return fits[0]
