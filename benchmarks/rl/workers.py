"""`python -m benchmarks.rl.workers`: PPO on CartPole with no, one and two runners: from the process's start to the end of the first iteration, and environment steps a second after it.

Each run is a process of its own; medians of ROUNDS, in turn.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULT = Path(__file__).resolve().parents[1] / "results" / "rl-workers.json"
WORKERS, ROUNDS, STEPS = (0, 1, 2), 5, 100_000


def run_one(workers: int) -> None:
    from skate.rl import PPO

    algorithm = PPO("CartPole-v1", seed=0, num_workers=workers)
    algorithm.train(total_steps=1)  # One iteration.
    first_s = time.time() - float(os.environ["BENCH_STARTED_S"])
    started, steps = time.perf_counter(), algorithm.steps
    algorithm.train(total_steps=STEPS)
    rate = (algorithm.steps - steps) / (time.perf_counter() - started)
    print("RESULT", json.dumps({"first_iteration_s": round(first_s, 3), "steps_per_s": round(rate)}))


def main() -> None:
    if len(sys.argv) > 1:
        run_one(int(sys.argv[1]))
        return
    found: dict[int, list[dict[str, float]]] = {workers: [] for workers in WORKERS}
    for _ in range(ROUNDS):
        for workers in WORKERS:
            environment = {**os.environ, "BENCH_STARTED_S": repr(time.time())}
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.rl.workers", str(workers)],
                capture_output=True,
                text=True,
                env=environment,
                check=True,
            )
            found[workers].append(json.loads(done.stdout.split("RESULT ", 1)[1]))
    rows = {
        f"{workers} workers": {name: statistics.median(run[name] for run in runs) for name in runs[0]} | {"runs": runs}
        for workers, runs in found.items()
    }
    document = {
        "command": "python -m benchmarks.rl.workers", "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 2), "steps": STEPS, "rows": rows,
    }  # fmt: skip
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    for name, row in rows.items():
        print(name, {key: value for key, value in row.items() if key != "runs"})


if __name__ == "__main__":
    main()
