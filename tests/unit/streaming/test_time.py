"""Event time: watermarks, windows of each kind, lateness; processing time; timers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from skate.streaming import (
    KeyedProcess,
    KeyedStream,
    Mean,
    ProcessContext,
    RecordError,
    Session,
    Sliding,
    Stream,
    StreamError,
    TextSink,
    Tumbling,
    Windowed,
)  # fmt: skip
from skate.streaming.aggregates import Collect, Count
from skate.streaming.batch import Batch
from skate.streaming.operators.base import LATE
from skate.streaming.operators.event_time import EventTime, ProcessingTime
from skate.streaming.operators.window import WindowAggregate

Event = tuple[float, str]


def timed(events: list[Event], max_delay_s: float = 0.0) -> KeyedStream[str, Event]:
    return (
        Stream.from_list(events, splits=1)
        .event_time(lambda event: event[0], max_delay_s=max_delay_s)
        .key_by(lambda event: event[1])
    )


def run(stream: Any, **options: Any) -> Any:
    return stream.to_list().run(in_process=True, **options)


class Harness:
    """A window operator alone: records and watermarks in, results out."""

    def __init__(self, operator: WindowAggregate) -> None:
        self.operator = operator
        self.results: list[Windowed] = []
        self.late: list[Any] = []

    def emit(self, batch: Batch, side: str = "") -> None:
        (self.late if side == LATE else self.results).extend(batch.values)

    def add(self, *times: float, key: str = "a") -> Harness:
        self.operator.process(Batch(list(times), list(times), [key] * len(times)), self.emit)
        return self

    def advance(self, time_s: float) -> list[tuple[float, float, Any]]:
        self.results = []
        self.operator.advance(time_s, self.emit)
        return [(result.start_s, result.end_s, result.value) for result in self.results]


def test_tumbling_windows_are_aligned_and_half_open() -> None:
    windows = run(timed([(0.0, "a"), (9.9, "a"), (10.0, "a"), (25.0, "b")]).window(Tumbling(10)).count())
    assert windows == [Windowed("a", 0, 10, 2), Windowed("a", 10, 20, 1), Windowed("b", 20, 30, 1)]
    shifted = run(timed([(4.0, "a"), (5.0, "a")]).window(Tumbling(10, offset_s=5)).count())
    assert shifted == [Windowed("a", -5, 5, 1), Windowed("a", 5, 15, 1)]


def test_sliding_windows_hold_a_record_several_times() -> None:
    windows = run(timed([(12.0, "a")]).window(Sliding(20, 10)).collect())
    assert [(window.start_s, window.end_s) for window in windows] == [(0, 20), (10, 30)]
    with pytest.raises(ValueError, match="records between two windows would be lost"):
        Sliding(10, 20)


def test_sessions_end_after_a_gap() -> None:
    windows = run(timed([(0.0, "a"), (3.0, "a"), (20.0, "a"), (21.0, "b")]).window(Session(5)).count())
    assert windows == [Windowed("a", 0, 8, 2), Windowed("a", 20, 25, 1), Windowed("b", 21, 26, 1)]


def test_a_record_between_two_sessions_makes_them_one() -> None:
    harness = Harness(WindowAggregate(Session(5), Collect()))
    harness.add(0.0).add(8.0).add(4.0)
    ((start_s, end_s, values),) = harness.advance(100.0)
    assert (start_s, end_s, sorted(values)) == (0.0, 13.0, [0.0, 4.0, 8.0])


@settings(deadline=None, max_examples=60)  # The machine may be busy.
@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("ab")), min_size=1, max_size=40), st.integers(1, 3))
def test_sessions_are_those_of_the_sorted_log_whatever_order_they_come_in(
    events: list[tuple[int, str]], parallelism: int
) -> None:
    expected: list[tuple[str, int, int, int]] = []
    for key in "ab":
        times = sorted(time for time, other in events if other == key)
        for time in times:
            if expected and expected[-1][0] == key and time <= expected[-1][2]:
                expected[-1] = (key, expected[-1][1], time + 5, expected[-1][3] + 1)
            else:
                expected.append((key, time, time + 5, 1))
    stream = Stream.from_list(events, splits=3).event_time(lambda event: event[0], max_delay_s=100).key_by(lambda event: event[1])
    windows = run(stream.window(Session(5)).count(), parallelism=parallelism)
    assert sorted((window.key, window.start_s, window.end_s, window.value) for window in windows) == sorted(expected)


def test_a_window_is_emitted_when_the_watermark_passes_its_end() -> None:
    harness = Harness(WindowAggregate(Tumbling(10), Count()))
    harness.add(1.0, 12.0)
    assert harness.advance(9.0) == []
    assert harness.advance(10.0) == [(0, 10, 1)]
    assert harness.advance(math.inf) == [(10, 20, 1)]


def test_within_the_lateness_a_window_is_corrected_and_after_it_a_record_is_late() -> None:
    harness = Harness(WindowAggregate(Tumbling(10), Count(), lateness_s=5, has_late_output=True))
    harness.add(1.0)
    assert harness.advance(12.0) == [(0, 10, 1)]
    harness.results = []
    harness.add(2.0)
    assert [result.value for result in harness.results] == [2]
    harness.advance(15.0)
    harness.add(3.0)
    assert harness.late == [3.0]
    assert harness.operator.late == 1


def test_late_records_go_to_their_sink_and_are_counted(tmp_path: Path) -> None:
    # Time moves on with what is sent, and a batch is sent whole: each event is a batch of its own.
    from skate.streaming.sources.memory import MemorySource

    events = [(5.0, "a"), (31.0, "a"), (61.0, "a"), (6.0, "a"), (62.0, "a")]
    stream = Stream.from_source(MemorySource(events, splits=1, batch_records=1)).event_time(lambda event: event[0])
    keyed = stream.key_by(lambda event: event[1])
    running = keyed.window(Tumbling(30), late_to=TextSink(tmp_path)).count().to_list().start(in_process=True, interval_s=1e-6)
    windows = running.wait()
    assert [(window.start_s, window.value) for window in windows] == [(0, 1), (30, 1), (60, 2)]
    assert [json.loads(line) for line in (tmp_path / "part-00000").read_text().splitlines()] == [[6.0, "a"]]
    assert sum(stage["late"] for stage in running.progress()["stages"]) == 1


def test_records_within_max_delay_are_not_late() -> None:
    events = [(20.0, "a"), (1.0, "a"), (40.0, "a"), (15.0, "a")]
    assert [(w.start_s, w.value) for w in run(timed(events, 40).window(Tumbling(20)).count())] == [(0, 2), (20, 1), (40, 1)]


def test_event_times_may_be_datetimes_and_must_be_finite() -> None:
    operator = EventTime(lambda moment: moment, 0.0)
    out: list[Batch] = []
    operator.process(Batch([datetime(2024, 1, 1, tzinfo=UTC), 5]), lambda batch, side="": out.append(batch))
    assert out[0].times == [datetime(2024, 1, 1, tzinfo=UTC).timestamp(), 5.0]
    with pytest.raises(RecordError, match="an event time must be finite, not nan"):
        operator.process(Batch([1.0, math.nan]), lambda batch, side="": None)


def test_the_watermark_follows_the_latest_record_less_the_delay() -> None:
    operator = EventTime(lambda moment: moment, 3.0)
    operator.process(Batch([5.0, 9.0, 7.0]), lambda batch, side="": None)
    assert operator.watermark(-math.inf) == 6.0
    assert operator.watermark(math.inf) == math.inf


def test_processing_time_is_the_clock() -> None:
    now = 100.0
    operator = ProcessingTime(lambda: now)
    out: list[Batch] = []
    operator.process(Batch(["x"]), lambda batch, side="": out.append(batch))
    assert out[0].times == [100.0]
    now = 107.0
    assert operator.watermark(-math.inf) == 107.0  # Time goes on without records.


def test_windows_of_processing_time() -> None:
    windows = run(Stream.from_list(range(100)).processing_time().key_by(lambda n: n % 2).window(Tumbling(3600)).count())
    totals: dict[int, int] = {}
    for window in windows:
        totals[window.key] = totals.get(window.key, 0) + window.value
    assert totals == {0: 50, 1: 50}


def test_windows_without_times_say_what_to_write() -> None:
    with pytest.raises((StreamError, ValueError), match=r"needs event times: write \.event_time"):
        run(Stream.from_list("ab").key_by().window(Tumbling(10)).count())


def test_windows_of_windows() -> None:
    events = [(float(i), "ab"[i % 2]) for i in range(40)]
    top = (
        timed(events)
        .window(Tumbling(10))
        .count()
        .key_by(lambda window: "all")
        .window(Tumbling(20))
        .sum(lambda window: window.value)
    )
    assert [(window.start_s, window.value) for window in run(top)] == [(0, 20), (20, 20)]


def test_aggregates_of_windows() -> None:
    window = timed([(1.0, "a"), (2.0, "a"), (6.0, "a")]).window(Tumbling(10))
    of = lambda event: event[0]  # noqa: E731
    values = [
        run(stream)[0].value
        for stream in (window.sum(of), window.min(of), window.max(of), window.mean(of), window.top_k(2, by=of))
    ]
    assert values == [9.0, 1.0, 6.0, 3.0, [(6.0, "a"), (2.0, "a")]]
    assert run(window.aggregate(Mean(of)))[0].value == 3.0
    assert run(window.reduce(max))[0].value == (6.0, "a")


class Silence(KeyedProcess):
    """Says when a key has been silent for 10 s."""

    def process(self, key: str, value: Event, context: ProcessContext) -> Iterator[str]:
        context.state["last_s"] = value[0]
        context.set_timer(value[0] + 10)
        yield from ()

    def on_timer(self, key: str, time_s: float, context: ProcessContext) -> Iterator[str]:
        if not math.isinf(context.watermark_s) and context.state.get("last_s") == time_s - 10:
            yield f"{key} silent at {time_s:.0f}"

    def on_end(self, key: str, context: ProcessContext) -> Iterator[str]:
        yield f"{key} ended"


def test_timers_fire_with_the_watermark_and_state_belongs_to_the_key() -> None:
    from skate.streaming.operators.process import Process

    operator = Process(Silence())
    said: list[str] = []

    def emit(batch: Batch, side: str = "") -> None:
        said.extend(batch.values)

    for time_s, key, watermark_s in [(0.0, "a", 0.0), (1.0, "b", 1.0), (5.0, "a", 5.0), (30.0, "b", 30.0)]:
        operator.process(Batch([(time_s, key)], [time_s], [key]), emit)
        if time_s == 30.0:
            assert said == []
        operator.advance(watermark_s, emit)
    operator.finish(emit)
    assert said == ["a silent at 15", "a ended", "b ended"]


def test_timers_fire_in_the_order_of_their_time() -> None:
    events = [(0.0, "a"), (1.0, "b"), (5.0, "a"), (40.0, "c")]
    assert run(timed(events).process(Silence())) == ["b silent at 11", "a silent at 15", "a ended", "b ended", "c ended"]


def test_timers_and_state_are_in_snapshots(tmp_path: Path) -> None:
    from skate.streaming.operators.process import Process

    first = Process(Silence())
    first.process(Batch([(0.0, "a"), (1.0, "b")], [0.0, 1.0], ["a", "b"]), lambda batch, side="": None)
    state = first.snapshot()
    halves = [Process(Silence()), Process(Silence())]
    said: list[str] = []
    for index, half in enumerate(halves):
        half.open(index, 2)
        half.restore([state], lambda key, index=index: key == "ab"[index])
        half.advance(50.0, lambda batch, side="": said.extend(batch.values))
    assert said == ["a silent at 10", "b silent at 11"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inner", [("a", 1, 2)]),
        ("left", [("a", 1, 2), ("b", 3, None)]),
        ("right", [("a", 1, 2), ("c", None, 4)]),
        ("outer", [("a", 1, 2), ("b", 3, None), ("c", None, 4)]),
    ],
)
def test_joins(how: str, expected: list[tuple[str, Any, Any]]) -> None:
    left = Stream.from_list([("a", 1), ("b", 3)]).key_by(lambda pair: pair[0])
    right = Stream.from_list([("a", 2), ("c", 4)]).key_by(lambda pair: pair[0])
    joined = run(left.join(right, how=how), parallelism=2)
    assert sorted((key, one and one[1], other and other[1]) for key, one, other in joined) == expected


def test_a_join_in_windows_pairs_what_is_in_the_same_one() -> None:
    left = timed([(1.0, "a"), (12.0, "a")])
    right = timed([(2.0, "a"), (25.0, "a")])
    assert run(left.join(right, window=Tumbling(10))) == [("a", (1.0, "a"), (2.0, "a"))]


def test_a_join_without_keys_says_so() -> None:
    with pytest.raises(TypeError, match="join needs a key on both streams"):
        timed([]).join(Stream.from_list([]))  # type: ignore[arg-type]
