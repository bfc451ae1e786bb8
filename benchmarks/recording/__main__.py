"""What recording costs, and what reading a million tasks takes. `python -m benchmarks.recording [--pairs N]` prints and writes
benchmarks/results/ui-data.json.

Throughput is measured as pairs: recording on and off alternate, each in a process of its own, and the median of the ratios counts.
CPU time of all processes of a session, per task, is measured beside it: it does not depend on how the machine's cores are shared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path

PROGRAM = """
import resource, time
import skate
@skate.remote
def empty(): return None
@skate.remote
class Actor:
    def empty(self): return None
skate.init(num_cpus=2, log_to_driver=False)
skate.get([empty.remote() for _ in range(5000)])
best = 0
for _ in range(6):
    start = time.perf_counter(); skate.get([empty.remote() for _ in range(30000)]); best = max(best, 30000 / (time.perf_counter() - start))
actor = Actor.remote(); skate.get(actor.empty.remote())
calls = 0
for _ in range(4):
    start = time.perf_counter(); skate.get([actor.empty.remote() for _ in range(20000)]); calls = max(calls, 20000 / (time.perf_counter() - start))
skate.shutdown()
own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = sum(u.ru_utime + u.ru_stime for u in (own, children))
print(best, calls, cpu / 265000 * 1e6)
"""


def session(folder: str, recording: str) -> list[float]:
    environ = {**os.environ, "SKATE_RUNS_DIR": folder, "SKATE_RECORD": recording}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=6)
    pairs_wanted = parser.parse_args().pairs
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for number in range(pairs_wanted):
            order = ("1", "0") if number % 2 else ("0", "1")
            pairs.append({recording: session(folder, recording) for recording in order})
        for place, name in enumerate(("tasks_per_s", "actor_calls_per_s", "cpu_us_per_call")):
            results[name] = {
                "on": statistics.median(pair["1"][place] for pair in pairs),
                "off": statistics.median(pair["0"][place] for pair in pairs),
                "median_of_ratios_on_to_off": statistics.median(pair["1"][place] / pair["0"][place] for pair in pairs),
            }

    from skate import run_format as f
    from skate.dashboard.history import History
    from skate.dashboard.runfile import RunFile
    from skate.engine.node.recorder import Recorder

    rows: list[bytes] = []
    task = b"tag!" + (7).to_bytes(4, "big") + (123456).to_bytes(8, "big")
    import struct

    unpack, pack, append = struct.Struct(">4xI4xI").unpack, f.ROW.pack, rows.append

    def event() -> None:
        owner, number = unpack(task)
        append(pack(1, 1, 0, 3, 1790000000000000, 77, owner, number, 10))

    results["append_us"] = min(timeit.repeat(event, number=100_000, repeat=5)) * 10
    import skate

    metrics = {"loss": 0.5, "accuracy": 0.25}
    results["report_us"] = min(timeit.repeat(lambda: skate.report(metrics, step=1), number=20_000, repeat=5)) / 20_000 * 1e6
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(f"{folder}/run", {"name": "run"}, lambda _delay_s, _callback: None)
        name = recorder.string("square")
        batches = [
            b"".join(f.pack_row(1, 1, 0, 2 + i % 8, 1e15 + i * 10, name, 1, i, 9) for i in range(start, start + 1000))
            for start in range(0, 1_000_000, 1000)
        ]
        start_s = time.perf_counter()
        for batch in batches:
            recorder.add_rows(batch)
        recorder.flush()
        results["node_writes_a_million_rows_s"] = time.perf_counter() - start_s
        recorder.close("over")
        run = RunFile(f"{folder}/run")
        start_s = time.perf_counter()
        count = 0
        while delta := run.tail():
            count += len(delta.rows) // f.ROW_BYTES
        results["a_million_rows_opened_as_bytes_s"] = time.perf_counter() - start_s
        assert count == 1_000_000
        run = RunFile(f"{folder}/run")
        history = History(run.names)
        start_s = time.perf_counter()
        history.read(run.rows())
        results["a_million_rows_read_into_a_history_s"] = time.perf_counter() - start_s
        assert len(history.attempts) == 1_000_000
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    document = {
        "command": "python -m benchmarks.recording", "commit": commit, "pairs": pairs_wanted,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}, "results": results,
    }  # fmt: skip
    path = Path(__file__).parent.parent / "results" / "ui-data.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
