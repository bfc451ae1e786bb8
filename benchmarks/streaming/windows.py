"""Counts and sums of tumbling windows over keyed events: `python -m benchmarks.streaming.windows SIDE PATH [EVENTS]`. The answer: (start, key, count, sum)."""

from __future__ import annotations

import sys
import time
from typing import Any

from benchmarks.streaming.answer import digest, hand_in, timed_again
from benchmarks.streaming.data import WINDOW_S

DELAY_S = 3.0


def plain_python(path: str) -> Any:
    import pyarrow.parquet as pq

    windows: dict[tuple[int, int], list[int]] = {}
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        for time_s, key, value in zip(*(table[name].to_pylist() for name in ("time", "key", "value")), strict=True):
            where = int(time_s // WINDOW_S) * WINDOW_S, key
            entry = windows.get(where)
            if entry is None:
                windows[where] = [1, value]
            else:
                entry[0] += 1
                entry[1] += value
    return [(start, key, count, total) for (start, key), (count, total) in windows.items()]


def skate_python(path: str) -> Any:
    from skate.streaming import Stream, Tumbling

    events = (
        Stream.from_parquet(path).event_time(lambda event: event["time"], max_delay_s=DELAY_S).key_by(lambda event: event["key"])
    )
    results = (
        events.window(Tumbling(WINDOW_S))
        .aggregate(
            lambda: (0, 0), lambda a, event: (a[0] + 1, a[1] + event["value"]), merge=lambda a, b: (a[0] + b[0], a[1] + b[1])
        )
        .to_list()
        .run()
    )
    return [(int(window.start_s), window.key, *window.value) for window in results]


def skate_columnar(path: str) -> Any:
    from skate.streaming import Stream, Tumbling

    aggregates: Any = {"count": "count", "total": ("sum", "value")}
    tables = Stream.from_parquet(path, frames=True)
    windows = tables.window_tables(Tumbling(WINDOW_S), time="time", keys="key", aggregates=aggregates, max_delay_s=DELAY_S)
    return [(int(row["start_s"]), row["key"], row["count"], row["total"]) for row in windows.to_list().run()]


def polars(path: str) -> Any:
    import polars as pl

    start = (pl.col("time") // WINDOW_S * WINDOW_S).cast(pl.Int64).alias("start")
    frame = pl.scan_parquet(path).group_by(start, "key").agg(pl.len(), pl.col("value").sum().alias("total"))
    return frame.collect(engine="streaming").rows()


def bytewax(path: str) -> Any:
    from datetime import UTC, datetime, timedelta

    import bytewax.operators as op
    import bytewax.operators.windowing as win
    import pyarrow.parquet as pq
    from bytewax.dataflow import Dataflow
    from bytewax.inputs import DynamicSource, StatelessSourcePartition
    from bytewax.testing import TestingSink, run_main

    zero = datetime.fromtimestamp(0, UTC)

    class Partition(StatelessSourcePartition):  # type: ignore[misc]
        def __init__(self) -> None:
            self.file = pq.ParquetFile(path)
            self.batches = self.file.iter_batches(4096)

        def next_batch(self) -> Any:
            batch = next(self.batches)  # StopIteration is the end.
            columns = [batch[name].to_pylist() for name in ("time", "key", "value")]
            return [(str(key), (datetime.fromtimestamp(time_s, UTC), value)) for time_s, key, value in zip(*columns, strict=True)]

    class Source(DynamicSource):  # type: ignore[misc]
        def build(self, step_id: str, worker_index: int, worker_count: int) -> Partition:
            return Partition()

    out: list[Any] = []
    flow = Dataflow("windows")
    events: Any = op.input("in", flow, Source())
    # Its watermark also follows the wall clock: with less, most events of a slow run come too late and are dropped.
    clock = win.EventClock(lambda event: event[0], wait_for_system_duration=timedelta(hours=1))
    windower = win.TumblingWindower(length=timedelta(seconds=WINDOW_S), align_to=zero)
    folded = win.fold_window(
        "fold",
        events,
        clock,
        windower,
        lambda: (0, 0),
        lambda a, event: (a[0] + 1, a[1] + event[1]),
        lambda a, b: (a[0] + b[0], a[1] + b[1]),
    )
    op.output("out", folded.down, TestingSink(out))
    run_main(flow)
    return [(window * WINDOW_S, int(key), *value) for key, (window, value) in out]


SIDES = {"plain": plain_python, "skate": skate_python, "skate-columnar": skate_columnar, "polars": polars, "bytewax": bytewax}


def main() -> None:
    side, path = sys.argv[1:3]
    started = time.perf_counter()
    answer = list(SIDES[side](path))
    seconds = time.perf_counter() - started
    events = sum(row[2] for row in answer)
    again_s = timed_again(lambda: SIDES[side](path), side)
    hand_in(side=side, seconds=seconds, again_s=again_s, events=events, events_per_s=events / seconds, answer=digest(answer))


if __name__ == "__main__":
    main()
