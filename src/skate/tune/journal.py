"""The journal of a study: what happened, one JSON line each, so that a study that was killed can be resumed.

    {"kind": "new", "id", "config"} · {"kind": "report", "id", "row", "checkpoint"} · {"kind": "end", "id", "state", "error"}
    {"kind": "adopt", "id", "config", "checkpoint", "iteration"}: it goes on from another trial's state

A line that a crash has cut off is ignored.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import cloudpickle

from skate.train.checkpoint import explain, plain
from skate.train.errors import CheckpointError


class Journal:
    """Appends; every batch of lines is flushed at once. What can't be written raises CheckpointError: the study can be resumed when there is room."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.jsonl"
        self._file: TextIO | None = None

    def read(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if "pickled" in entry:
                entry["config"] = cloudpickle.loads(base64.b64decode(entry.pop("pickled")))
            yield entry

    def write(self, entries: list[dict[str, Any]]) -> None:
        if not entries:
            return
        try:
            if self._file is None:
                is_cut = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
                self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
                if is_cut:
                    self._file.write("\n")
            self._file.write("".join(_line(entry) for entry in entries))
            self._file.flush()
        except OSError as error:
            self._drop_file()
            raise CheckpointError(explain(error, self.path)) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _drop_file(self) -> None:
        """Close it without what it could not write."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


def _line(entry: dict[str, Any]) -> str:
    if "config" in entry:
        try:
            text = json.dumps(entry)
            if json.loads(text)["config"] == entry["config"]:  # Not so with tuples, or keys that are numbers.
                return text + "\n"
        except TypeError:
            pass
        entry = {
            **entry,
            "pickled": base64.b64encode(cloudpickle.dumps(entry["config"])).decode(),
            "config": str(entry["config"]),
        }
    return json.dumps(entry, default=plain) + "\n"
