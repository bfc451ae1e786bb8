"""Stream: how a program says what it does. Nothing runs before `.run()` or `.start()`.

from skate.streaming import Stream

counts = Stream.from_text("articles/*.txt").flat_map(str.split).count_by().to_list().run()
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from skate.streaming import aggregates
from skate.streaming.batch import Batch
from skate.streaming.graph import BALANCE, FORWARD, KEY, ONE, Node
from skate.streaming.operators.base import DEAD_LETTER, ERRORS, FAIL, LATE, SKIP, Operator
from skate.streaming.operators.event_time import EventTime, ProcessingTime
from skate.streaming.operators.filter import Filter
from skate.streaming.operators.flat_map import FlatMap
from skate.streaming.operators.join import Join
from skate.streaming.operators.key_by import KeyBy
from skate.streaming.operators.map import Map
from skate.streaming.operators.map_batches import MapBatches
from skate.streaming.operators.process import KeyedProcess, Process
from skate.streaming.operators.reduce import Reduce
from skate.streaming.operators.union import Union
from skate.streaming.operators.window import WindowAggregate
from skate.streaming.sinks.base import Sink
from skate.streaming.sources.base import Source
from skate.streaming.windows.base import Window, Windowed

if TYPE_CHECKING:
    from skate.streaming.run import RunningStream

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
A = TypeVar("A")

OnError = str | Sink


class Stream(Generic[T]):
    """Records of type T, endless or not."""

    def __init__(self, node: Node, extra_sinks: tuple[Node, ...] = (), on_error: OnError = FAIL) -> None:
        self._node = node
        self._extra = extra_sinks
        self._on_error: OnError = on_error

    # ---------------------------------------------------------------- sources

    @staticmethod
    def from_source(source: Source, *, parallelism: int | None = None, allow_loss: bool = False) -> Stream[Any]:
        """A stream of what a source reads. `allow_loss`: run it although it can't be read again after a failure."""
        if not source.is_replayable and not allow_loss:
            raise ValueError(
                f"{source.name} can't be read a second time, so records between the last snapshot and a failure would be lost; "
                f"if that is fine: allow_loss=True"
            )
        return Stream(Node(None, source, parallelism=parallelism))

    @staticmethod
    def from_list(records: Iterable[U], *, splits: int = 8) -> Stream[U]:
        """The records of a list (or anything that can be made one)."""
        from skate.streaming.sources.memory import MemorySource

        return cast("Stream[U]", Stream.from_source(MemorySource(records, splits)))

    @staticmethod
    def from_text(
        paths: str | Path | Sequence[str | Path],
        *,
        watch: bool = False,
        blocks: bool = False,
        encoding: str = "utf-8",
        **options: Any,
    ) -> Stream[Any]:
        """Lines of files, directories or patterns; compressed ones, too. `watch`: also of what is added later, without end.

        With `blocks` a record is a block of whole lines, as bytes.
        """
        from skate.streaming.sources.text_files import TextFiles

        return Stream.from_source(TextFiles(paths, watch=watch, blocks=blocks, encoding=encoding, **options))

    @staticmethod
    def from_json_lines(
        paths: str | Path | Sequence[str | Path], *, watch: bool = False, on_error: OnError = FAIL
    ) -> Stream[Any]:
        """One JSON value a line."""
        import json

        return Stream.from_text(paths, watch=watch).on_error(on_error).filter(_is_not_blank).map(json.loads)

    @staticmethod
    def from_csv(
        paths: str | Path | Sequence[str | Path], *, delimiter: str = ",", watch: bool = False, on_error: OnError = FAIL
    ) -> Stream[dict[str, str]]:
        """A dict a row, by the header line. A row of another length than the header is an error, for `on_error`."""
        from skate.streaming.sources.csv_files import CsvFiles, row_of

        stream = Stream.from_source(CsvFiles(paths, delimiter=delimiter, watch=watch))
        return stream.on_error(on_error).map(row_of)

    @staticmethod
    def from_parquet(
        paths: str | Path | Sequence[str | Path], *, columns: Sequence[str] | None = None, frames: bool = False
    ) -> Stream[Any]:
        """A dict a row; with `frames` an Arrow table for each row group."""
        from skate.streaming.sources.parquet_files import ParquetFiles

        return Stream.from_source(ParquetFiles(paths, columns=columns, frames=frames))

    @staticmethod
    def from_iterator(
        make: Callable[[], Iterable[U] | AsyncIterable[U]] | Iterable[U], *, bounded: bool = True, allow_loss: bool = False
    ) -> Stream[U]:
        """What an iterable gives. Give a function that makes it (a generator function; an async one, too): after a failure it is
        called again, and what was read before is passed over. An iterator that exists already can't be read twice."""
        from skate.streaming.sources.iterators import IteratorSource

        return cast("Stream[U]", Stream.from_source(IteratorSource(make, bounded=bounded), allow_loss=allow_loss))

    @staticmethod
    def from_socket(host: str, port: int, *, allow_loss: bool = False) -> Stream[str]:
        """Lines from a TCP server. A socket can't be read again: `allow_loss=True` says that this is known."""
        from skate.streaming.sources.sockets import SocketSource

        return Stream.from_source(SocketSource(host, port), allow_loss=allow_loss)

    @staticmethod
    def from_kafka(topics: str | Sequence[str], *, servers: str, bounded: bool = False, **options: Any) -> Stream[Any]:
        """Messages of Kafka topics, as `KafkaMessage`s; offsets are kept in the snapshots. Needs `pip install 'skate[kafka]'`."""
        from skate.streaming.sources.kafka import KafkaSource

        return Stream.from_source(KafkaSource(topics, servers=servers, bounded=bounded, **options))

    # ---------------------------------------------------------------- records

    def on_error(self, policy: OnError) -> Stream[T]:
        """What the operators after this do with a record that raises: "fail", "skip" (and count), or a sink that takes dead letters."""
        if not isinstance(policy, Sink) and policy not in (FAIL, SKIP):
            raise ValueError(f'on_error={policy!r}: "fail", "skip", or a sink such as TextSink("errors/")')
        if isinstance(policy, Sink):
            collector = Node(_DeadLetters(), inputs=[], collects=True)
            sink = Node(policy, inputs=[(collector, "", ONE)])
            return Stream(self._node, (*self._extra, sink), cast("OnError", _Policy(collector)))
        return Stream(self._node, self._extra, policy)

    def map(self, function: Callable[[T], U]) -> Stream[U]:
        """One record for each."""
        return self._then(Map(function))

    def flat_map(self, function: Callable[[T], Iterable[U]]) -> Stream[U]:
        """Any number of records for each."""
        return self._then(FlatMap(function))

    def filter(self, function: Callable[[T], Any]) -> Stream[T]:
        """The records for which the function is true."""
        return self._then(Filter(function))

    def map_batches(self, function: Callable[[list[T]], Sequence[U]]) -> Stream[U]:
        """A function of lists of records."""
        return self._then(MapBatches(function))

    def apply(self, operator: Operator) -> Stream[Any]:
        """An operator of your own."""
        return self._then(operator)

    def event_time(self, function: Callable[[T], Any], *, max_delay_s: float = 0.0) -> Stream[T]:
        """When a record happened: seconds since the epoch, or a datetime. Records may come up to `max_delay_s` out of order."""
        return self._then(EventTime(function, max_delay_s))

    def processing_time(self) -> Stream[T]:
        """A record happened when it is read."""
        return self._then(ProcessingTime())

    def union(self, *others: Stream[T]) -> Stream[T]:
        """The records of all of them."""
        streams = (self, *others)
        node = Node(Union(), inputs=[(stream._node, "", BALANCE) for stream in streams])
        return Stream(node, _merged(*streams), self._on_error)

    def rebalance(self, parallelism: int | None = None) -> Stream[T]:
        """Spread the records over that many subtasks."""
        return Stream(Node(Union(), inputs=[(self._node, "", BALANCE)], parallelism=parallelism), self._extra, self._on_error)

    # ---------------------------------------------------------------- keys

    def key_by(self, function: Callable[[T], K] | None = None) -> KeyedStream[K, T]:
        """Records with the same key meet. Without a function a record is its own key."""
        keyed = self._then(KeyBy(function))
        return KeyedStream(keyed._node, keyed._extra, keyed._on_error)

    def count_by(self, function: Callable[[T], K] | None = None, *, emit: str = "final") -> Stream[tuple[K, int]]:
        """(key, how many). `emit="updates"`: also while it runs."""
        return self.key_by(function).count(emit=emit)

    def count_words(self, *, emit: str = "final") -> Stream[tuple[str, int]]:
        """(word, how many) of blocks (`from_text(…, blocks=True)`): split at white space and counted by Arrow and Polars."""
        from skate.streaming.operators.word_count import WordCount

        blocks = self._then(_Unkeyed())
        node = Node(WordCount(emit), inputs=[(blocks._node, "", KEY)])
        return Stream(node, self._extra, self._on_error)

    def window_tables(
        self,
        window: Window,
        *,
        time: str,
        keys: str | Sequence[str],
        aggregates: Mapping[str, str | tuple[str, str]],
        max_delay_s: float = 0.0,
    ) -> Stream[dict[str, Any]]:
        """Windows over records that are Arrow tables or Polars frames (`from_parquet(…, frames=True)`), by columnar kernels.

        Args:
            window: `Tumbling(…)`.
            time: The column with the event time: seconds, or a timestamp.
            keys: The columns that make the key.
            aggregates: Name → "count", or ("sum" | "min" | "max" | "mean", column).
            max_delay_s: How far tables may be out of order.

        Returns:
            A dict for each key and window: the key's columns, `start_s`, `end_s`, the aggregates.
        """
        from skate.streaming.operators.table_windows import TableTime, TableWindows

        timed = self._then(TableTime(time, max_delay_s))
        operator = TableWindows(window, [keys] if isinstance(keys, str) else keys, aggregates)
        return Stream(Node(operator, inputs=[(timed._node, "", KEY)]), timed._extra, self._on_error)

    def top_k(self, k: int, *, by: Callable[[T], Any] | None = None, emit: str = "final") -> Stream[list[T]]:
        """One list of the k largest records, largest first."""
        top: Stream[Any] = self.key_by(_nothing)._reduce(aggregates.TopK(k, by), emit)
        return top.map(_second)

    # ---------------------------------------------------------------- sinks

    def to(self, sink: Sink) -> Sunk:
        """Give the records to a sink."""
        how = ONE if sink.needs_one_writer else FORWARD
        self._apply_policy(sink)
        node = Node(sink, inputs=[(self._node, "", how)])
        return Sunk((node, *self._extra), node)

    def to_list(self) -> Sunk:
        """`.run()` returns the records."""
        from skate.streaming.sinks.memory import ListSink

        return self.to(ListSink())

    def iterate(self, snapshots: str | Path | None = None, **options: Any) -> Iterator[T]:
        """Run it, and give its records to this program as they are committed: `for record in stream.iterate(): …`.

        Each record once, whatever worker dies. Leaving the loop stops the stream. Options as for `run`; `interval_s` (0.1 here) is how
        long results may take to come.
        """
        from skate.streaming.sinks.iterator import IteratorSink

        return self.to(IteratorSink()).start(snapshots, **{"interval_s": 0.1, **options}).results()

    def to_pandas(self) -> Sunk:
        """`.run()` returns a data frame of the records (dicts or tuples): of `skate.pandas` where that is installed."""
        from skate.streaming.sinks.frames import FrameSink

        return self.to(FrameSink())

    def to_text(self, directory: str | Path, format: Callable[[Any], str] | None = None) -> Sunk:
        """Lines in `directory/part-…`, exactly once. Strings as they are, all else as JSON."""
        from skate.streaming.sinks.text_files import TextSink, as_line

        return self.to(TextSink(directory, format or as_line))

    def to_parquet(self, directory: str | Path) -> Sunk:
        """Parquet files in a directory, exactly once. Records are dicts."""
        from skate.streaming.sinks.parquet_files import ParquetSink

        return self.to(ParquetSink(directory))

    def to_sql(self, url: str, table: str) -> Sunk:
        """Rows of a database table, exactly once, by SQLAlchemy. Records are dicts; the table exists."""
        from skate.streaming.sinks.sql import SqlSink

        return self.to(SqlSink(url, table))

    def to_kafka(self, topic: str, *, servers: str, **options: Any) -> Sunk:
        """Messages of a Kafka topic. See `KafkaSink` for what is guaranteed."""
        from skate.streaming.sinks.kafka import KafkaSink

        return self.to(KafkaSink(topic, servers=servers, **options))

    def to_callback(self, function: Callable[[T], Any]) -> Sunk:
        """Call a function with each record, in the workers; at least once."""
        from skate.streaming.sinks.callback import CallbackSink

        return self.to(CallbackSink(function))

    def to_print(self) -> Sunk:
        """Print each record."""
        return self.to_callback(print)

    # ---------------------------------------------------------------- inside

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_advice(self, name), name=name, obj=self)

    def _then(self, operator: Operator) -> Stream[Any]:
        self._apply_policy(operator)
        node = Node(operator, inputs=[(self._node, "", FORWARD)])
        self._collect_errors(node)
        return Stream(node, self._extra, self._on_error)

    def _apply_policy(self, operator: Operator) -> None:
        operator.on_error = DEAD_LETTER if isinstance(self._on_error, _Policy) else str(self._on_error)

    def _collect_errors(self, node: Node) -> None:
        if isinstance(self._on_error, _Policy):
            self._on_error.collector.inputs.append((node, ERRORS, BALANCE))

    def _keyed_node(self, operator: Operator) -> Node:
        self._apply_policy(operator)
        node = Node(operator, inputs=[(self._node, "", KEY)])
        self._collect_errors(node)
        return node


