"""What recording costs, and what reading a million tasks takes. `python -m benchmarks.recording [--parts …]` prints and
writes a record in benchmarks/results/. How throughput is compared: `throughput.py`.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
import timeit
from typing import Any

from benchmarks.engine.report import RESULTS, machine
from benchmarks.recording.throughput import compare


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", default="record,rows,ui,socket,costs", help="which, comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--slice", type=float, default=0.5, metavar="SECONDS")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    results: dict[str, Any] = {}
    for part in parts:
        if part != "costs":
            results[part] = compare(part, arguments.rounds, arguments.slice)
    if "costs" in parts:
        results["costs"] = costs()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    document = {
        "command": "python -m benchmarks.recording " + " ".join(sys.argv[1:]), "commit": commit, "machine": machine(), "results": results,
    }  # fmt: skip
    path = RESULTS / f"ui-recording-{'-'.join(parts)}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


def costs() -> dict[str, float]:
    """Of single steps: what a worker, the node and a reader do for a row."""
    results: dict[str, float] = {}
    from skate import run_format as f
    from skate.dashboard.history import History
    from skate.dashboard.runfile import RunFile
    from skate.engine.node.recorder import Recorder

    rows: list[bytes] = []
    task = b"tag!" + (7).to_bytes(4, "big") + (123456).to_bytes(8, "big")
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
    return results


if __name__ == "__main__":
    main()
