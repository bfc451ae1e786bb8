"""Runs suites, each library in a process of its own; a case that hangs or dies takes only itself with it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.engine import processes
from benchmarks.pandas import data
from benchmarks.pandas.suites import Suite

REPOSITORY = Path(__file__).resolve().parents[2]
# `make bench-pandas-peers` makes them; SKATE_BENCHMARK_PEERS names another directory that has them.
PEER_DIRECTORY = Path(os.environ.get("SKATE_BENCHMARK_PEERS", REPOSITORY / ".venv-peers"))
_MARK = "SKATE_BENCHMARK"

Figure = dict[str, Any]


def python_of(peer: str) -> str:
    return sys.executable if peer in ("pandas", "skate", "polars") else str(PEER_DIRECTORY / peer / "bin" / "python")


def can_run(peer: str) -> str:
    """Why this library cannot be measured here; "" when it can."""
    if not Path(python_of(peer)).exists():
        return f"{python_of(peer)} is missing: `make bench-pandas-peers` installs the other libraries"
    if peer == "skate" and not (REPOSITORY / "src" / "skate" / "pandas").exists():
        return "skate.pandas is not in this tree"
    return ""


def has_limit(suite: Suite) -> bool:
    """Whether somebody has written this suite for Polars by hand."""
    return find_spec(f"benchmarks.pandas.limits.{suite.program}") is not None


def cases_of(suite: Suite, chosen: str) -> list[str]:
    names = list(import_module(f"benchmarks.pandas.programs.{suite.program}").CASES)
    if suite.is_cold:
        return ["whole"]
    wanted = [name for name in chosen.split(",") if name]
    return [
        name for name in names if not wanted or name in wanted or any(w.endswith("*") and name.startswith(w[:-1]) for w in wanted)
    ]


def measure(
    suite: Suite, peer: str, cases: list[str], *, quick: bool, cpus: int | None, on_figure: Callable[[str, Figure], None]
) -> dict[str, Figure]:
    """All cases on one library. A case without an answer in time is a failed figure, and the rest starts anew without it."""
    directory = data.prepare(suite.data, quick=quick)
    if suite.is_cold:
        return {"whole": _measure_cold(suite, peer, directory, cpus, on_figure)}
    figures: dict[str, Figure] = {}
    rest = list(cases)
    while rest:
        before = len(figures)
        why = _run_once(suite, peer, directory, rest, cpus, figures, on_figure)
        rest = [case for case in rest if case not in figures]
        if rest and (why or len(figures) == before):
            figures[rest[0]] = {"error": why or "the process ended"}
            on_figure(rest[0], figures[rest[0]])
            if why.startswith("before"):  # The library or the data could not be loaded: no case can run.
                figures.update({case: {"error": why} for case in rest})
            rest = [case for case in rest if case not in figures]
    return figures


def _run_once(
    suite: Suite, peer: str, directory: Path, cases: list[str], cpus: int | None, figures: dict[str, Figure],
    on_figure: Callable[[str, Figure], None],
) -> str:  # fmt: skip
    """One process for these cases. "" when it went to the end, else what happened to the case that was under way."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="skate-bench-") as scratch, tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = _start(suite, peer, directory, cases, cpus, scratch, mark, errors)
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in process.stdout] + [lines.put(None)], daemon=True).start()
        has_begun, version = False, ""
        try:
            while True:
                try:
                    line = lines.get(timeout=suite.timeout_s)
                except queue.Empty:
                    return ("" if has_begun else "before the first case: ") + f"no answer within {suite.timeout_s:g} s"
                if line is None:
                    break
                if not line.startswith("{"):
                    continue
                said = json.loads(line)
                has_begun |= "begin" in said
                version = said.get("version", version)
                if "case" in said:
                    case = said.pop("case")
                    figures[case] = {**said, "version": version}
                    on_figure(case, figures[case])
            status = process.wait()
            if status == 0:
                return ""
            errors.seek(0)
            last = [text for text in errors.read().splitlines() if text.strip()]
            return ("" if has_begun else "before the first case: ") + (last[-1][:300] if last else f"exit status {status}")
        finally:
            process.kill()
            process.wait()
            _end_all(mark)


def _measure_cold(suite: Suite, peer: str, directory: Path, cpus: int | None, on_figure: Callable[[str, Figure], None]) -> Figure:
    """From the start of the interpreter to its end. The first run warms the caches of the disk and is not counted."""
    times, answer = [], None
    for _ in range(suite.repeats + 1):
        mark = uuid.uuid4().hex
        with (
            tempfile.TemporaryDirectory(prefix="skate-bench-") as scratch,
            tempfile.TemporaryFile("w+", errors="replace") as errors,
        ):
            started = time.perf_counter()
            process = _start(suite, peer, directory, [], cpus, scratch, mark, errors)
            try:
                out, _ = process.communicate(timeout=suite.timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                out = ""
            times.append(time.perf_counter() - started)
            _end_all(mark)
            errors.seek(0)
            said = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
            if process.returncode or not said:
                last = [text for text in errors.read().splitlines() if text.strip()]
                figure: Figure = {"error": last[-1][:300] if last else f"exit status {process.returncode}"}
                on_figure("whole", figure)
                return figure
            answer = said[-1]["answer"]
    figure = {"value_s": min(times[1:]), "slowest_s": max(times[1:]), "first_s": times[0], "answer": answer}
    on_figure("whole", figure)
    return figure


def _start(
    suite: Suite, peer: str, directory: Path, cases: list[str], cpus: int | None, scratch: str, mark: str, errors: Any
) -> subprocess.Popen[str]:
    environment = {
        **os.environ, _MARK: mark, "RAY_TMPDIR": scratch, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}" if python_of(peer) == sys.executable else str(REPOSITORY),
    }  # fmt: skip
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # Without bytecode a cold start is slower than any user's.
    pin = ["taskset", "-c", ",".join(map(str, range(cpus)))] if cpus else []
    command = [*pin, python_of(peer), "-m", "benchmarks.pandas.measure", suite.name, peer, str(directory), *cases]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=REPOSITORY, env=environment)


def _end_all(mark: str) -> None:
    """Kill what a measurement left behind, as Ray's daemons."""
    for pid in processes.marked(_MARK, mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