class KeyedStream(Stream[T], Generic[K, T]):
    """Records with keys."""

    def window(self, window: Window, *, lateness_s: float = 0.0, late_to: Sink | None = None) -> WindowedStream[K, T]:
        """Windows of event time. Up to `lateness_s` behind its end a window is corrected; what is later goes to `late_to`, and is counted."""
        return WindowedStream(self, window, lateness_s, late_to)

    def count(self, *, emit: str = "final") -> Stream[tuple[K, int]]:
        """(key, how many)."""
        return self._reduce(aggregates.Count(), emit)

    def sum(self, of: Callable[[T], Any] | None = None, *, emit: str = "final") -> Stream[tuple[K, Any]]:
        """(key, sum of the records, or of what `of` says of each)."""
        return self._reduce(aggregates.Sum(of), emit)

    def reduce(self, function: Callable[[T, T], T], *, emit: str = "final") -> Stream[tuple[K, T]]:
        """(key, value) by an associative function of two values."""
        return self._reduce(aggregates.Reducing(function), emit)

    def aggregate(
        self,
        initial: Callable[[], A] | aggregates.Aggregate,
        add: Callable[[A, T], A] | None = None,
        *,
        merge: Callable[[A, A], A] | None = None,
        result: Callable[[A], Any] | None = None,
        emit: str = "final",
    ) -> Stream[tuple[K, Any]]:
        """(key, result) of an `Aggregate`, or of functions; with `merge`, senders aggregate before the exchange."""
        return self._reduce(_aggregate(initial, add, merge, result), emit)

    def top_k_per_key(self, k: int, *, by: Callable[[T], Any] | None = None, emit: str = "final") -> Stream[tuple[K, list[T]]]:
        """(key, its k largest records)."""
        return self._reduce(aggregates.TopK(k, by), emit)

    def join(self, other: KeyedStream[K, U], *, window: Window | None = None, how: str = "inner") -> Stream[Any]:
        """(key, left, right) of records with the same key, in the same window. Without a window both streams must end."""
        if not isinstance(other, KeyedStream):
            raise TypeError("join needs a key on both streams: a.key_by(…).join(b.key_by(…), window=…)")
        node = Node(Join(window, how), inputs=[(self._node, "", KEY), (other._node, "", KEY)])
        return Stream(node, _merged(self, other), self._on_error)

    def process(self, process: KeyedProcess) -> Stream[Any]:
        """An operator of your own, with state per key and timers."""
        return Stream(self._keyed_node(Process(process)), self._extra, self._on_error)

    def _reduce(self, aggregate: aggregates.Aggregate, emit: str) -> Stream[Any]:
        return Stream(self._keyed_node(Reduce(aggregate, emit)), self._extra, self._on_error)


