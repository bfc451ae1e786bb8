"""The reports of a run: in memory, on disk (progress.jsonl), and as curves in the web UI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import skate
from skate.train import policy
from skate.train.checkpoint import plain

_FILE = "progress.jsonl"


class History:
    """Rows of rank 0. Going back to a checkpoint cuts it, so that each iteration stands there once."""

    def __init__(self, directory: Path, run: str) -> None:
        self._path = directory / _FILE
        self._run = run
        self.rows: list[dict[str, Any]] = []

    def load(self) -> None:
        """Read what an earlier run left; a line that was cut off by a crash is dropped."""
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                self.rows.append(json.loads(line))
            except ValueError:
                break

    def append(self, rows: list[dict[str, Any]]) -> None:
        self.rows += rows
        with open(self._path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, default=plain) + "\n" for row in rows)
        for row in rows:
            publish_metrics(row, row["training_iteration"], self._run)

    def go_back_to(self, iteration: int) -> None:
        self.rows = policy.rows_until(self.rows, iteration)
        passing = self._path.with_suffix(".passing")
        passing.write_text("".join(json.dumps(row, default=plain) + "\n" for row in self.rows), encoding="utf-8")
        passing.replace(self._path)


def publish_metrics(row: Mapping[str, Any], step: int, run: str) -> None:
    """Curves for the web UI. Nothing happens when nobody looks."""
    send = getattr(skate, "report", None)
    if send is not None:
        numbers = {
            name: float(value) for name, value in row.items() if isinstance(value, int | float) and name not in _NOT_CURVES
        }
        send(numbers, step=step, run=run)


def publish_page(kind: str, key: str, document: Mapping[str, Any]) -> None:
    """The latest state of a page of the web UI."""
    send = getattr(skate, "publish", None)
    if send is not None:
        send(kind, key, document)


_NOT_CURVES = frozenset({"training_iteration", "time_total_s", "timestamp"})
