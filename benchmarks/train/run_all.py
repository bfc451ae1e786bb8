"""Runs a group of rows, in turn and several times, and writes their medians: `python -m benchmarks.train.run_all GROUP …`.

benchmarks/results/train-GROUP.json has each run's figures too. Rows of a group are run one after another, round by round, so that a machine that gets slower
for a while does so for all of them; BENCH_LIMIT_S and BENCH_ROUNDS make it shorter. What peers need (ray[train,tune], tf-keras) has to be importable: PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PYTHON = sys.executable
STEPS = "benchmarks/train/torch_steps.py"
TORCHRUN = [PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", STEPS, "torchrun"]


def _module(name: str, *arguments: str) -> list[str]:
    return [PYTHON, "-m", f"benchmarks.train.{name}", *arguments]


# Group → (rounds, row → command).
GROUPS: dict[str, tuple[int, dict[str, list[str]]]] = {
    "steps": (
        5,
        {
            "torchrun, 2 workers": TORCHRUN,
            "skate TorchTrainer, 2 workers": [PYTHON, STEPS, "skate"],
        },
    ),
    "single": (3, {"one process": [PYTHON, STEPS, "single"]}),
    "ray": (
        1,
        {
            "Ray TorchTrainer, 2 workers": [PYTHON, STEPS, "ray"],
            "skate TorchTrainer, 2 workers": [PYTHON, STEPS, "skate"],
        },
    ),
    "all-reduce": (3, {"2 workers": _module("all_reduce")}),
    "recovery": (3, {"2 workers": _module("recovery")}),
    "trials": (
        1,
        {
            "skate, 1,000 trials of 1 ms": _module("trials", "skate", "1000"),
            "Ray Tune, 100 trials of 1 ms": _module("trials", "ray", "100"),
        },
    ),
    "keras": (
        2,
        {
            "skate KerasTrainer, 2 workers": _module("keras_steps", "skate"),
            "Keras 3 repaired, MultiWorkerMirroredStrategy, 2 workers": _module("keras_steps", "mirrored"),
            "tf-keras, MultiWorkerMirroredStrategy, 2 processes": _module("keras_steps", "legacy"),
        },
    ),
}


def run_row(command: list[str]) -> dict[str, Any]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH")))),
        "BENCH_STARTED_S": repr(time.time()),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    load = round(os.getloadavg()[0], 2)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    lines = [line.split("RESULT ", 1)[1] for line in done.stdout.splitlines() if "RESULT " in line]
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {"error": (done.stderr or done.stdout)[-800:]}
    return {**found, "load_before": load}


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median of each figure over the runs; of figures inside a figure too."""
    found: dict[str, Any] = {}
    for name, value in runs[0].items():
        values = [run[name] for run in runs if name in run]
        if isinstance(value, dict):
            found[name] = median(values)
        elif isinstance(value, int | float):
            found[name] = round(statistics.median(values), 4)
        else:
            found[name] = value
    return found


def write(group: str, rows: dict[str, list[str]], runs: dict[str, list[dict[str, Any]]]) -> None:
    """The rows that have been run, as a file."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    shown = {
        row: " ".join("python" if part == PYTHON else part for part in command).replace(f"{ROOT}/", "")
        for row, command in rows.items()
    }
    document = {
        "command": f"python -m benchmarks.train.run_all {group}",
        "rows": {row: {"median": median(runs[row]), "runs": runs[row], "command": shown[row]} for row in rows if runs[row]},
        "commit": commit,
        "nice": os.nice(0),
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}",
    }
    (RESULTS / f"train-{group}.json").write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    names = sys.argv[1:] or list(GROUPS)
    with contextlib.suppress(PermissionError):  # Before other work of the machine, where that may be asked for.
        os.nice(-15)
    until_s = time.monotonic() + float(os.environ.get("BENCH_LIMIT_S", "inf"))
    for group in names:
        rounds, rows = GROUPS[group]
        rounds = min(rounds, int(os.environ.get("BENCH_ROUNDS", rounds)))
        runs: dict[str, list[dict[str, Any]]] = {row: [] for row in rows}
        longest_s = 0.0
        for _ in range(rounds):
            begun_s = time.monotonic()
            if begun_s + longest_s > until_s:  # No time for another round.
                break
            for row, command in rows.items():
                runs[row].append(run_row(command))
                print(group, row, runs[row][-1], flush=True)
                write(group, rows, runs)
            longest_s = max(longest_s, time.monotonic() - begun_s)


if __name__ == "__main__":
    main()
