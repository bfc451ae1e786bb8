"""Runs the rows whose names contain a word given, one after the other: `python -m benchmarks.streaming [WORD …]`.

Writes benchmarks/results/streaming-<row>.json: what each side needed (wall and CPU seconds), its answer compared, the command, commit and machine. Bytewax
and Ray run in environments of their own: BYTEWAX_PYTHON and RAY_PYTHON name their interpreters; sides without one are left out.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.streaming.data import inputs

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
DATA = Path(os.environ.get("BENCH_DATA", "/var/tmp/skate-bench-streaming"))
INTERPRETERS = {
    "bytewax": os.environ.get("BYTEWAX_PYTHON", ""),
    "ray": os.environ.get("RAY_PYTHON", str(ROOT / ".venv-ray" / "bin" / "python")),
}


def rows() -> dict[str, list[list[str]]]:
    """Row → the programs that make it."""
    text, events = inputs(DATA)
    small, some = DATA / "text-1.txt", DATA / "events-500k.parquet"
    if not small.exists():
        data = text.read_bytes()[:1_000_000]
        small.write_bytes(data[: data.rfind(b"\n") + 1])
    if not some.exists():
        from benchmarks.streaming.data import write_events

        write_events(some, 500_000)
    tail = DATA / "text-6.txt"
    if not tail.exists():
        data = text.read_bytes()[:6_000_000]
        tail.write_bytes(data[: data.rfind(b"\n") + 1])
    four = [str(DATA / f"copy-{copy}.txt") for copy in range(4)]
    for copy in four:
        if not os.path.lexists(copy):
            os.symlink(text, copy)
    twice = ("counter", "skate", "skate-columnar", "polars")
    return {
        "word-count": [["word_count", side, str(text)] for side in (*twice, "counter-blocks", "duckdb", "ray", *twice)],
        "word-count-256": [["word_count", side, *four] for side in ("skate", "skate-columnar", "polars", "duckdb", "skate-columnar", "polars")],
        "word-count-6": [["word_count", side, str(tail)] for side in ("counter", "bytewax", "bytewax-batched", "bytewax-recovery")],
        "windows": [["windows", side, str(events)] for side in ("plain", "skate", "skate-columnar", "polars") * 2],
        "windows-500k": [["windows", side, str(some)] for side in ("plain", "skate", "bytewax")],
        "snapshots": [["word_count", side, *four] for side in ("skate-no-snapshots", "skate") * 2],
        "cold": [["cold", str(small)]] * 5,
        "latency": [["latency"]],
        "recovery": [["recovery", str(text)]],
        "2018": [["program_2018", side, "150"] for side in ("skate", "ray")],
    }  # fmt: skip


def run(program: list[str]) -> list[dict[str, Any]]:
    name, *arguments = program
    kind = next((kind for kind in INTERPRETERS if arguments and arguments[0].startswith(kind)), "")
    python = INTERPRETERS[kind] if kind else sys.executable
    if not python or not Path(python).exists():
        return [{"side": arguments[0], "left_out": f"no interpreter with {kind}"}]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "BENCH_STARTED_S": repr(time.time())}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [python, "-m", f"benchmarks.streaming.{name}", *arguments], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    found = [json.loads(line.split("RESULT ", 1)[1]) for line in done.stdout.splitlines() if "RESULT " in line]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for one in found:
        # Of all its processes, from start to end: what a busy machine leaves comparable, when wall times are not.
        one["cpu_s"] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)
        one["process_s"] = round(time.perf_counter() - started, 2)
    return found or [{"side": arguments[0] if arguments else "skate", "error": (done.stderr or done.stdout)[-600:]}]


def main() -> None:
    for row, programs in rows().items():
        if sys.argv[1:] and row not in sys.argv[1:]:
            continue
        found = [one for program in programs for one in run(program)]
        answers = {one["answer"] for one in found if "answer" in one}
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
        document = {
            "row": row,
            "command": f"python -m benchmarks.streaming {row}",
            "sides": found,
            "answers_equal": len(answers) <= 1,
            "commit": commit,
            "load": round(os.getloadavg()[0], 2),
            "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}",
        }
        (RESULTS / f"streaming-{row}.json").write_text(json.dumps(document, indent=1) + "\n")
        for one in found:
            print(row, {key: round(value, 3) if isinstance(value, float) else value for key, value in one.items()}, flush=True)
        print(row, "answers equal:", len(answers) <= 1, flush=True)


if __name__ == "__main__":
    main()
