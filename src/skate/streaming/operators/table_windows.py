"""table_windows: tumbling windows over Arrow tables or Polars frames, aggregated by columnar kernels, by the sender first.

A record is a table. Each is grouped by (window, key) at once, so what travels are partial rows, and no Python value is made for a
record; results are dicts: the key's columns, `start_s`, `end_s`, and one column for each aggregate. Needs Polars.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from skate.blocks.partition import Partitioner
from skate.streaming.batch import NEVER, Batch, Partial
from skate.streaming.operators.base import Combiner, Emit, Operator, Owns
from skate.streaming.operators.event_time import EventTime
from skate.streaming.operators.reduce import OUTPUT_RECORDS
from skate.streaming.operators.word_count import FRAMES_MAX, add_up, place_expression, split_by_place
from skate.streaming.windows.base import Window
from skate.streaming.windows.tumbling import Tumbling

FUNCTIONS = ("count", "sum", "min", "max", "mean")
START, END, ROWS = "start_s", "end_s", "__rows"

Aggregates = Mapping[str, str | tuple[str, str]]


class TableTime(EventTime):
    """The event times of tables: the watermark follows the latest of a column."""

    kind = "table_time"

    def __init__(self, column: str, max_delay_s: float) -> None:
        super().__init__(_nothing, max_delay_s)
        self.column = column
        self.label = column

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        frames, _ = self.mapped(self._prepared, batch, emit)
        if frames:
            latest = max(frame[START].max() for frame in frames)
            self.latest_s = max(self.latest_s, latest)
            emit(Batch(frames, None, frames, batch.origin))

    def _prepared(self, table: Any) -> Any:
        """The table as a frame, its time as `start_s`: seconds, as float."""
        import polars as pl

        frame = table if isinstance(table, pl.DataFrame) else pl.from_arrow(table)
        if not isinstance(frame, pl.DataFrame) or self.column not in frame.columns or not frame.height:
            names = ", ".join(frame.columns) if isinstance(frame, pl.DataFrame) else type(table).__name__
            raise ValueError(f"a table with rows and the column {self.column!r} is needed, not ({names})")
        time = pl.col(self.column)
        if frame.schema[self.column].is_temporal():
            time = time.dt.epoch("us") / 1e6
        return frame.with_columns(time.cast(pl.Float64).alias(START))


class TableWindows(Operator):
    kind = "table windows"
    is_stateful = True
    imports = ("polars",)

    def __init__(self, window: Window, keys: Sequence[str], aggregates: Aggregates) -> None:
        super().__init__()
        if not isinstance(window, Tumbling):
            raise TypeError(
                f"window_tables takes Tumbling windows, not {type(window).__name__}; use key_by(…).window(…) for others"
            )
        if not keys or not aggregates:
            raise ValueError("window_tables needs at least one key column and one aggregate")
        for name, how in aggregates.items():
            function = how if isinstance(how, str) else how[0]
            if function not in FUNCTIONS or (function != "count" and isinstance(how, str)):
                raise ValueError(f'{name}={how!r}: "count", or ("sum" | "min" | "max" | "mean", column)')
        self.window: Tumbling = window
        self.keys = list(keys)
        self.aggregates = dict(aggregates)
        self.label = f"{window.kind}, {', '.join(aggregates)}"
        self.now_s = NEVER
        self.frames: list[Any] = []

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        import polars as pl

        frames = [batch.content] if isinstance(batch, Partial) else [self.grouped(frame) for frame in batch.values]
        for frame in frames:
            if self.now_s > NEVER:
                late = pl.col(START) + self.window.size_s <= self.now_s
                self.late += frame.filter(late)[ROWS].sum()
                frame = frame.filter(~late)
            if frame.height:
                self.frames.append(frame)
        if len(self.frames) >= FRAMES_MAX:
            self._compact()

    def grouped(self, frame: Any) -> Any:
        """Partial rows of (window, key)."""
        import polars as pl

        size, offset = self.window.size_s, self.window.offset_s
        start = ((pl.col(START) - offset) / size).floor() * size + offset
        columns = [pl.len().alias(ROWS)]
        for name, how in self.aggregates.items():
            if isinstance(how, str) or how[0] == "count":
                continue
            column = pl.col(how[1])
            columns.append((column.sum() if how[0] in ("sum", "mean") else getattr(column, how[0])()).alias(name))
        return frame.lazy().with_columns(start).group_by(START, *self.keys).agg(*columns).collect(engine="streaming")

    def added_up(self, frames: Sequence[Any]) -> Any:
        import polars as pl

        columns = [pl.col(ROWS).sum()]
        for name, how in self.aggregates.items():
            if not isinstance(how, str) and how[0] != "count":
                columns.append(getattr(pl.col(name), how[0] if how[0] in ("min", "max") else "sum")())
        return add_up(frames, (START, *self.keys), columns)

    def _compact(self) -> None:
        if len(self.frames) > 1:
            self.frames = [self.added_up(self.frames)]

    def advance(self, time_s: float, emit: Emit) -> None:
        import polars as pl

        if time_s <= self.now_s:
            return
        is_new_window = self.now_s == NEVER or time_s // self.window.size_s != self.now_s // self.window.size_s
        self.now_s = time_s
        if not self.frames or not is_new_window:
            return
        self._compact()
        closed = pl.col(START) + self.window.size_s <= time_s
        done, self.frames = self.frames[0].filter(closed), [self.frames[0].filter(~closed)]
        if done.height:
            self._emit(done.sort(START, *self.keys), emit)

    def _emit(self, frame: Any, emit: Emit) -> None:
        import polars as pl

        columns = [*(pl.col(key) for key in self.keys), pl.col(START), (pl.col(START) + self.window.size_s).alias(END)]
        for name, how in self.aggregates.items():
            function = how if isinstance(how, str) else how[0]
            value = {"count": pl.col(ROWS), "mean": pl.col(name) / pl.col(ROWS)}.get(function, pl.col(name))
            columns.append(value.alias(name))
        rows = frame.select(columns)
        for start in range(0, rows.height, OUTPUT_RECORDS):
            values = rows.slice(start, OUTPUT_RECORDS).to_dicts()
            emit(Batch(values, [row[END] - 1e-6 for row in values]))

    def finish(self, emit: Emit) -> None:
        self.advance(float("inf"), emit)
        self.frames = []

    def combiner(self) -> Combiner | None:
        return _TableCombiner(self)

    def snapshot(self) -> Any:
        self._compact()
        if not self.frames:
            return self.now_s, b""
        stream = io.BytesIO()
        self.frames[0].write_ipc(stream, compression="lz4")
        return self.now_s, stream.getvalue()

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        import polars as pl

        is_same = len(states) == self.parallelism
        self.now_s = states[self.index][0] if is_same else min(now_s for now_s, _ in states)
        for _, data in states[self.index : self.index + 1] if is_same else states:
            if data:
                frame = pl.read_ipc(io.BytesIO(data))
                if not is_same:
                    frame = frame.filter(place_expression(self.keys, self.parallelism) == self.index)
                self.frames.append(frame)

    def settings(self) -> dict[str, Any]:
        return {**self.window.settings(), "keys": self.keys, "aggregates": self.aggregates}

    def state_size(self) -> int:
        return sum(frame.height for frame in self.frames)


class _TableCombiner(Combiner):
    def __init__(self, operator: TableWindows) -> None:
        self.operator = operator
        self.frames: list[Any] = []
        self.records = 0

    def add(self, batch: Batch) -> None:
        for frame in batch.values:
            self.records += frame.height
            self.frames.append(self.operator.grouped(frame))
        if len(self.frames) >= FRAMES_MAX:
            self.frames = [self.operator.added_up(self.frames)]

    def size(self) -> int:
        return sum(frame.height for frame in self.frames)

    def drain(self, partitioner: Partitioner) -> list[Partial | None]:
        if not self.frames:
            return [None] * partitioner.places
        frame, records = self.operator.added_up(self.frames), self.records
        self.frames, self.records = [], 0
        return split_by_place(frame, self.operator.keys, partitioner.places, records)


def _nothing(record: Any) -> float:
    return 0.0
