"""Checkpoints: a directory of files, and how a run's checkpoints lie on disk.

    run directory/
      run.json                     state of the run: RUNNING, FINISHED, ERRORED
      progress.jsonl               one line per report of rank 0
      checkpoint_000002/           complete, never changed; `.skate.json` inside says of which report it is, and the metrics
      checkpoint_000003.partial/   being written by workers; removed when the run is resumed

A checkpoint becomes visible by one rename, after its files have been synced: after a crash it is either whole or not there.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skate.train import policy
from skate.train.config import CheckpointConfig
from skate.train.errors import CheckpointError

NOTE = ".skate.json"
_GIVES_BACK_S = 2.0  # A worker whose copy has filled the disk removes it, and waits before it tries again.
_PREFIX = "checkpoint_"


class Checkpoint:
    """A directory of files that a training loop wrote. Ray's interface."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """The files in `path`; they are copied when the checkpoint is reported."""
        if not os.path.isdir(path):
            raise CheckpointError(
                f"Checkpoint.from_directory: {os.fspath(path)!r} is not a directory; write the files there first"
            )
        return cls(path)

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """Copy the files to `path` (default: a new temporary directory, which is the caller's); returns it."""
        target = os.fspath(path) if path is not None else tempfile.mkdtemp(prefix="skate-checkpoint-")
        _check_is_there(self.path)
        shutil.copytree(self.path, target, dirs_exist_ok=True)
        return target

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """The directory itself, to read from."""
        _check_is_there(self.path)
        yield self.path

    def get_metadata(self) -> dict[str, Any]:
        return dict(_read_note(Path(self.path)).get("metadata", {}))

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        note = {**_read_note(Path(self.path)), "metadata": dict(metadata)}
        write_json(Path(self.path) / NOTE, note)

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        self.set_metadata({**self.get_metadata(), **metadata})

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)


def _check_is_there(path: str) -> None:
    if not os.path.isdir(path):
        raise CheckpointError(
            f"the checkpoint {path!r} is gone: was it beyond num_to_keep, or a temporary directory that has been removed?"
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """One complete checkpoint of a run."""

    index: int
    path: Path
    iteration: int
    metrics: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one run. `add_files` is called in workers; the rest in the driver."""

    def __init__(self, directory: Path, config: CheckpointConfig) -> None:
        self.directory = directory
        self._config = config
        self.stored: list[Stored] = []

    def open(self) -> None:
        """Find what is there; remove what was left half-written."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in self.directory.glob(f"{_PREFIX}*.partial"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.directory.glob(f"{_PREFIX}*.dropped"):
            shutil.rmtree(path, ignore_errors=True)
        found = []
        for path in self.directory.glob(f"{_PREFIX}[0-9]*"):
            note = _read_note(path)
            if "iteration" in note:
                found.append(Stored(int(path.name[len(_PREFIX) :]), path, note["iteration"], note.get("metrics", {})))
        self.stored = sorted(found, key=lambda one: one.index)

    @property
    def latest(self) -> Stored | None:
        return self.stored[-1] if self.stored else None

    def partial(self, index: int) -> Path:
        return self.directory / f"{_PREFIX}{index:06d}.partial"

    def commit(self, index: int, iteration: int, metrics: Mapping[str, Any]) -> Stored:
        """Make the partial checkpoint `index` visible, and delete what is beyond `num_to_keep`.

        Raises:
            CheckpointError: The disk says no.
        """
        partial, final = self.partial(index), self.directory / f"{_PREFIX}{index:06d}"
        try:
            note = {**_read_note(partial), "iteration": iteration, "metrics": dict(metrics)}
            _write_when_there_is_room(partial / NOTE, note)
            os.rename(partial, final)
            _sync(self.directory)
        except OSError as error:
            raise CheckpointError(explain(error, final)) from error
        stored = Stored(index, final, iteration, dict(metrics))
        self.stored.append(stored)
        self._drop()
        return stored

    def discard(self, index: int) -> None:
        shutil.rmtree(self.partial(index), ignore_errors=True)

    def discard_partial(self) -> None:
        """Workers are gone or start again: what they were writing will not be completed."""
        for path in self.directory.glob(f"{_PREFIX}*.partial"):
            shutil.rmtree(path, ignore_errors=True)

    def _drop(self) -> None:
        config = self._config
        kept = [policy.Kept(one.index, self._score(one)) for one in self.stored]
        dropped = set(policy.choose_dropped(kept, config.num_to_keep, config.checkpoint_score_order))
        for one in self.stored:
            if one.index in dropped:
                # Renamed first: a crash in the middle of deleting must not leave something that looks whole.
                gone = one.path.with_name(one.path.name + ".dropped")
                try:
                    os.rename(one.path, gone)
                except OSError:
                    continue
                shutil.rmtree(gone, ignore_errors=True)
        self.stored = [one for one in self.stored if one.index not in dropped]

    def _score(self, one: Stored) -> float | None:
        name = self._config.checkpoint_score_attribute
        value = float(one.index) if name is None else one.metrics.get(name)
        return float(value) if isinstance(value, int | float) else None


def add_files(source: str, partial: Path) -> None:
    """In a worker: copy a checkpoint's files into the partial directory, where other ranks add theirs.

    Raises:
        CheckpointError: The disk is full, …: the message says how much was needed and how much there is.
    """
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for root, directories, files in os.walk(source):
            inner = partial / os.path.relpath(root, source)
            for name in directories:
                (inner / name).mkdir(exist_ok=True)
            for name in files:
                if name == NOTE and root == source and (inner / name).exists():
                    continue
                _copy_file(os.path.join(root, name), inner / name)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)  # Give the room back: the loop may want to go on.
        raise CheckpointError(explain(error, partial, needed_bytes=size_of(source))) from error