class WindowedStream(Generic[K, T]):
    """Records with keys, in windows. What it gives are `Windowed(key, start_s, end_s, value)`."""

    def __init__(self, stream: KeyedStream[K, T], window: Window, lateness_s: float, late_to: Sink | None) -> None:
        self._stream = stream
        self._window = window
        self._lateness_s = lateness_s
        self._late_to = late_to

    def count(self) -> Stream[Windowed]:
        return self.aggregate(aggregates.Count())

    def sum(self, of: Callable[[T], Any] | None = None) -> Stream[Windowed]:
        return self.aggregate(aggregates.Sum(of))

    def min(self, of: Callable[[T], Any] | None = None) -> Stream[Windowed]:
        return self.aggregate(aggregates.Min(of))

    def max(self, of: Callable[[T], Any] | None = None) -> Stream[Windowed]:
        return self.aggregate(aggregates.Max(of))

    def mean(self, of: Callable[[T], Any] | None = None) -> Stream[Windowed]:
        return self.aggregate(aggregates.Mean(of))

    def reduce(self, function: Callable[[T, T], T]) -> Stream[Windowed]:
        return self.aggregate(aggregates.Reducing(function))

    def collect(self) -> Stream[Windowed]:
        return self.aggregate(aggregates.Collect())

    def top_k(self, k: int, *, by: Callable[[T], Any] | None = None) -> Stream[Windowed]:
        return self.aggregate(aggregates.TopK(k, by))

    def aggregate(
        self,
        initial: Callable[[], A] | aggregates.Aggregate,
        add: Callable[[A, T], A] | None = None,
        *,
        merge: Callable[[A, A], A] | None = None,
        result: Callable[[A], Any] | None = None,
    ) -> Stream[Windowed]:
        """An `Aggregate`, or functions, of each key and window."""
        stream = self._stream
        aggregate = _aggregate(initial, add, merge, result)
        operator = WindowAggregate(self._window, aggregate, self._lateness_s, has_late_output=self._late_to is not None)
        node = stream._keyed_node(operator)
        extra = stream._extra
        if self._late_to is not None:
            extra = (*extra, Node(self._late_to, inputs=[(node, LATE, ONE)]))
        return Stream(node, extra, stream._on_error)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{name}: say first what of each window: .count(), .sum(of), .aggregate(…), then .{name}", name=name, obj=self
        )


