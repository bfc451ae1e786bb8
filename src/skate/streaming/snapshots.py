"""Snapshots: a directory each, whole once its manifest is there.

    <directory>/snapshot-00000012/part-<stage>-<index>      a pickle of the subtask's state and positions
                                  manifest.json             what the parts are, their sizes and checksums; the program's fingerprint

The manifest is written last, under another name, and renamed: a snapshot that was cut short has none. A damaged one (a torn file, a
missing part) is passed over for the one before.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

from skate.streaming import storage
from skate.streaming.errors import SnapshotCorruptError, StreamError
from skate.streaming.manifest import Manifest, Part

FORMAT = 2
PREFIX = "snapshot-"


class SnapshotStore:
    """The snapshots in one directory."""

    def __init__(self, directory: str | Path, keep: int = 3) -> None:
        self.directory = Path(directory)
        self.keep = keep
        self._lock: int | None = None

    def lock(self) -> None:
        """Make this process the only one that runs a stream on the directory.

        Raises:
            StreamError: Another process does.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise StreamError(
                f"another process is running a stream with the snapshots in {self.directory}; stop it, or give this one its own directory"
            ) from None
        self._lock = descriptor

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ---------------------------------------------------------------- writing

    def write_part(self, number: int, stage: int, index: int, data: bytes) -> Part:
        directory = self._path(number)
        directory.mkdir(parents=True, exist_ok=True)
        name = f"part-{stage}-{index}"
        storage.write(directory / name, data)
        return Part(stage, index, name, len(data), storage.checksum(data))

    def write_manifest(self, manifest: Manifest) -> None:
        """The snapshot is whole: this is the moment from which a run continues from it."""
        body = {
            "format": FORMAT,
            "number": manifest.number,
            "fingerprint": manifest.fingerprint,
            "is_final": manifest.is_final,
            "parts": [[part.stage, part.index, part.file, part.size_bytes, part.checksum] for part in manifest.parts],
        }
        text = json.dumps(body, sort_keys=True)
        document = json.dumps({"checksum": storage.checksum(text.encode()), "body": body}, sort_keys=True, indent=1)
        storage.sync_directory(self._path(manifest.number))
        storage.write_atomically(self._path(manifest.number) / "manifest.json", document.encode())
        storage.sync_directory(self.directory)

    def discard(self, number: int) -> None:
        """Remove what there is of a snapshot."""
        shutil.rmtree(self._path(number), ignore_errors=True)

    def prune(self) -> None:
        """Keep the newest ones."""
        for number in self.numbers()[: -self.keep]:
            # The manifest goes first: a directory half removed is no snapshot.
            (self._path(number) / "manifest.json").unlink(missing_ok=True)
            self.discard(number)

    # ---------------------------------------------------------------- reading

    def numbers(self) -> list[int]:
        """Numbers of the snapshots that have a manifest, ascending."""
        return sorted(int(path.parent.name.removeprefix(PREFIX)) for path in self.directory.glob(f"{PREFIX}*/manifest.json"))

    def last_number(self) -> int:
        """The highest number ever begun here, whole or not; 0 if none."""
        return max((int(path.name.removeprefix(PREFIX)) for path in self.directory.glob(f"{PREFIX}*")), default=0)

    def latest(self) -> Manifest | None:
        """The newest snapshot that is whole; None if there never was one.

        Raises:
            SnapshotCorruptError: There are snapshots, and every one is damaged.
        """
        reasons = []
        for number in reversed(self.numbers()):
            try:
                manifest = self._read_manifest(number)
                for part in manifest.parts:
                    self._read_bytes(manifest, part)
                return manifest
            except (OSError, ValueError, KeyError, TypeError) as error:
                reasons.append(f"{self._path(number).name}: {error}")
        if reasons:
            raise SnapshotCorruptError(
                f"none of the snapshots in {self.directory} is whole:\n  " + "\n  ".join(reasons) + "\n"
                "  Restore the directory from a copy; or, to begin anew, remove it together with what the sinks wrote."
            )
        return None

    def read_part(self, manifest: Manifest, part: Part) -> Any:
        return pickle.loads(self._read_bytes(manifest, part))

    def _read_manifest(self, number: int) -> Manifest:
        document = json.loads((self._path(number) / "manifest.json").read_bytes())
        body = document["body"]
        if storage.checksum(json.dumps(body, sort_keys=True).encode()) != document["checksum"]:
            raise ValueError("manifest.json does not match its checksum")
        if body["format"] != FORMAT:
            raise ValueError(f"its format is {body['format']}, this version of skate reads {FORMAT}")
        return Manifest(body["number"], body["fingerprint"], tuple(Part(*part) for part in body["parts"]), body["is_final"])

    def _read_bytes(self, manifest: Manifest, part: Part) -> bytes:
        data = (self._path(manifest.number) / part.file).read_bytes()
        if len(data) != part.size_bytes or storage.checksum(data) != part.checksum:
            raise ValueError(f"{part.file} has {len(data):,} bytes that do not match the manifest ({part.size_bytes:,} bytes)")
        return data

    def _path(self, number: int) -> Path:
        return self.directory / f"{PREFIX}{number:08d}"
