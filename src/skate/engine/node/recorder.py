"""The recorder: writes the run file (see docs/architecture/run-file.md) while the session runs.

    workers' and drivers' rows, packed by them ─► add_rows ─┐
    what the node itself sees (objects, actors, lanes) ─► row ─┼─► a buffer ─► one write per file, at FLUSH_S or when it is full
    lines, errors, documents, reports ─► blob, report ─────────┘

Rows are appended as they came. What the disk does not take is counted, told in a DROPPED row, and never an error of the session. The files lie in
the folder of runs from the start, so that no death of any process loses them; old runs go when there are too many.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from skate import run_format as f
from skate.engine.node.session import remove_tree

FLUSH_S = 0.1
BUFFER_BYTES_MAX = 256 * 1024
SEGMENT_BYTES = 16 * 1024 * 1024
ROW_SEGMENTS_KEPT = 16  # 256 MiB: 8 million rows.
BLOB_SEGMENTS_KEPT = 4
DOCUMENTS_KEPT = 256
FAILED_BYTES_MAX = 64 * 1024 * 1024
DOCUMENT_BYTES_MAX = 1024 * 1024
STRINGS_BYTES_MAX = 16 * 1024 * 1024
STRING_BYTES_MAX = 1000
RUNS_KEPT = 20
RUNS_BYTES_KEPT = 1024 * 1024 * 1024

_encode_json = msgspec.json.encode
_NODE_LANE = 0


class Recorder:
    """One session's run file. `directory` "" records nothing."""

    def __init__(
        self, directory: str, record: Mapping[str, Any], set_timer_after: Callable[[float, Callable[[], None]], Any]
    ) -> None:
        self._directory = directory
        self._record = dict(record)
        self._set_timer_after = set_timer_after
        self._has_timer = False
        self._is_open = False
        self.is_on = bool(directory)
        self.rows = 0
        self.dropped = 0
        self._untold = 0  # Drops that no DROPPED row tells yet.
        self._buffer: list[bytes] = []
        self._buffer_bytes = 0
        self._strings: dict[str, int] = {}
        self._new_strings: list[bytes] = []
        self._strings_bytes = 0
        self._blobs: list[bytes] = []
        self._blobs_bytes = 0  # In the buffer.
        self._documents: dict[str, bytes] = {}
        self._failed_bytes = 0
        self._row_fd = self._string_fd = self._blob_fd = -1
        self._row_segment = self._blob_segment = -1
        self._row_segment_bytes = self._blob_segment_bytes = 0

    @property
    def path(self) -> str:
        return self._directory

    # ------------------------------------------------------------ what comes in

    def add_rows(self, data: bytes) -> None:
        """Rows as a worker or driver has packed them."""
        if not self.is_on:
            return
        self._buffer.append(data)
        self._buffer_bytes += len(data)
        if self._buffer_bytes >= BUFFER_BYTES_MAX:
            self.flush()
        elif not self._has_timer:  # An idle session has none, and wakes for nothing.
            self._has_timer = True
            self._set_timer_after(FLUSH_S, self._on_timer)

    def _on_timer(self) -> None:
        self._has_timer = False
        self.flush()

    def row(
        self,
        kind: int,
        state: int = 0,
        attempt: int = 0,
        lane: int = 0,
        name: int = 0,
        owner: int = 0,
        number: int = 0,
        duration_us: int = 0,
    ) -> None:
        """Something that happens now, as the node sees it."""
        if self.is_on:
            self.add_rows(f.pack_row(kind, state, attempt, lane, time.time_ns() // 1000, name, owner, number, duration_us))

    def object_row(self, kind: int, object_id: bytes, size: int, lane: int = 0, duration_us: int = 0) -> None:
        if self.is_on:
            index = int.from_bytes(object_id[16:20], "big")
            self.row(kind, 0, index, lane, min(size >> 10, 0xFFFFFFFF), *owner_and_number(object_id), duration_us)

    def lane(self, state: int, lane: int, name: str, pid: int, job: int) -> None:
        """A process came or went."""
        if self.is_on:
            self.row(f.LANE, state, 0, lane, self.string(name), job, pid)

    def actor(self, state: int, lane: int, actor: bytes, name: str, restarts: int) -> None:
        """An actor lives in this lane now, or no longer. `name`: its class; of a dead one how it ended."""
        if self.is_on:
            self.row(f.ACTOR, state, restarts, lane, self.string(name), *owner_and_number(actor))

    def sample(self, lane: int, name: str, value: float) -> None:
        if self.is_on:
            self.add_rows(f.pack_value(f.SAMPLE, lane, time.time_ns() // 1000, self.string(name), value))

    def report(self, lane: int, run: str, metrics: Mapping[str, float], step: int | None, time_us: float) -> None:
        """What `skate.report` was told."""
        if self.is_on:
            for metric, value in metrics.items():
                name = self.string(f"{run}{f.SEPARATOR}{metric}")
                self.add_rows(f.pack_value(f.REPORT, lane, time_us, name, float(value), step))

    def string(self, text: str) -> int:
        """The id of a string of the node's own."""
        found = self._strings.get(text)
        if found is None:
            found = self._strings[text] = f.string_id(_NODE_LANE, len(self._strings) + 1)
            if found:
                self.add_string(found, text)
        return found

    def add_string(self, number: int, text: str) -> None:
        """A string of a worker or driver, before the rows that name it."""
        data = text.encode("utf-8", "replace")[:STRING_BYTES_MAX]
        self._strings_bytes += len(data)
        if self.is_on and self._strings_bytes <= STRINGS_BYTES_MAX:
            self._new_strings.append(f.STRING_HEAD.pack(number, len(data)) + data)

    def lines(self, lane: int, label: str, stream: int, block: bytes) -> None:
        """What a worker printed."""
        self._blob(f.LOG, stream, lane, self.string(label) if self.is_on else 0, block, block.count(b"\n") + 1)

    def error_json(self, lane: int, name: str, document: bytes) -> None:
        """A task failed; the document tells which, and how. `name`: the type of the error."""
        if self.is_on:
            self._blob(f.ERROR, 0, lane, self.string(name), document, 0)

    def tell(self, lane: int, row: list[Any]) -> bool:
        """A row of `skate.report` or `skate.publish`; False when it is another one."""
        if row[0] == "report":
            self.report(lane, row[1], row[4], row[2], row[3])
        elif row[0] == "publish":
            self.document(lane, row[1], row[2], row[4])
        else:
            return False
        return True

    def keep_failed(self, task: bytes, attempt: int, data: bytes) -> None:
        """What `skate debug` runs again. The first ones count: later failures often follow from them."""
        if not self.is_on or self._failed_bytes + len(data) > FAILED_BYTES_MAX:
            return
        self._failed_bytes += len(data)
        try:
            if not self._is_open:
                self._open()
            path = os.path.join(self._directory, f.failed_name(*owner_and_number(task), attempt))
            fd = _open_new(path)
            try:
                _write(fd, data)
            finally:
                os.close(fd)
        except OSError:  # It is a convenience.
            pass

    def document(self, lane: int, kind: str, key: str, data: bytes) -> None:
        """What `skate.publish` was told: JSON."""
        if not self.is_on:
            return
        name = f"{kind}{f.SEPARATOR}{key}"
        if len(data) > DOCUMENT_BYTES_MAX:
            self.drop(1, f"a document of {len(data):,} bytes ({kind} {key}): at most {DOCUMENT_BYTES_MAX:,} are kept")
            return
        self._documents.pop(name, None)
        self._documents[name] = data
        while len(self._documents) > DOCUMENTS_KEPT:
            del self._documents[next(iter(self._documents))]
        self._blob(f.DOCUMENT, 0, lane, self.string(name), data, 0)

    def drop(self, count: int, what: str) -> None:
        """`count` rows are not recorded."""
        self.dropped += count
        self.row(f.DROPPED, name=self.string(what), number=count)

    def _blob(self, kind: int, state: int, lane: int, name: int, data: bytes, owner: int) -> None:
        if not self.is_on:
            return
        if self._blob_segment_bytes + self._blobs_bytes + len(data) > SEGMENT_BYTES:
            self._next_blobs()
        offset = self._blob_segment_bytes + self._blobs_bytes + f.BLOB_HEAD.size
        self._blobs.append(f.BLOB_HEAD.pack(len(data)))
        self._blobs.append(data)
        self._blobs_bytes += len(data) + f.BLOB_HEAD.size
        self.row(kind, state, max(self._blob_segment, 0), lane, name, owner, offset, len(data))

    def _next_blobs(self) -> None:
        self.flush()
        self._open_blobs(self._blob_segment + 1)
        for name, data in list(self._documents.items()):  # The latest of each stays readable.
            self._blob(f.DOCUMENT, 0, 0, self.string(name), data, 0)

    # ------------------------------------------------------------ what goes out

    def flush(self) -> None:
        """Write what has gathered: strings and blobs before the rows that name them."""
        if not self.is_on or not self._buffer_bytes:
            return
        rows = b"".join(self._buffer)
        self._buffer.clear()
        self._buffer_bytes = 0
        try:
            if not self._is_open:
                self._open()
            if self._new_strings:
                _write(self._string_fd, b"".join(self._new_strings))
                self._new_strings.clear()
            if self._blobs:
                blobs = b"".join(self._blobs)
                self._blobs.clear()
                self._blobs_bytes = 0
                self._blob_segment_bytes += len(blobs)
                _write(self._blob_fd, blobs)
            if self._row_segment_bytes + len(rows) > SEGMENT_BYTES:
                self._open_rows(self._row_segment + 1)
            _write(self._row_fd, rows)
            self._row_segment_bytes += len(rows)
            self.rows += len(rows) // f.ROW_BYTES
        except OSError as error:
            self._on_full(error, len(rows) // f.ROW_BYTES)

    def _on_full(self, error: OSError, rows: int) -> None:
        """The disk does not take it: what is written stays; from now on drops are counted only."""
        self.dropped += rows
        self._record["dropped"] = self.dropped
        self._record["trouble"] = f"recording ended: {error.strerror or error}"
        self.is_on = False
        self._write_record()

    def _open(self) -> None:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        os.chmod(self._directory, 0o700)
        self._is_open = True
        self._write_record()
        prune_runs(os.path.dirname(self._directory), keep=self._directory)
        self._string_fd = _open_new(os.path.join(self._directory, f.STRINGS_NAME))
        self._open_rows(0)
        self._open_blobs(0)

    def _open_rows(self, segment: int) -> None:
        if self._row_fd >= 0:
            os.close(self._row_fd)
        self._row_segment, self._row_segment_bytes = segment, 0
        self._row_fd = _open_new(os.path.join(self._directory, f.rows_name(segment)))
        self.dropped += self._remove_segment(f.rows_name(segment - ROW_SEGMENTS_KEPT)) // f.ROW_BYTES
        if segment >= ROW_SEGMENTS_KEPT:
            self._record["dropped"] = self.dropped
            self._write_record()

    def _open_blobs(self, segment: int) -> None:
        if self._blob_fd >= 0:
            os.close(self._blob_fd)
        if not self._is_open:
            self._open()
            return
        self._blob_segment, self._blob_segment_bytes = segment, 0
        self._blob_fd = _open_new(os.path.join(self._directory, f.blobs_name(segment)))
        self._remove_segment(f.blobs_name(segment - BLOB_SEGMENTS_KEPT))

    def _remove_segment(self, name: str) -> int:
        path = os.path.join(self._directory, name)
        try:
            size = os.stat(path).st_size
            os.unlink(path)
        except OSError:
            return 0
        return size

    def _write_record(self) -> None:
        path = os.path.join(self._directory, f.RECORD_NAME)
        try:
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, _encode_json({"format": f.VERSION, **self._record}))
            finally:
                os.close(fd)
            os.rename(path + ".new", path)
        except OSError:  # As for rows: looking must not end the work.
            pass

    def note(self, **fields: Any) -> None:
        """More about the run, for run.json."""
        self._record.update(fields)
        if self._is_open:
            self._write_record()

    def close(self, reason: str) -> None:
        """The session is over."""
        self.flush()
        if not self._is_open:
            return
        self.note(ended_s=time.time(), end=reason, dropped=self.dropped, rows=self.rows)
        for fd in (self._row_fd, self._string_fd, self._blob_fd):
            if fd >= 0:
                os.close(fd)
        self._row_fd = self._string_fd = self._blob_fd = -1
        self.is_on = False


def owner_and_number(any_id: bytes) -> tuple[int, int]:
    """Of a task, actor or object id: who made it, and the low half of its number."""
    return int.from_bytes(any_id[4:8], "big"), int.from_bytes(any_id[12:16], "big")


def prune_runs(folder: str, keep: str = "", runs_max: int = RUNS_KEPT, bytes_max: int = RUNS_BYTES_KEPT) -> list[str]:
    """Remove the oldest runs until few and small enough ones are left; returns the removed. A run in use is never removed."""
    runs: list[tuple[float, str, int]] = []
    try:
        entries: Iterable[os.DirEntry[str]] = list(os.scandir(folder))
    except OSError:
        return []
    for entry in entries:
        record = os.path.join(entry.path, f.RECORD_NAME)
        try:
            if not entry.is_dir(follow_symlinks=False) or not os.path.exists(record):
                continue
            size = sum(os.lstat(file.path).st_size for file in os.scandir(entry.path))
            runs.append((entry.stat(follow_symlinks=False).st_mtime, entry.path, size))
        except OSError:
            continue
    runs.sort(reverse=True)
    removed = []
    total = 0
    for position, (_, path, size) in enumerate(runs):
        total += size
        if (position >= runs_max or total > bytes_max) and path != keep and not _is_in_use(path):
            remove_tree(path)
            removed.append(path)
    return removed


def _is_in_use(path: str) -> bool:
    try:
        with open(os.path.join(path, f.RECORD_NAME), "rb") as file:
            record = msgspec.json.decode(file.read())
        return not record.get("ended_s") and os.path.exists(str(record.get("session_dir") or "\0"))
    except (OSError, ValueError, msgspec.MsgspecError):
        return False


def _open_new(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
