"""The reports of a run: in memory, on disk (progress.jsonl), and as curves in the web UI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import skate
from skate.train import policy
from skate.train.checkpoint import explain, plain

_FILE = "progress.jsonl"


class History:
    """Rows of rank 0. Going back to a checkpoint cuts it, so that each iteration stands there once."""

    def __init__(self, directory: Path, run: str) -> None:
        self._path = directory / _FILE
        self._run = run
        self.rows: list[dict[str, Any]] = []
        self._is_behind = False  # The file lacks rows: the disk was full.

    def load(self) -> None:
        """Read what an earlier run left; a line that was cut off by a crash is dropped."""
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                self.rows.append(json.loads(line))
            except ValueError:
                break

    def append(self, rows: list[dict[str, Any]]) -> str:
        """Take in reports. Returns a sentence when the disk can't take them: they stay in memory, and are written when there is room."""
        self.rows += rows
        for row in rows:
            publish_metrics(row, row["training_iteration"], self._run)
        if self._is_behind:
            return self._write_all()
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.writelines(_line(row) for row in rows)
        except OSError as error:
            self._is_behind = True
            return explain(error, self._path)
        return ""

    def go_back_to(self, iteration: int) -> str:
        """Forget what came after the report `iteration`. Returns what `append` returns."""
        self.rows = policy.rows_until(self.rows, iteration)
        return self._write_all()

    def _write_all(self) -> str:
        passing = self._path.with_suffix(".passing")
        try:
            passing.write_text("".join(map(_line, self.rows)), encoding="utf-8")
            passing.replace(self._path)
        except OSError as error:
            self._is_behind = True
            return explain(error, self._path)
        self._is_behind = False
        return ""


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, default=plain) + "\n"


def publish_metrics(row: Mapping[str, Any], step: int, run: str) -> None:
    """Curves for the web UI. Nothing happens when nobody looks."""
    skate.report(numbers_of(row), step=step, run=run)


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are numbers, without the counters of every row."""
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float) and name not in _NOT_CURVES}


_NOT_CURVES = frozenset({"training_iteration", "time_total_s", "timestamp"})
