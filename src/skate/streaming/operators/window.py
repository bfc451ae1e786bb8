"""window: one value per key and window, emitted when the watermark passes the window's end.

Results of one advance come in the order (end, start, key): so the output of a subtask is the same however the records were
interleaved, as long as none is late. A record is late for a window when the watermark has passed its end; within `lateness_s`
the window's result is emitted again, corrected; after that the record goes to the side output "late" and is counted.
See Akidau et al., "The Dataflow Model" (2015).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import Any

from skate.blocks.partition import Partitioner
from skate.streaming.aggregates import Aggregate, Count, add_counts
from skate.streaming.batch import NEVER, Batch, Partial
from skate.streaming.operators.base import FAIL, LATE, Combiner, Emit, Operator, Owns
from skate.streaming.operators.reduce import OUTPUT_RECORDS, in_order
from skate.streaming.windows.base import Window, Windowed

Span = tuple[float, float]  # (end, start): sorts by the end.


class WindowAggregate(Operator):
    kind = "window"
    is_stateful = True

    def __init__(self, window: Window, aggregate: Aggregate, lateness_s: float = 0.0, *, has_late_output: bool = False) -> None:
        super().__init__()
        if lateness_s < 0:
            raise ValueError(f"lateness_s={lateness_s}: not negative")
        if window.merges and not aggregate.is_mergeable:
            raise ValueError(f"{window.kind} windows join two sessions into one: give aggregate(…) a merge function")
        self.window = window
        self.aggregate = aggregate
        self.lateness_s = lateness_s
        self.has_late_output = has_late_output
        self.label = f"{window.kind}, {aggregate.name}"
        self.now_s = NEVER
        self.spans: dict[Span, dict[Any, Any]] = {}
        self.sessions: dict[Any, list[Span]] = {}  # Of each key, ascending. Only of windows that merge.
        self.ends: list[Span] = []  # A heap of the spans that have not been emitted.
        self.emitted: list[Span] = []  # A heap of spans that have been, kept for late records.

    # ---------------------------------------------------------------- records

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        if isinstance(batch, Partial):
            for span, content in batch.content.items():
                self._merge(span, content, emit)
            return
        if batch.times is None:
            raise _no_times(self.name)
        add, start, assign = self.aggregate.adder(), self.aggregate.start, self.window.assign
        corrected: set[tuple[Span, Any]] = set()
        late: list[int] = []
        for index, (key, value, time_s) in enumerate(zip(batch.keys, batch.values, batch.times, strict=True)):
            is_late = False
            for start_s, end_s in assign(time_s):
                span = (end_s, start_s)
                if self.window.merges:
                    span = self._session(key, span)
                    if span[0] + self.lateness_s <= self.now_s:  # Had it touched an open session, its end would be later.
                        self._forget_session(key, span)
                        is_late = True
                        continue
                elif end_s + self.lateness_s <= self.now_s:
                    is_late = True
                    continue
                state = self._state_of(span)
                try:
                    state[key] = add(state[key] if key in state else start(), value)
                except Exception as error:
                    self.fault(error, value, batch, index, emit)
                    continue
                if span[0] <= self.now_s:
                    corrected.add((span, key))
            if is_late:
                late.append(index)
        if corrected:
            self._emit_corrections(corrected, emit)
        if late:
            self.late += len(late)
            emit(Batch([batch.values[i] for i in late], [batch.times[i] for i in late], [batch.keys[i] for i in late]), LATE)

    def _merge(self, span: Span, content: dict[Any, Any], emit: Emit) -> None:
        if span[0] + self.lateness_s <= self.now_s:
            self.late += sum(content.values()) if type(self.aggregate) is Count else len(content)
            return
        state = self._state_of(span)
        if type(self.aggregate) is Count:
            add_counts(state, content)
        else:
            merge = self.aggregate.merge
            for key, value in content.items():
                state[key] = merge(state[key], value) if key in state else value
        if span[0] <= self.now_s:
            self._emit_corrections({(span, key) for key in content}, emit)

    def _state_of(self, span: Span) -> dict[Any, Any]:
        state = self.spans.get(span)
        if state is None:
            state = self.spans[span] = {}
            heapq.heappush(self.emitted if span[0] <= self.now_s else self.ends, span)
        return state

    def _session(self, key: Any, span: Span) -> Span:
        """The session of `key` that `span` belongs to, after those that touch have become one."""
        sessions = self.sessions.setdefault(key, [])
        touching = [other for other in sessions if other[1] <= span[0] and span[1] <= other[0]]
        if touching == [span] or (len(touching) == 1 and touching[0][1] <= span[1] and span[0] <= touching[0][0]):
            return touching[0]
        merged = (
            (max(span[0], *(other[0] for other in touching)), min(span[1], *(other[1] for other in touching)))
            if touching
            else span
        )
        values = []
        for other in touching:
            sessions.remove(other)
            state = self.spans.get(other, {})
            if key in state:
                values.append(state.pop(key))
        sessions.append(merged)
        sessions.sort()
        if values:
            accumulator = values[0]
            for value in values[1:]:
                accumulator = self.aggregate.merge(accumulator, value)
            self._state_of(merged)[key] = accumulator
        return merged

    def _forget_session(self, key: Any, span: Span) -> None:
        sessions = self.sessions.get(key, [])
        if span in sessions and key not in self.spans.get(span, {}):
            sessions.remove(span)
            if not sessions:
                del self.sessions[key]

    # ---------------------------------------------------------------- time

    def advance(self, time_s: float, emit: Emit) -> None:
        if time_s <= self.now_s:
            return
        self.now_s = time_s
        results: list[Windowed] = []
        while self.ends and self.ends[0][0] <= time_s:
            span = heapq.heappop(self.ends)
            state = self.spans.get(span)
            if not state:  # Its sessions grew into others.
                self.spans.pop(span, None)
                continue
            results.extend(self._results(span, state))
            if self.lateness_s and span[0] + self.lateness_s > time_s:
                heapq.heappush(self.emitted, span)
            else:
                self._drop(span)
            if len(results) >= OUTPUT_RECORDS:
                self._emit(results, emit)
                results = []
        if results:
            self._emit(results, emit)
        while self.emitted and self.emitted[0][0] + self.lateness_s <= time_s:
            self._drop(heapq.heappop(self.emitted))

    def _results(self, span: Span, state: dict[Any, Any]) -> list[Windowed]:
        end_s, start_s = span
        result = self.aggregate.result
        return [Windowed(key, start_s, end_s, result(state[key])) for key in in_order(state)]

    def _emit_corrections(self, corrected: set[tuple[Span, Any]], emit: Emit) -> None:
        result = self.aggregate.result
        by_span: dict[Span, list[Any]] = {}
        for span, key in corrected:
            by_span.setdefault(span, []).append(key)
        results = [
            Windowed(key, span[1], span[0], result(self.spans[span][key]))
            for span in sorted(by_span)
            for key in in_order(by_span[span])
            if key in self.spans.get(span, {})
        ]
        if results:
            self._emit(results, emit)

    @staticmethod
    def _emit(results: list[Windowed], emit: Emit) -> None:
        # A result's time is the last moment of its window, so that windows of windows see it in the right one.
        emit(Batch(results, [result.end_s - 1e-6 for result in results]))

    def _drop(self, span: Span) -> None:
        state = self.spans.pop(span, None)
        if self.window.merges and state:
            for key in state:
                sessions = self.sessions.get(key)
                if sessions and span in sessions:
                    sessions.remove(span)
                    if not sessions:
                        del self.sessions[key]

    def finish(self, emit: Emit) -> None:
        self.advance(float("inf"), emit)

    # ---------------------------------------------------------------- state

    def combiner(self) -> Combiner | None:
        is_safe = self.on_error == FAIL or type(self.aggregate) is Count
        if self.window.merges or not self.aggregate.is_mergeable or not is_safe or self.has_late_output:
            return None  # Late records are wanted one by one.
        return _WindowCombiner(self.window, self.aggregate, self)

    def snapshot(self) -> Any:
        return {"now_s": self.now_s, "spans": self.spans, "emitted": self.emitted}

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        is_same = len(states) == self.parallelism
        self.now_s = states[self.index]["now_s"] if is_same else min(state["now_s"] for state in states)
        for state in states[self.index : self.index + 1] if is_same else states:
            for span, content in state["spans"].items():
                kept = content if is_same else {key: value for key, value in content.items() if owns(key)}
                if kept:
                    self.spans.setdefault(span, {}).update(kept)
        emitted = {span for state in states for span in state["emitted"]}
        self.emitted = sorted(span for span in self.spans if span in emitted)
        self.ends = sorted(span for span in self.spans if span not in emitted)
        if self.window.merges:
            for span, content in self.spans.items():
                for key in content:
                    self.sessions.setdefault(key, []).append(span)
            for sessions in self.sessions.values():
                sessions.sort()

    def settings(self) -> dict[str, Any]:
        return {**self.window.settings(), "aggregate": self.aggregate.name, "lateness_s": self.lateness_s}

    def functions(self) -> dict[str, Any]:
        return self.aggregate.functions()

    def state_size(self) -> int:
        return sum(map(len, self.spans.values()))


class _WindowCombiner(Combiner):
    """Aggregates by (window, key) before the exchange."""

    def __init__(self, window: Window, aggregate: Aggregate, operator: Operator) -> None:
        self.window = window
        self.aggregate = aggregate
        self.operator = operator
        self.spans: dict[Span, dict[Any, Any]] = {}
        self.records = 0

    def add(self, batch: Batch) -> None:
        if batch.times is None:
            raise _no_times(self.operator.name)
        self.records += len(batch)
        if self.window.kind == "tumbling":
            self._add_tumbling(batch)
            return
        spans, add, start, assign = self.spans, self.aggregate.adder(), self.aggregate.start, self.window.assign
        for index, (key, value, time_s) in enumerate(zip(batch.keys or (), batch.values, batch.times, strict=True)):
            for start_s, end_s in assign(time_s):
                state = spans.setdefault((end_s, start_s), {})
                try:
                    state[key] = add(state[key] if key in state else start(), value)
                except Exception as error:
                    self.operator.fault(error, value, batch, index, _nowhere)

    def _add_tumbling(self, batch: Batch) -> None:
        """A record belongs to one window: mostly that of the record before."""
        times: list[float] = batch.times or []
        keys: list[Any] = batch.keys or []
        spans, add, start, assign = self.spans, self.aggregate.adder(), self.aggregate.start, self.window.assign
        ((low, high),) = assign(times[0])
        is_one_window = low <= min(times) and max(times) < high
        state = spans.setdefault((high, low), {})
        if is_one_window and type(self.aggregate) is Count:
            counted: Counter[Any] = Counter(keys)
            add_counts(state, counted)
            return
        records = enumerate(zip(keys, batch.values, times, strict=True))
        while True:
            index, value = 0, None
            try:
                for index, (key, value, time_s) in records:  # noqa: B007  # The one that raised is needed below.
                    if not low <= time_s < high:
                        ((low, high),) = assign(time_s)
                        state = spans.setdefault((high, low), {})
                    state[key] = add(state[key] if key in state else start(), value)
                return
            except Exception as error:
                self.operator.fault(error, value, batch, index, _nowhere)

    def size(self) -> int:
        return sum(map(len, self.spans.values()))

    def drain(self, partitioner: Partitioner) -> list[Partial | None]:
        spans, records = self.spans, self.records
        self.spans, self.records = {}, 0
        places = partitioner.places
        parts: list[dict[Span, dict[Any, Any]]] = [{} for _ in range(places)]
        for span, state in spans.items():
            for (key, value), place in zip(state.items(), partitioner.places_of(state), strict=True):
                parts[place].setdefault(span, {})[key] = value
        return [Partial(part, records // places) if part else None for part in parts]


def _nowhere(batch: Any, side: str = "") -> None:
    """A combiner emits nothing: it is used with on_error="fail" only."""


def _no_times(name: str) -> ValueError:
    return ValueError(
        f"{name} needs event times: write .event_time(lambda record: …, max_delay_s=…) or .processing_time() before it"
    )