class Sunk:
    """A stream with its sink: ready to run."""

    def __init__(self, sinks: tuple[Node, ...], node: Node) -> None:
        self._sinks = sinks
        self._node = node

    def also(self, *others: Sunk) -> Sunk:
        """One run with other sinks; what they have in common runs once. `.run()` returns what this sink returns."""
        return Sunk((*self._sinks, *(sink for other in others for sink in other._sinks)), self._node)

    def run(self, snapshots: str | Path | None = None, **options: Any) -> Any:
        """Run to the end. See `skate.streaming.options.RunOptions` for the options.

        Args:
            snapshots: A directory. Given, a run that was cut short goes on where the last snapshot stands.

        Returns:
            What the sink has to return: `to_list` the records, `to_pandas` a frame, others None.
        """
        return self.start(snapshots, **options).wait()

    def start(self, snapshots: str | Path | None = None, **options: Any) -> RunningStream:
        """Start it; returns a handle: `progress()`, `stop()`, `wait()`."""
        from skate.streaming.options import RunOptions

        if unknown := options.keys() - RunOptions.__dataclass_fields__.keys():
            known = ", ".join(RunOptions.__dataclass_fields__)
            raise TypeError(f"there is no option {', '.join(sorted(unknown))}; there are: {known}")
        chosen = RunOptions(snapshots=snapshots, **options)
        if not chosen.in_process:
            from skate.streaming.start import start_engine

            start_engine(self._sinks)
        from skate.streaming.run import RunningStream

        return RunningStream(self._sinks, self._node, chosen)


