"""Runs rows, each on each peer in a process of its own, with a time-out; ends what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine import processes
from benchmarks.engine.rows import Row

REPOSITORY = Path(__file__).resolve().parents[2]
RAY_PYTHON = REPOSITORY / ".venv-ray" / "bin" / "python"

_MARK = "SKATE_BENCHMARK"


@dataclass(frozen=True)
class Figure:
    """A row on a peer. `value` is None when it failed; then `error` says how."""

    row: str
    peer: str
    value: float | None
    spread: float = 0.0
    answer: Any = None
    note: str = ""
    version: str = ""
    error: str = ""


def can_run(peer: str) -> str:
    """Why this peer cannot be measured here; "" when it can."""
    if peer == "ray" and not RAY_PYTHON.exists():
        return "Ray is not installed: `make bench` does that, into .venv-ray"
    if peer == "joblib":
        try:
            import joblib  # noqa: F401
        except ImportError:
            return "joblib is not installed"
    return ""


def measure(row: Row, peer: str, *, quick: bool) -> Figure:
    """One figure. Never raises for what the row or the peer does."""
    python = str(RAY_PYTHON) if peer == "ray" else sys.executable
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="skate-bench-") as directory:
        environment = {
            **os.environ, _MARK: mark, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}" if peer != "ray" else str(REPOSITORY),
            "RAY_TMPDIR": directory, "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }  # fmt: skip
        environment.pop("RAY_ADDRESS", None)
        command = [python, "-m", "benchmarks.engine.measure", row.name, peer, *(["--quick"] if quick else [])]
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=REPOSITORY, env=environment)
            try:
                out, _ = process.communicate(timeout=row.timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                return Figure(row.name, peer, None, error=f"no answer within {row.timeout_s:g} s")
            finally:
                _end_all(mark)
            errors.seek(0)
            lines = [line for line in errors.read().splitlines() if line.strip()]
        if process.returncode:
            return Figure(row.name, peer, None, error=lines[-1] if lines else f"exit status {process.returncode}")
        try:
            return Figure(row.name, peer, **json.loads(out.strip().splitlines()[-1]))
        except (IndexError, ValueError, TypeError) as error:
            return Figure(row.name, peer, None, error=f"unreadable answer: {error}")


def run(
    rows: list[Row], peers: list[str], *, quick: bool, on_figure: Callable[[Row, Figure], None] = lambda row, figure: None
) -> list[Figure]:
    """All rows on Skate and on those peers that the row has."""
    figures = []
    for row in rows:
        for peer in ("skate", *(peer for peer in row.peers if peer in peers)):
            figure = measure(row, peer, quick=quick)
            figures.append(figure)
            on_figure(row, figure)
    return figures


def disagreements(figures: list[Figure]) -> list[str]:
    """Rows where a peer computed something else than Skate did."""
    answers = {(figure.row, figure.peer): figure.answer for figure in figures if figure.value is not None}
    return [
        f"{row}: {peer} computed {answer!r}, skate {answers[row, 'skate']!r}"
        for (row, peer), answer in answers.items()
        if answer is not None and answers.get((row, "skate")) is not None and answer != answers[row, "skate"]
    ]


def _end_all(mark: str) -> None:
    """Kill what a measurement left: Ray's daemons, workers of a row that was cut off."""
    for pid in processes.marked(_MARK, mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
