"""Seeded runs with faults: the subtasks, coordinator, snapshots and sinks that ship, under a schedule and deaths chosen by dice.

Everything that is in memory is lost at a death (that is `kill -9` of everything); files stay as they are, also half written. After each
death another run continues. `python -m tests.unit.streaming.campaign 1000` runs seeds 0 to 999; `… 1 --seed 17` replays one.
"""

from __future__ import annotations

import contextlib
import errno
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from skate.streaming import Session, Sliding, Stream, TextSink, Tumbling, storage
from skate.streaming.graph import Plan, make_plan
from skate.streaming.in_process import InProcessRun
from skate.streaming.sinks.kafka import KafkaSink
from skate.streaming.snapshots import SnapshotStore
from skate.streaming.stream import Sunk
from tests.unit.streaming import fake_kafka

DEATHS_MAX = 6


class Death(BaseException):
    """Everything stops here. Not an Exception: nothing may catch it and go on."""


class Faults:
    """Before each file operation, dice decide: nothing, a death (in the middle of a write, too), or a full disk."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.rate = dice.choice([0.0, 0.005, 0.02, 0.06])
        self.full_rate = dice.choice([0.0, 0.0, 0.01, 0.03])
        self.seen: Counter[str] = Counter()

    def __call__(self, operation: str, path: Path, data: bytes) -> None:
        where = "snapshot" if "snapshot-" in str(path) else "sink"
        if self.dice.random() < self.rate:
            if operation in ("write", "append") and self.dice.random() < 0.5:
                torn = data[: self.dice.randrange(len(data) + 1)]
                if operation == "write":
                    path.write_bytes(torn)
                else:
                    with path.open("ab") as file:
                        file.write(torn)
            self.seen[f"death at {operation} of {where}"] += 1
            raise Death(f"{operation} {path.name}")
        if where == "snapshot" and operation == "write" and self.dice.random() < self.full_rate:
            self.seen["full disk"] += 1
            raise OSError(errno.ENOSPC, "No space left on device")


class Simulation:
    """One seed: a program, its undisturbed output, and the same program under faults."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.program = self.dice.choice(list(OUTPUTS))
        self.deaths = 0
        self.faults = Faults(self.dice)
        self.rescalings = 0

    def run(self, directory: Path) -> None:
        """Raises AssertionError if the output under faults is another one."""
        records = make_records(self.dice)
        # The parts of a sink behind a source follow its splits.
        can_rescale = self.program not in (lines_through, rows_through, messages_through)
        parallelism = self.dice.randint(1, 3)
        expected = self._undisturbed(records, directory / "expected", parallelism)
        out, snapshots = directory / "out", directory / "snapshots"
        storage.before_operation = self.faults
        try:
            while True:
                death_rate = self.dice.choice([0.0, 0.004, 0.02]) if self.deaths < DEATHS_MAX else 0.0
                if self.deaths >= DEATHS_MAX:
                    self.faults.rate = self.faults.full_rate = 0.0
                plan = plan_of(self.program(records, out), parallelism)
                run = InProcessRun(
                    plan,
                    SnapshotStore(snapshots, keep=2),
                    epoch_steps=self.dice.randint(1, 4),
                    choose=lambda n, rate=death_rate: self._choose(n, rate),
                )
                try:
                    run.run()
                    break
                except Death:
                    self.deaths += 1
                    if can_rescale and self.dice.random() < 0.3:
                        parallelism = self.dice.randint(1, 3)
                        self.rescalings += 1
                except Exception as error:
                    assert "snapshots in a row failed" in str(error), f"seed {self.seed}: {error!r}"
                    self.faults.full_rate = 0.0  # Somebody made room.
                    self.deaths += 1
        finally:
            storage.before_operation = None
        got, wanted = OUTPUTS[self.program](out), expected
        if self.rescalings or self.program in (joined, table_rows):
            got, wanted = sorted_lines(got), sorted_lines(expected)
        assert got == wanted, f"seed {self.seed}: the output of {self.program.__name__} differs after {self.deaths} deaths"
        left = [path.name for path in out.glob(".*")]
        assert not left, f"seed {self.seed}: {left} left in the output"

    def _undisturbed(self, records: list[tuple[float, str]], out: Path, parallelism: int) -> dict[str, bytes]:
        InProcessRun(plan_of(self.program(records, out), parallelism), None, epoch_steps=3).run()
        return OUTPUTS[self.program](out)

    def _choose(self, n: int, death_rate: float) -> int:
        if self.dice.random() < death_rate:
            raise Death("between two messages")
        return self.dice.randrange(n)


def text_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("part-*")) if path.stat().st_size}


def parquet_of(directory: Path) -> dict[str, bytes]:
    """The rows of each subtask, in their order: how many files they stand in depends on when snapshots were taken."""
    import pyarrow.parquet as pq

    parts: dict[str, bytes] = {}
    for path in sorted(directory.glob("part-*.parquet")):
        part = path.name.rsplit("-", 1)[0]
        parts[part] = parts.get(part, b"") + b"".join(f"{row}\n".encode() for row in pq.read_table(path).to_pylist())
    return parts


