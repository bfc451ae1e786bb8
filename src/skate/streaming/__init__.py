"""skate.streaming: streaming MapReduce, exactly once, on actors.

    from skate.streaming import Stream

    Stream.from_text("articles/").flat_map(str.split).count_by().to_text("counts/").run(snapshots="snapshots/")

Mappers and reducers are actors; a killed one is started again from the last snapshot by itself, and a killed program goes on where it
was when it is run again: the output is that of a run in which nothing happened.
"""

from skate.streaming.aggregates import Aggregate, Collect, Count, Max, Mean, Min, Sum, TopK
from skate.streaming.errors import RecordError, SinkError, SnapshotCorruptError, SnapshotMismatchError, StreamError
from skate.streaming.mapreduce import mapreduce
from skate.streaming.operators.base import Operator
from skate.streaming.operators.process import KeyedProcess, ProcessContext
from skate.streaming.run import RunningStream, RunOptions
from skate.streaming.sinks.base import Sink, TransactionalSink
from skate.streaming.sinks.text_files import TextSink
from skate.streaming.sources.base import Reader, Source, Split
from skate.streaming.stream import KeyedStream, Stream, Sunk, WindowedStream
from skate.streaming.windows.base import Window, Windowed
from skate.streaming.windows.session import Session
from skate.streaming.windows.sliding import Sliding
from skate.streaming.windows.tumbling import Tumbling

__all__ = [
    "Aggregate", "Collect", "Count", "KeyedProcess", "KeyedStream", "Max", "Mean", "Min", "Operator", "ProcessContext", "Reader", "RecordError",
    "RunOptions", "RunningStream", "Session", "Sink", "SinkError", "Sliding", "SnapshotCorruptError", "SnapshotMismatchError", "Source", "Split",
    "Stream", "StreamError", "Sum", "Sunk", "TextSink", "TopK", "TransactionalSink", "Tumbling", "Window", "Windowed", "WindowedStream", "mapreduce",
]  # fmt: skip
