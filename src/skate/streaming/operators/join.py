"""join: pairs of records of two streams with the same key, in the same window (or, for bounded streams, at all).

Gives (key, left, right). Inner, left, right and outer: without a partner a side is None, known when the window closes or the stream
ends. Pairs of a window come out when it closes, in the order of (end, start, key).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from skate.streaming.batch import ALWAYS, NEVER, Batch
from skate.streaming.operators.base import LATE, Emit, Operator, Owns
from skate.streaming.operators.reduce import OUTPUT_RECORDS, in_order
from skate.streaming.operators.window import Span
from skate.streaming.windows.base import Window

HOWS = ("inner", "left", "right", "outer")


class Join(Operator):
    kind = "join"
    is_stateful = True

    def __init__(self, window: Window | None, how: str = "inner") -> None:
        super().__init__()
        if how not in HOWS:
            raise ValueError(f"how={how!r}: one of {', '.join(HOWS)}")
        if window is not None and window.merges:
            raise ValueError("join: session windows belong to one stream; use Tumbling or Sliding")
        self.window = window
        self.how = how
        self.label = how
        self.now_s = NEVER
        self.spans: dict[Span, dict[Any, tuple[list[Any], list[Any]]]] = {}
        self.ends: list[Span] = []

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        if self.window is not None and batch.times is None:
            raise ValueError(f"{self.name} in windows needs event times on both streams: write .event_time(…) before key_by")
        late: list[Any] = []
        for index, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
            windows: Any = ((NEVER, ALWAYS),) if self.window is None else self.window.assign(batch.times[index])
            for start_s, end_s in windows:
                if self.window is not None and end_s <= self.now_s:
                    late.append(value)
                    continue
                span = (end_s, start_s)
                state = self.spans.get(span)
                if state is None:
                    state = self.spans[span] = {}
                    heapq.heappush(self.ends, span)
                sides = state.get(key)
                if sides is None:
                    sides = state[key] = ([], [])
                sides[port].append(value)
        if late:
            self.late += len(late)
            emit(Batch(late), LATE)

    def advance(self, time_s: float, emit: Emit) -> None:
        if time_s <= self.now_s:
            return
        self.now_s = time_s
        if self.window is not None:
            self._close(time_s, emit)

    def _close(self, time_s: float, emit: Emit) -> None:
        while self.ends and self.ends[0][0] <= time_s:
            span = heapq.heappop(self.ends)
            state = self.spans.pop(span)
            out: list[Any] = []
            for key in in_order(state):
                left, right = state[key]
                # The order in which two senders' records came in differs between runs; within a key they are sorted.
                lefts: list[Any] = in_order(left) or ([None] if self.how in ("right", "outer") else [])
                rights: list[Any] = in_order(right) or ([None] if self.how in ("left", "outer") else [])
                out.extend((key, one, other) for one in lefts for other in rights)
            for start in range(0, len(out), OUTPUT_RECORDS):
                values = out[start : start + OUTPUT_RECORDS]
                emit(Batch(values, None if self.window is None else [span[0] - 1e-6] * len(values)))

    def finish(self, emit: Emit) -> None:
        self._close(ALWAYS, emit)

    def snapshot(self) -> Any:
        return {"now_s": self.now_s, "spans": self.spans}

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        is_same = len(states) == self.parallelism
        self.now_s = states[self.index]["now_s"] if is_same else min(state["now_s"] for state in states)
        for state in states[self.index : self.index + 1] if is_same else states:
            for span, content in state["spans"].items():
                kept = {key: value for key, value in content.items() if is_same or owns(key)}
                if kept:
                    self.spans.setdefault(span, {}).update(kept)
        self.ends = sorted(self.spans)

    def settings(self) -> dict[str, Any]:
        return {"how": self.how, **({} if self.window is None else self.window.settings())}

    def state_size(self) -> int:
        return sum(map(len, self.spans.values()))