def _copy_file(source: str, target: Path) -> None:
    # Under a name of its own until it is whole: ranks may write the same file (each its copy of the model).
    passing = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    shutil.copyfile(source, passing)
    descriptor = os.open(passing, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(passing, target)


def _write_when_there_is_room(path: Path, document: Any) -> None:
    """A note is a few bytes; when they are not there, workers are filling the disk with the next checkpoint, and give that up in a moment."""
    until_s = time.monotonic() + _GIVES_BACK_S
    while True:
        try:
            return write_json(path, document)
        except OSError as error:
            if error.errno != errno.ENOSPC or time.monotonic() > until_s:
                raise
            time.sleep(0.01)  # Between looks at the disk.


def write_json(path: Path, document: Any) -> None:
    """Replace a small file atomically."""
    passing = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(passing, "w", encoding="utf-8") as file:
            json.dump(document, file, default=plain)
            file.flush()
            os.fsync(file.fileno())
        os.replace(passing, path)
    except OSError:
        passing.unlink(missing_ok=True)
        raise


def plain(value: Any) -> Any:
    """For json: NumPy's and the frameworks' numbers as Python's, everything else as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads((path / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def size_of(directory: str) -> int:
    """Bytes of all files in a directory."""
    return sum(os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(directory) for name in names)


def explain(error: OSError, path: Path, needed_bytes: int | None = None) -> str:
    """One sentence for a failure of the disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = next((one for one in (path, *path.parents) if one.exists()), Path("/"))
        free = shutil.disk_usage(where).free
        needed = f"it needs {needed_bytes:,} bytes, " if needed_bytes is not None else ""
        return (
            f"the disk is full: {path} could not be written ({needed}{free:,} bytes are free there). Earlier checkpoints are whole. Free some room, "
            "keep fewer (CheckpointConfig(num_to_keep=…)), or choose another RunConfig(storage_path=…)"
        )
    return f"{path} could not be written: {error.strerror or error}"


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