def _advice(stream: Stream[Any], name: str) -> str:
    """What to write in place of a method that is not there."""
    if name in ("run", "start", "wait"):
        return f"{name}: a stream needs a sink before it runs: .to_list().run(), .to_text(directory).run(), or for record in stream.iterate()"
    if not isinstance(stream, KeyedStream) and hasattr(KeyedStream, name):
        return f"{name} needs a key: .key_by(lambda record: …).{name}(…)"
    return f"a {type(stream).__name__} has no method {name!r}"


class _Policy(str):
    """on_error: dead letters go to a collector's node."""

    collector: Node

    def __new__(cls, collector: Node) -> _Policy:
        policy = super().__new__(cls, DEAD_LETTER)
        policy.collector = collector
        return policy


class _DeadLetters(Union):
    kind = "dead letters"


class _Unkeyed(Union):
    """The combiner of word counts finds the keys by itself."""

    kind = "blocks"

    def process(self, batch: Any, emit: Any, port: int = 0) -> None:
        emit(Batch(batch.values, None, batch.values, batch.origin))


def _merged(*streams: Stream[Any]) -> tuple[Node, ...]:
    seen: dict[int, Node] = {id(node): node for stream in streams for node in stream._extra}
    return tuple(seen.values())


def _aggregate(initial: Any, add: Any, merge: Any, result: Any) -> aggregates.Aggregate:
    if isinstance(initial, aggregates.Aggregate):
        return initial
    if add is None:
        raise TypeError("aggregate(initial, add, merge=…, result=…): functions, or one Aggregate such as Mean()")
    return aggregates.Folding(initial, add, merge, result)


def _nothing(record: Any) -> None:
    return None


def _second(pair: Any) -> Any:
    return pair[1]


def _is_not_blank(line: str) -> bool:
    return bool(line.strip())
