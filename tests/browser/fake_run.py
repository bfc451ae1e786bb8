"""Writes run files as a session would, of any size, in a moment: what the UI is tested and measured with."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skate import run_format as f

NAMES = ("rollout", "ppo_update", "embed", "load_shard", "augment", "groupby_agg", "write_parquet", "eval_policy", "decode_jpeg", "tokenize", "all_reduce", "compute_gae")  # fmt: skip
MEANS_S = (0.24, 0.33, 0.055, 0.088, 0.022, 0.099, 0.134, 0.65, 0.013, 0.009, 0.033, 0.011)
WEIGHTS = (7, 4, 12, 5, 17, 4, 3, 1, 17, 20, 5, 8)
DRIVER = 1
HOSTILE_NAME = "<script>window.hacked=1</script>"


class FakeRun:
    """A run that grows by what it is told. Times are seconds since its start."""

    def __init__(self, directory: Path, *, start_s: float = 1_760_000_000.0, ended: bool = False, **record: Any) -> None:
        self.directory = directory
        self.start_us = start_s * 1e6
        directory.mkdir(parents=True, exist_ok=True)
        self.record = {
            "format": f.VERSION, "name": directory.name, "started_s": start_s, "num_cpus": 8, "argv": ["train_ppo.py"], **record,
        }  # fmt: skip
        if ended:
            self.record["ended_s"] = start_s + 60
        (directory / f.RECORD_NAME).write_text(json.dumps(self.record))
        self._strings: dict[str, int] = {}
        self._blob_offset = 0
        self._rows = (directory / f.rows_name(0)).open("ab")
        self._string_file = (directory / f.STRINGS_NAME).open("ab")
        self._blob_file = (directory / f.blobs_name(0)).open("ab")

    def string(self, text: str) -> int:
        if text not in self._strings:
            self._strings[text] = number = len(self._strings) + 1
            data = text.encode()
            self._string_file.write(f.STRING_HEAD.pack(number, len(data)) + data)
        return self._strings[text]

    def row(self, kind: int, t: float, *, state: int = 0, attempt: int = 0, lane: int = 0, name: int = 0, owner: int = 0, number: int = 0, duration_s: float = 0) -> None:  # fmt: skip
        self._rows.write(
            f.pack_row(kind, state, attempt, lane, self.start_us + t * 1e6, name, owner, number, int(duration_s * 1e6))
        )

    def task(self, name: str, number: int, lane: int, start: float, duration_s: float, *, state: int = f.FINISHED, attempt: int = 0, kind: int = f.TASK) -> None:  # fmt: skip
        name_id = self.string(name)
        self.row(
            kind, start, state=state, attempt=attempt, lane=lane, name=name_id, owner=DRIVER, number=number, duration_s=duration_s
        )

    def lane(self, number: int, pid: int, t: float = 0, what: str = "worker", *, went: bool = False) -> None:
        self.row(f.LANE, t, state=int(went), lane=number, name=self.string(what), number=pid)

    def value(self, kind: int, name: str, t: float, value: float, *, lane: int = 0, step: int | None = None) -> None:
        self._rows.write(f.pack_value(kind, lane, self.start_us + t * 1e6, self.string(name), value, step))

    def report(self, run: str, metric: str, t: float, value: float, step: int) -> None:
        self.value(f.REPORT, f"{run}{f.SEPARATOR}{metric}", t, value, lane=2, step=step)

    def blob(self, kind: int, t: float, name: str, data: bytes, *, lane: int = 0, state: int = 0, owner: int = 0) -> None:
        self._blob_file.write(f.BLOB_HEAD.pack(len(data)) + data)
        offset = self._blob_offset + f.BLOB_HEAD.size
        self._blob_offset = offset + len(data)
        name_id = self.string(name)
        self._rows.write(f.pack_row(kind, state, 0, lane, self.start_us + t * 1e6, name_id, owner, offset, len(data)))

    def log(self, t: float, lane: int, label: str, text: str, *, stream: int = f.STDOUT) -> None:
        self.blob(f.LOG, t, label, text.encode(), lane=lane, state=stream, owner=text.count("\n") or 1)

    def document(self, t: float, kind: str, key: str, document: Mapping[str, Any]) -> None:
        self.blob(f.DOCUMENT, t, f"{kind}{f.SEPARATOR}{key}", json.dumps(document).encode())

    def error(self, t: float, lane: int, name: str, number: int, kind: str, message: str, line: int = 12) -> None:
        task = struct.pack(">4sIQ", b"tag0", DRIVER, number).hex()
        traceback = f'Traceback (most recent call last):\n  File "train.py", line {line}, in {name}\n    return table[key]\n{kind}: {message}\n'
        document = {
            "task": task,
            "attempt": 0,
            "name": name,
            "type": kind,
            "message": message,
            "traceback": traceback,
            "worker": lane,
        }
        self.blob(f.ERROR, t, kind, json.dumps(document).encode(), lane=lane)

    def flush(self) -> None:
        for file in (self._string_file, self._blob_file, self._rows):
            file.flush()

    def end(self) -> None:
        self.flush()
        self.record["ended_s"] = float(self.record["started_s"]) + 60
        (self.directory / f.RECORD_NAME).write_text(json.dumps(self.record))

    def close(self) -> None:
        for file in (self._string_file, self._blob_file, self._rows):
            file.close()


def write_training_run(run: FakeRun, tasks: int = 50_000, lanes: int = 8, seed: int = 1) -> float:
    """A believable run of a training program with everything the pages show; returns how long it lasted."""
    dice = random.Random(seed)
    run.lane(DRIVER, 4000, what="driver train_ppo.py")
    for lane in range(2, 2 + lanes):
        run.lane(lane, 4100 + lane)
    clocks = [0.02 + 0.01 * lane for lane in range(lanes)]
    scale = 1.0
    rows: list[tuple[float, Any]] = []
    for number in range(1, tasks + 1):
        lane = min(range(lanes), key=clocks.__getitem__)
        phase = int(clocks[lane] / 20) % 3
        weights = [w * (3 if (i % 3) == phase else 1) for i, w in enumerate(WEIGHTS)]
        which = dice.choices(range(len(NAMES)), weights)[0]
        duration = MEANS_S[which] * scale * dice.lognormvariate(0, 0.4)
        start = clocks[lane]
        state = f.FAILED if dice.random() < 0.0016 else f.FINISHED
        rows.append((start + duration, (NAMES[which], number, lane + 2, start, duration, state)))
        clocks[lane] = start + duration + (dice.random() * 0.8 if dice.random() < 0.004 else 0.0004)
    rows.sort(key=lambda row: row[0])
    end = rows[-1][0]
    for position, (at, (name, number, lane, start, duration, state)) in enumerate(rows):
        if position % 50 == 0:
            run.row(f.SUBMITTED, max(0, start - 0.05), owner=DRIVER, number=min(tasks, number + 40))
        if number % 7 == 0 and number > 20:
            run.row(f.NEEDS, max(0, start - 0.03), lane=DRIVER, name=number - 17, owner=DRIVER, number=number)
        if state == f.FAILED:
            run.error(
                at,
                lane,
                name,
                number,
                "KeyError" if number % 3 else "ValueError",
                "'label'" if number % 3 else "bad shape",
                12 + number % 3,
            )
        run.task(name, number, lane, start, duration, state=state)
        if position % 97 == 0:
            run.log(at, lane, name, f"epoch {position // 97} loss {dice.random():.4f}\n")
        if position % 400 == 0:
            run.log(at, lane, name, f"WARN object store {40 + position // 1000}% full\n", stream=f.STDERR)
    for second in range(int(end)):
        run.value(f.SAMPLE, "cpu_percent", second, 60 + 25 * dice.random())
        run.value(f.SAMPLE, "memory_bytes", second, 6e9 + 2e9 * second / end)
        run.value(f.SAMPLE, "memory_total_bytes", second, 32e9)
        run.value(f.SAMPLE, "store_bytes", second, 1e9 * (0.5 + 0.4 * dice.random()))
        run.value(f.SAMPLE, "store_total_bytes", second, 4e9)
    for step in range(600):
        t = end * step / 600
        for name, bend in (("seed 1", 1.0), ("seed 2", 0.8)):
            run.report(
                name,
                "reward",
                t,
                500 * (1 - 2.7 ** (-bend * step / 180)) + dice.gauss(0, 22) - (160 if 300 < step < 330 else 0),
                step,
            )
            run.report(name, "loss", t, 2.0 * 2.7 ** (-bend * step / 200) + 0.05 + abs(dice.gauss(0, 0.03)), step)
            run.report(name, "kl", t, 0.01 + abs(dice.gauss(0, 0.004)), step)
    for number in range(40):  # Values in the object store.
        run.row(
            f.STORED,
            end * number / 40,
            lane=2 + number % lanes,
            name=200 * (number + 1),
            owner=DRIVER,
            number=number + 1,
            attempt=1,
        )
    run.row(f.SPILLED, end * 0.5, name=2000, owner=DRIVER, number=10, attempt=1)
    run.row(
        f.PACKED,
        end * 0.2,
        lane=DRIVER,
        name=run.string("train_ppo.py:42"),
        owner=run.string("rollout"),
        number=9000,
        duration_s=0.01,
    )
    run.row(f.ACTOR, 0.1, state=1, lane=3, name=run.string("ParameterServer"), owner=DRIVER, number=3, attempt=1)
    run.row(f.ACTOR, 0.2, state=1, lane=4, name=run.string("EnvWorker"), owner=DRIVER, number=4)
    stages = [
        {"id": i, "name": name, "parallelism": 2, "records_in": 1000 * rate, "records_out": 900 * rate, "records_per_s": rate,
         "backpressure": pressure, "watermark_s": run.start_us / 1e6 + 30 if i else None, "late": 0, "skipped": 0, "state_keys": 5000 * (i == 2)}
        for i, (name, rate, pressure) in enumerate([
            ("text files(articles) → flat_map(split)", 12_000, 0.1),
            ("key_by", 90_000, 0.62),
            ("count → filter(is_frequent_enough_to_be_shown) → map(f) → map(g) → map(h)", 90_000, 0.05),
            ("sink", 300, 0.0),
        ])
    ]  # fmt: skip
    edges = [{"from": 0, "to": 1, "how": "forward"}, {"from": 1, "to": 2, "how": "hash"}, {"from": 2, "to": 3, "how": "forward"}]
    run.document(
        end * 0.5,
        "stream",
        "wordcount",
        {
            "state": "running",
            "name": "wordcount",
            "stages": stages,
            "edges": edges,
            "progress": 0.4,
            "elapsed_s": 30.25,
            "snapshot_failures": 0,
            "snapshots": [{"number": 7, "size_bytes": 15_900, "epoch_s": 1.005, "at_s": run.start_us / 1e6 + 9}],
        },
    )
    trials = [{"config": {"lr": 10 ** dice.uniform(-5, -2), "gamma": dice.uniform(0.9, 0.999), "layers": dice.randint(1, 4)}, "value": dice.random()} for _ in range(40)]  # fmt: skip
    run.document(end * 0.6, "tune", "search", {"metric": "value", "mode": "max", "trials": trials})
    run.document(end * 0.6, "dataframe", "q1", {"plan": "SCAN parquet\n  FILTER x > 0\n    GROUP BY k", "lines": [{"line": 12, "code": "df.groupby('k').sum()", "seconds": 0.8, "where": "parallel"}]})  # fmt: skip
    run.flush()
    return end