def database_of(directory: Path) -> dict[str, bytes]:
    with contextlib.closing(sqlite3.connect(directory / "out.db")) as connection:
        return {"table": b"".join(f"{row}\n".encode() for row in connection.execute("SELECT word, count FROM words"))}


def topic_of(directory: Path) -> dict[str, bytes]:
    """What a reader keeps that leaves out messages whose `skate-sequence` it has seen."""
    parts: dict[str, dict[bytes, bytes]] = {}
    for message in fake_kafka.topics.get(str(directory), [[]])[0]:
        ((_, sequence),) = message.headers()
        parts.setdefault(sequence.split(b".")[0].decode(), {})[sequence] = message.value().encode()
    return {part: b"\n".join(messages.values()) for part, messages in parts.items()}


def sorted_lines(parts: dict[str, bytes]) -> dict[str, bytes]:
    return {"all": b"\n".join(sorted(b"".join(parts.values()).split(b"\n")))}


def plan_of(sunk: Sunk, parallelism: int) -> Plan:
    return make_plan(sunk._sinks, parallelism)


def make_records(dice: random.Random) -> list[tuple[float, str]]:
    """(time, word), at most 5 s out of order."""
    return [(i * 0.5 + dice.uniform(0, 5), dice.choice("abcdefghij") * dice.randint(1, 3)) for i in range(dice.randint(1, 400))]


def _source(records: list[tuple[float, str]]) -> Stream[tuple[float, str]]:
    from skate.streaming.sources.memory import MemorySource

    return Stream.from_source(MemorySource(records, splits=5, batch_records=16))


def _timed(records: list[tuple[float, str]]) -> Stream[tuple[float, str]]:
    # The splits of one subtask follow each other, those of two do not: a delay as long as the input makes no record late.
    return _source(records).event_time(lambda record: record[0], max_delay_s=1000.0)


def words(records: list[tuple[float, str]], out: Path) -> Sunk:
    return _source(records).map(lambda record: record[1]).count_by().map(lambda pair: f"{pair[0]} {pair[1]}").to(TextSink(out))


def windows(records: list[tuple[float, str]], out: Path) -> Sunk:
    return _timed(records).key_by(lambda record: record[1]).window(Tumbling(20.0)).count().to(TextSink(out))


def sliding_windows(records: list[tuple[float, str]], out: Path) -> Sunk:
    return (
        _timed(records)
        .key_by(lambda record: record[1])
        .window(Sliding(20.0, 10.0))
        .max(lambda record: record[0])
        .to(TextSink(out))
    )


def joined(records: list[tuple[float, str]], out: Path) -> Sunk:
    left = _timed(records[::2]).key_by(lambda record: record[1])
    right = _timed(records[1::2]).key_by(lambda record: record[1])
    return left.join(right, window=Tumbling(30.0), how="outer").to(TextSink(out))


def lines_through(records: list[tuple[float, str]], out: Path) -> Sunk:
    return _source(records).filter(lambda record: len(record[1]) < 3).map(lambda record: record[1].upper()).to(TextSink(out))


def rows_through(records: list[tuple[float, str]], out: Path) -> Sunk:
    return _source(records).map(lambda record: {"time": record[0], "word": record[1]}).to_parquet(out)


def parquet_windows(records: list[tuple[float, str]], out: Path) -> Sunk:
    counts = _timed(records).key_by(lambda record: record[1]).window(Session(3.0)).count()
    return counts.to_parquet(out)


def table_rows(records: list[tuple[float, str]], out: Path) -> Sunk:
    out.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(out / "out.db")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word TEXT, count INTEGER)")
    counts = _source(records).count_by(lambda record: record[1])
    return counts.map(lambda pair: {"word": pair[0], "count": pair[1]}).to_sql(f"sqlite:///{out}/out.db", "words")


class _Client:
    Producer = fake_kafka.Producer


def messages_through(records: list[tuple[float, str]], out: Path) -> Sunk:
    return _source(records).map(lambda record: f"{record[0]} {record[1]}").to(KafkaSink(str(out), servers="x", client=_Client))


OUTPUTS: dict[Callable[[list[tuple[float, str]], Path], Sunk], Callable[[Path], dict[str, bytes]]] = {
    words: text_of, windows: text_of, sliding_windows: text_of, joined: text_of, lines_through: text_of,
    rows_through: parquet_of, parquet_windows: parquet_of, table_rows: database_of, messages_through: topic_of,
}  # fmt: skip


def run_seed(seed: int) -> Simulation:
    simulation = Simulation(seed)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        simulation.run(Path(directory))
    return simulation


def main() -> None:
    count, first = int(sys.argv[1]), int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 0
    seen: Counter[str] = Counter()
    deaths = 0
    for seed in range(first, first + count):
        simulation = run_seed(seed)
        seen += simulation.faults.seen
        deaths += simulation.deaths
    print(f"{count} seeds from {first}: {deaths} deaths, output exact each time; faults of files: {dict(seen)}")


if __name__ == "__main__":
    main()
