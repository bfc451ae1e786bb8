"""`python -m benchmarks.ray`: starts a cluster of one node, measures pairs, writes benchmarks/results/ray-….json.

Each pair is measured in one process, in turns (Ray, Skate, Ray, Skate, …), so that what else the machine does hits both; told is the median of the
ratios. Batching is on in one process and off in another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", help="a cluster that runs already")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer calls; writes nothing")
    parser.add_argument("--part", choices=("batching", "plain"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print("RESULT " + json.dumps(measure(arguments)))
        return
    if arguments.address:
        report(arguments, arguments.address)
        return
    from tests.ray_cluster import running_cluster

    with running_cluster("--num-cpus=2") as cluster:
        report(arguments, cluster.address)


def report(arguments: argparse.Namespace, address: str) -> None:
    rows: dict[str, Any] = {}
    for part in ("plain", "batching"):
        command = [
            sys.executable, "-m", "benchmarks.ray", f"--address={address}", f"--repeats={arguments.repeats}", f"--part={part}",
            *(["--quick"] if arguments.quick else []),
        ]  # fmt: skip
        told = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout
        rows.update(json.loads(next(line for line in told.splitlines() if line.startswith("RESULT ")).removeprefix("RESULT ")))
    for name, row in rows.items():
        print(
            f"{name:46} ray {row['ray_per_s']:>10,.0f}/s  skate {row['skate_per_s']:>10,.0f}/s  ratio {row['ratio']:.3f}  ({row['ratios']})"
        )
    if arguments.quick:
        return
    import ray

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    document = {
        "command": "python -m benchmarks.ray " + " ".join(sys.argv[1:]),
        "commit": commit.stdout.strip(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        # Other work ran beside it when the load is above the number of CPUs: read the ratios then, not the rates.
        "machine": {
            "cpus": os.cpu_count(),
            "load": [round(one, 1) for one in os.getloadavg()],
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
        "ray": ray.__version__,
        "rows": rows,
    }
    out = REPOSITORY / "benchmarks" / "results" / f"ray-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {out}")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """{row: {"ray_per_s", "skate_per_s", "ratio": skate / ray, the median of "ratios"}}"""
    import ray

    import skate

    is_batching = arguments.part == "batching"
    skate.init(address=arguments.address, log_to_driver=False, _batch_short_tasks=is_batching)
    scale = 10 if arguments.quick else 1

    def add(x: int, y: int) -> int:
        return x + y

    theirs: Any = ray.remote(add)
    ours: Any = skate.remote(add)
    rows: dict[str, Any] = {}

    def pair(name: str, their_run: Callable[[int], Any], our_run: Callable[[int], Any], their_n: int, our_n: int) -> None:
        rows[name] = compare(their_run, our_run, max(10, their_n // scale), max(10, our_n // scale), arguments.repeats)

    if is_batching:
        pair(
            "short tasks, pipelined (batching on)",
            lambda n: ray.get([theirs.remote(i, 1) for i in range(n)]),
            lambda n: skate.get([ours.remote(i, 1) for i in range(n)]),
            2_000,
            100_000,
        )
        pair(
            "short tasks, one at a time (batching on)",
            lambda n: [ray.get(theirs.remote(i, 1)) for i in range(n)],
            lambda n: [skate.get(ours.remote(i, 1)) for i in range(n)],
            500,
            500,
        )
        return rows

    class Counter:
        def add(self, x: int) -> int:
            return x + 1

    class AsyncCounter:
        async def add(self, x: int) -> int:
            return x + 1

    pair(
        "tasks, pipelined (batching off)",
        lambda n: ray.get([theirs.remote(i, 1) for i in range(n)]),
        lambda n: skate.get([ours.remote(i, 1) for i in range(n)]),
        2_000,
        2_000,
    )
    for kind in (Counter, AsyncCounter):
        their_actor: Any = ray.remote(kind).remote()
        our_class: Any = skate.remote(kind)
        our_actor = our_class.remote()
        what = "async actor" if kind is AsyncCounter else "actor"
        pair(
            f"{what} calls, one at a time",
            lambda n, actor=their_actor: [ray.get(actor.add.remote(i)) for i in range(n)],  # type: ignore[misc]
            lambda n, actor=our_actor: [skate.get(actor.add.remote(i)) for i in range(n)],  # type: ignore[misc]
            1_000,
            1_000,
        )
        pair(
            f"{what} calls, pipelined",
            lambda n, actor=their_actor: ray.get([actor.add.remote(i) for i in range(n)]),  # type: ignore[misc]
            lambda n, actor=our_actor: skate.get([actor.add.remote(i) for i in range(n)]),  # type: ignore[misc]
            3_000,
            3_000,
        )
    return rows


def compare(
    their_run: Callable[[int], Any], our_run: Callable[[int], Any], their_n: int, our_n: int, repeats: int
) -> dict[str, Any]:
    their_run(min(their_n, 200))  # Workers start.
    our_run(min(our_n, 200))
    time.sleep(1.0)  # For what that has set going.
    our_run(our_n)
    their_rates, our_rates = [], []
    for _ in range(repeats):
        their_rates.append(rate(their_run, their_n))
        our_rates.append(rate(our_run, our_n))
    ratios = [ours / theirs for theirs, ours in zip(their_rates, our_rates, strict=True)]
    return {
        "ray_per_s": round(statistics.median(their_rates), 1),
        "skate_per_s": round(statistics.median(our_rates), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(one, 3) for one in ratios],
        "calls": {"ray": their_n, "skate": our_n},
    }


def rate(run: Callable[[int], Any], n: int) -> float:
    started = time.perf_counter()
    run(n)
    return n / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
