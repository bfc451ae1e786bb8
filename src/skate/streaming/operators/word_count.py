"""word_count: words of blocks of text, split at white space and counted by columnar kernels, aggregated before the exchange.

A block is bytes of whole lines. Counts of a block are a Polars frame (word, count); a sender adds up frames before it sends, split by a
hash of the word; words become Python strings only when they are emitted. White space is ASCII white space; bytes that are not UTF-8 are
replaced by U+FFFD.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from skate.blocks.partition import Partitioner
from skate.streaming.batch import Batch, Partial
from skate.streaming.operators.base import Combiner, Emit, Operator, Owns
from skate.streaming.operators.reduce import OUTPUT_RECORDS

FRAMES_MAX = 16  # Added up when there are so many.
ROWS_MAX = 400_000  # As many at the most, too: the same words again must not look like entries enough to be sent on.
COUNTED_BYTES = 4_000_000
HASH_SEED = 20180601


class WordCount(Operator):
    kind = "count words"
    is_stateful = True
    imports = ("polars", "pyarrow.compute")

    def __init__(self, emit: str = "final") -> None:
        super().__init__()
        if emit not in ("final", "updates"):
            raise ValueError(f'emit={emit!r}: "final" (once, at the end) or "updates" (as it changes)')
        self.emits_updates = emit == "updates"
        self.frames: list[Any] = []

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        frames = [batch.content] if isinstance(batch, Partial) else [count_blocks(batch.values)]
        self.frames.extend(frames)
        if self.emits_updates:
            self._compact()
            changed = _sum(frames).select("word").join(self.frames[0], on="word").sort("word")
            emit(Batch(list(changed.iter_rows())))
        elif len(self.frames) >= FRAMES_MAX:
            self._compact()

    def _compact(self) -> None:
        if len(self.frames) > 1:
            self.frames = [_sum(self.frames)]

    def finish(self, emit: Emit) -> None:
        self._compact()
        if self.frames and not self.emits_updates:
            frame = self.frames[0].sort("word")
            for start in range(0, frame.height, OUTPUT_RECORDS):
                part = frame.slice(start, OUTPUT_RECORDS)
                emit(Batch(list(zip(part["word"].to_list(), part["count"].to_list(), strict=True))))
        self.frames = []

    def combiner(self) -> Combiner | None:
        return _WordCombiner(holds=not self.emits_updates)

    def snapshot(self) -> Any:
        self._compact()
        return _bytes_of(self.frames)

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        import polars as pl

        is_same = len(states) == self.parallelism
        for state in states[self.index : self.index + 1] if is_same else states:
            if not state:
                continue
            frame = pl.read_ipc(io.BytesIO(state))
            if not is_same:
                frame = frame.filter(place_expression(["word"], self.parallelism) == self.index)
            self.frames.append(frame)

    def state_size(self) -> int:
        return sum(frame.height for frame in self.frames)


class _WordCombiner(Combiner):
    """Holds blocks until there are some MB: the fewer frames of counts, the fewer are added up."""

    def __init__(self, *, holds: bool) -> None:
        self.holds = holds
        self.blocks: list[Any] = []
        self.blocks_bytes = 0
        self.frames: list[Any] = []
        self.records = 0

    def add(self, batch: Batch) -> None:
        self.blocks.extend(batch.values)
        self.blocks_bytes += sum(map(len, batch.values))
        self.records += len(batch)
        if self.blocks_bytes >= COUNTED_BYTES:
            self._count()

    def _count(self) -> None:
        if self.blocks:
            self.frames.append(count_blocks(self.blocks))
            self.blocks, self.blocks_bytes = [], 0
        if len(self.frames) >= FRAMES_MAX or (len(self.frames) > 1 and self.size() >= ROWS_MAX):
            self.frames = [_sum(self.frames)]

    def size(self) -> int:
        return sum(frame.height for frame in self.frames)

    def drain(self, partitioner: Partitioner) -> list[Partial | None]:
        self._count()
        if not self.frames:
            return [None] * partitioner.places
        frame, records = _sum(self.frames), self.records
        self.frames, self.records = [], 0
        return split_by_place(frame, ["word"], partitioner.places, records)

    def snapshot(self) -> Any:
        self._count()
        if len(self.frames) > 1:
            self.frames = [_sum(self.frames)]
        return _bytes_of(self.frames)

    def restore(self, states: Sequence[Any]) -> None:
        import polars as pl

        self.frames += [pl.read_ipc(io.BytesIO(state)) for state in states if state]


def _bytes_of(frames: Sequence[Any]) -> bytes:
    """The one frame as Arrow IPC; nothing for none."""
    if not frames:
        return b""
    stream = io.BytesIO()
    frames[0].write_ipc(stream, compression="lz4")
    return stream.getvalue()


def count_blocks(blocks: Sequence[bytes | str]) -> Any:
    """A frame (word, count) of the words of some blocks."""
    import polars as pl
    import pyarrow.compute as pc

    data = [block.encode() if isinstance(block, str) else block for block in blocks]
    try:
        text = _text_array(data)
    except ValueError:
        text = _text_array([block.decode("utf-8", "replace").encode() for block in data])
    counts = pc.value_counts(pc.ascii_split_whitespace(text).flatten())
    frame = pl.DataFrame({"word": pl.from_arrow(counts.field(0)), "count": pl.from_arrow(counts.field(1))})
    return frame.filter(pl.col("word") != "")


def _text_array(blocks: Sequence[bytes]) -> Any:
    """An Arrow array of large strings. Not by `pyarrow.array`, which imports pandas at its first call (0.16 s of each worker's start).

    Raises:
        pyarrow.ArrowInvalid: Some bytes are not UTF-8.
    """
    import pyarrow as pa

    offsets = array("q", accumulate(map(len, blocks), initial=0))
    text = pa.Array.from_buffers(pa.large_utf8(), len(blocks), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(blocks))])
    text.validate(full=True)
    return text


def place_expression(keys: Sequence[str], places: int) -> Any:
    """The place of each row. Polars' hash is the same in every process of one version; it need not agree with `place_of`."""
    import polars as pl

    return ((pl.col(keys[0]) if len(keys) == 1 else pl.struct(*keys)).hash(HASH_SEED) % 1024 * places // 1024).cast(pl.Int64)


def split_by_place(frame: Any, keys: Sequence[str], places: int, records: int) -> list[Partial | None]:
    """The rows that each place owns."""
    if places == 1:
        return [Partial(frame, records)]
    placed = frame.with_columns(place_expression(keys, places).alias("__place"))
    parts = placed.partition_by("__place", as_dict=True, include_key=False)
    return [Partial(parts[place,], records // places) if (place,) in parts else None for place in range(places)]


def add_up(frames: Sequence[Any], keys: Sequence[str], columns: Sequence[Any]) -> Any:
    """Frames of partial results as one. The streaming engine groups three times as fast as the eager one here."""
    import polars as pl

    if len(frames) == 1:
        return frames[0]
    return pl.concat(frames).lazy().group_by(*keys).agg(*columns).collect(engine="streaming")


def _sum(frames: Sequence[Any]) -> Any:
    import polars as pl

    return add_up(frames, ("word",), [pl.col("count").sum()])
