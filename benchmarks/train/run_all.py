"""Runs the rows of this folder one after another and writes benchmarks/results/train.json: `python -m benchmarks.train.run_all [ROW …]`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "benchmarks" / "results" / "train.json"
STEPS = "benchmarks/train/torch_steps.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", STEPS, "torchrun"]
ROWS: dict[str, list[str]] = {
    "steps, single process": [sys.executable, STEPS, "single"],
    "steps, torchrun, 2 workers": TORCHRUN,
    "steps, skate TorchTrainer, 2 workers": [sys.executable, STEPS, "skate"],
    "steps, Ray TorchTrainer, 2 workers": [sys.executable, STEPS, "ray"],
    "all-reduce, 2 workers": [sys.executable, "-m", "benchmarks.train.all_reduce"],
    "recovery, 2 workers": [sys.executable, "-m", "benchmarks.train.recovery"],
    "1,000 trials of 1 ms, skate": [sys.executable, "-m", "benchmarks.train.trials", "skate"],
    "100 trials of 1 ms, Ray Tune": [sys.executable, "-m", "benchmarks.train.trials", "ray", "100"],
    "Keras on TensorFlow, 2 workers": [sys.executable, "-m", "benchmarks.train.keras_steps"],
}


def main() -> None:
    rows = [name for name in ROWS if not sys.argv[1:] or any(word in name for word in sys.argv[1:])]
    document: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {"rows": {}}
    for name in rows:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "BENCH_STARTED_S": repr(time.time()),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(ROWS[name], capture_output=True, text=True, cwd=ROOT, env=environment)
        lines = [line.split("RESULT ", 1)[1] for line in done.stdout.splitlines() if "RESULT " in line]
        found = json.loads(lines[-1]) if lines else {"error": (done.stderr or done.stdout)[-400:]}
        command = " ".join(Path(part).name if part == sys.executable else part for part in ROWS[name])
        document["rows"][name] = {**found, "command": command, "load": round(os.getloadavg()[0], 2)}
        print(name, found, flush=True)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
        document |= {
            "commit": commit,
            "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}",
        }
        OUT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
