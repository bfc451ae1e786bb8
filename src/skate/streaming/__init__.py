"""skate.streaming: streaming MapReduce, exactly once, on actors.

    from skate.streaming import Stream

    Stream.from_text("articles/").flat_map(str.split).count_by().to_text("counts/").run(snapshots="snapshots/")

Mappers and reducers are actors; a killed one is started again from the last snapshot by itself, and a killed program goes on where it
was when it is run again: the output is that of a run in which nothing happened.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skate.streaming.aggregates import (
        Aggregate as Aggregate,
        Collect as Collect,
        Count as Count,
        Max as Max,
        Mean as Mean,
        Min as Min,
        Sum as Sum,
        TopK as TopK,
    )
    from skate.streaming.errors import (
        RecordError as RecordError,
        SinkError as SinkError,
        SnapshotCorruptError as SnapshotCorruptError,
        SnapshotMismatchError as SnapshotMismatchError,
        StreamError as StreamError,
    )
    from skate.streaming.mapreduce import mapreduce as mapreduce
    from skate.streaming.operators.base import Operator as Operator
    from skate.streaming.operators.process import KeyedProcess as KeyedProcess, ProcessContext as ProcessContext
    from skate.streaming.options import RunOptions as RunOptions
    from skate.streaming.run import RunningStream as RunningStream
    from skate.streaming.sinks.base import Sink as Sink, TransactionalSink as TransactionalSink
    from skate.streaming.sinks.text_files import TextSink as TextSink
    from skate.streaming.sources.base import Reader as Reader, Source as Source, Split as Split
    from skate.streaming.stream import (
        KeyedStream as KeyedStream,
        Stream as Stream,
        Sunk as Sunk,
        WindowedStream as WindowedStream,
    )
    from skate.streaming.windows.base import Window as Window, Windowed as Windowed
    from skate.streaming.windows.session import Session as Session
    from skate.streaming.windows.sliding import Sliding as Sliding
    from skate.streaming.windows.tumbling import Tumbling as Tumbling

# Imported when they are used: a worker starts without what only programs need.
_MODULE_OF = {
    "Aggregate": "aggregates", "Collect": "aggregates", "Count": "aggregates", "Max": "aggregates", "Mean": "aggregates", "Min": "aggregates", "Sum": "aggregates", "TopK": "aggregates",
    "RecordError": "errors", "SinkError": "errors", "SnapshotCorruptError": "errors", "SnapshotMismatchError": "errors", "StreamError": "errors",
    "mapreduce": "mapreduce",
    "Operator": "operators.base",
    "KeyedProcess": "operators.process", "ProcessContext": "operators.process",
    "RunningStream": "run",
    "RunOptions": "options",
    "Sink": "sinks.base", "TransactionalSink": "sinks.base",
    "TextSink": "sinks.text_files",
    "Reader": "sources.base", "Source": "sources.base", "Split": "sources.base",
    "KeyedStream": "stream", "Stream": "stream", "Sunk": "stream", "WindowedStream": "stream",
    "Window": "windows.base", "Windowed": "windows.base",
    "Session": "windows.session",
    "Sliding": "windows.sliding",
    "Tumbling": "windows.tumbling",
}  # fmt: skip

__all__ = [
    "Aggregate", "Collect", "Count", "KeyedProcess", "KeyedStream", "Max", "Mean", "Min", "Operator", "ProcessContext", "Reader", "RecordError",
    "RunOptions", "RunningStream", "Session", "Sink", "SinkError", "Sliding", "SnapshotCorruptError", "SnapshotMismatchError", "Source", "Split",
    "Stream", "StreamError", "Sum", "Sunk", "TextSink", "TopK", "TransactionalSink", "Tumbling", "Window", "Windowed", "WindowedStream", "mapreduce",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'skate.streaming' has no attribute {name!r}")
    value = getattr(import_module(f"skate.streaming.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
