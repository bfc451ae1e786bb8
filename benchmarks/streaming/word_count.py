"""Word count of a text file, by one of: `python -m benchmarks.streaming.word_count SIDE PATH…`. Time is from the program's first step to its answer: imports and the start of an engine count."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from typing import Any

from benchmarks.streaming.answer import digest, hand_in, timed_again

BLOCK_BYTES = 1 << 18


def counter_per_line(paths: list[str]) -> Any:
    counts: Counter[str] = Counter()
    for path in paths:
        with open(path) as file:
            for line in file:
                counts.update(line.split())
    return counts.items()


def counter_of_blocks(paths: list[str]) -> Any:
    counts: Counter[str] = Counter()
    for path in paths:
        with open(path) as file:
            while lines := file.readlines(1 << 20):
                counts.update("".join(lines).split())
    return counts.items()


def skate_python(paths: list[str], interval_s: float = 1.0) -> Any:
    from skate.streaming import Stream

    with tempfile.TemporaryDirectory() as snapshots:
        return Stream.from_text(paths).flat_map(str.split).count_by().to_list().run(snapshots, interval_s=interval_s)


def skate_without_snapshots(paths: list[str]) -> Any:
    return skate_python(paths, 1e6)


def skate_columnar(paths: list[str]) -> Any:
    from skate.streaming import Stream

    with tempfile.TemporaryDirectory() as snapshots:
        return Stream.from_text(paths, blocks=True).count_words().to_list().run(snapshots)


def polars(paths: list[str]) -> Any:
    import polars as pl

    lines = pl.scan_csv(paths, has_header=False, separator="\x01", quote_char=None, new_columns=["line"])
    words = lines.select(pl.col("line").str.split(" ").list.explode().alias("word"))
    return words.group_by("word").agg(pl.len()).collect(engine="streaming").rows()


def duckdb(paths: list[str]) -> Any:
    import duckdb as db

    return db.sql(
        f"SELECT word, count(*) FROM (SELECT unnest(string_split(line, ' ')) AS word FROM "
        f"read_csv({paths}, columns={{'line': 'VARCHAR'}}, header=false, delim='\x01', quote='', escape='', auto_detect=false)) GROUP BY word"
    ).fetchall()


def bytewax(paths: list[str], *, pre_aggregated: bool = False, recovery: bool = False) -> Any:
    import bytewax.operators as op
    from bytewax.connectors.files import FileSource
    from bytewax.dataflow import Dataflow
    from bytewax.recovery import RecoveryConfig, init_db_dir
    from bytewax.testing import TestingSink, run_main

    out: list[Any] = []
    flow = Dataflow("count")
    lines: Any = op.input("in", flow, FileSource(paths[0], batch_size=4096))
    if pre_aggregated:
        counted = op.flat_map_batch("count", lines, lambda batch: list(Counter(" ".join(batch).split()).items()))
        total: Any = op.reduce_final("total", counted, lambda a, b: a + b)
    else:
        total = op.count_final("total", op.flat_map("split", lines, str.split), lambda word: word)
    op.output("out", total, TestingSink(out))
    if recovery:
        from datetime import timedelta

        directory = tempfile.mkdtemp()
        init_db_dir(directory, 1)
        run_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(directory))
    else:
        run_main(flow)
    return out


def bytewax_pre_aggregated(paths: list[str]) -> Any:
    return bytewax(paths, pre_aggregated=True)


def bytewax_with_recovery(paths: list[str]) -> Any:
    return bytewax(paths, pre_aggregated=True, recovery=True)


def ray_actors(paths: list[str]) -> Any:
    """Tuned by hand: two mappers read half of the file each and push counts of 4 MB to two reducers."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False)

    @ray.remote(num_cpus=0)
    class Reducer:
        def __init__(self) -> None:
            self.counts: Counter[str] = Counter()

        def add(self, part: dict[str, int]) -> None:
            self.counts.update(part)

        def result(self) -> dict[str, int]:
            return dict(self.counts)

    @ray.remote(num_cpus=1)
    class Mapper:
        def __init__(self, reducers: list[Any]) -> None:
            self.reducers = reducers

        def read(self, path: str, start: int, stop: int) -> None:
            import zlib

            under_way: list[Any] = []
            with open(path, "rb") as file:
                file.seek(max(0, start - 1))
                if start:
                    file.readline()
                while file.tell() < stop:
                    lines = file.readlines(min(1 << 22, stop - file.tell()))
                    parts: list[dict[str, int]] = [{} for _ in self.reducers]
                    for word, count in Counter(b"".join(lines).decode().split()).items():
                        parts[zlib.crc32(word.encode()) % len(parts)][word] = count
                    under_way += [reducer.add.remote(part) for reducer, part in zip(self.reducers, parts, strict=True)]
                    while len(under_way) > 8:
                        ray.get(under_way.pop(0))
            ray.get(under_way)

    reducers = [Reducer.remote() for _ in range(2)]
    mappers = [Mapper.remote(reducers) for _ in range(2)]
    size = os.path.getsize(paths[0])
    ray.get([mapper.read.remote(paths[0], i * size // 2, (i + 1) * size // 2) for i, mapper in enumerate(mappers)])
    return [item for part in ray.get([reducer.result.remote() for reducer in reducers]) for item in part.items()]


SIDES = {
    "counter": counter_per_line,
    "counter-blocks": counter_of_blocks,
    "skate": skate_python,
    "skate-no-snapshots": skate_without_snapshots,
    "skate-columnar": skate_columnar,
    "polars": polars,
    "duckdb": duckdb,
    "bytewax": bytewax,
    "bytewax-batched": bytewax_pre_aggregated,
    "bytewax-recovery": bytewax_with_recovery,
    "ray": ray_actors,
}


def main() -> None:
    side, *paths = sys.argv[1:]
    started = time.perf_counter()
    answer = SIDES[side](paths)
    seconds = time.perf_counter() - started
    size_mb = sum(map(os.path.getsize, paths)) / 1e6
    again_s = timed_again(lambda: SIDES[side](paths), side)
    hand_in(
        side=side, seconds=seconds, again_s=again_s, mb_per_s=size_mb / seconds, answer=digest(item for item in answer if item[0])
    )


if __name__ == "__main__":
    main()
