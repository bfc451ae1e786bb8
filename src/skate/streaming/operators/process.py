"""process: a user's own operator with state per key and timers in event time.

class Alarm(KeyedProcess):
    def process(self, key, value, context):
        context.state["last"] = value
        context.set_timer(context.time_s + 60)
        return ()
    def on_timer(self, key, time_s, context):
        yield key, "silent for a minute"
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from skate.streaming.batch import ALWAYS, NEVER, Batch
from skate.streaming.operators.base import Emit, Operator, Owns, name_of
from skate.streaming.operators.reduce import in_order


class ProcessContext:
    """What a `KeyedProcess` sees of its key. `state` is a dict that belongs to the key and is part of snapshots."""

    __slots__ = ("_operator", "key", "state", "time_s")

    def __init__(self, operator: Process, key: Any, time_s: float | None) -> None:
        self._operator = operator
        self.key = key
        self.time_s = time_s
        self.state: dict[str, Any] = operator.states.setdefault(key, {})

    @property
    def watermark_s(self) -> float:
        return self._operator.now_s

    def set_timer(self, time_s: float) -> None:
        """Call `on_timer` when the watermark reaches `time_s` (once per key and time)."""
        timers = self._operator.timers.setdefault(float(time_s), set())
        if not timers:
            heapq.heappush(self._operator.times, float(time_s))
        timers.add(self.key)

    def clear(self) -> None:
        """Forget the key's state."""
        self.state.clear()


class KeyedProcess:
    """Subclass it: what to do with each record of a key, and with timers."""

    def process(self, key: Any, value: Any, context: ProcessContext) -> Iterable[Any]:
        """Gives the records to emit."""
        raise NotImplementedError

    def on_timer(self, key: Any, time_s: float, context: ProcessContext) -> Iterable[Any]:
        """Gives the records to emit."""
        return ()

    def on_end(self, key: Any, context: ProcessContext) -> Iterable[Any]:
        """A bounded stream ended. Gives the records to emit."""
        return ()


class Process(Operator):
    kind = "process"
    is_stateful = True

    def __init__(self, process: KeyedProcess) -> None:
        super().__init__()
        self.user = process
        self.label = name_of(process)
        self.now_s = NEVER
        self.states: dict[Any, dict[str, Any]] = {}
        self.timers: dict[float, set[Any]] = {}
        self.times: list[float] = []

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        out: list[Any] = []
        times: list[float] = []
        for index, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
            time_s = batch.times[index] if batch.times is not None else None
            length = len(out)
            context = ProcessContext(self, key, time_s)
            try:
                out.extend(self.user.process(key, value, context))
            except Exception as error:
                del out[length:]
                self.fault(error, value, batch, index, emit)
            if not context.state:
                self.states.pop(key, None)
            if time_s is not None:
                times.extend([time_s] * (len(out) - length))
        if out:
            emit(Batch(out, times if batch.times is not None else None))

    def advance(self, time_s: float, emit: Emit) -> None:
        if time_s <= self.now_s:
            return
        self.now_s = time_s
        while self.times and self.times[0] <= time_s:
            moment = heapq.heappop(self.times)
            out: list[Any] = []
            for key in in_order(self.timers.pop(moment, ())):
                context = ProcessContext(self, key, moment)
                out.extend(self.user.on_timer(key, moment, context))
                if not context.state:
                    self.states.pop(key, None)
            if out:
                emit(Batch(out, [moment] * len(out)))

    def finish(self, emit: Emit) -> None:
        self.advance(ALWAYS, emit)
        for key in in_order(self.states):
            out = list(self.user.on_end(key, ProcessContext(self, key, None)))
            if out:
                emit(Batch(out, [self.now_s] * len(out)))
        self.states = {}

    def snapshot(self) -> Any:
        return {"now_s": self.now_s, "states": self.states, "timers": self.timers}

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        is_same = len(states) == self.parallelism
        self.now_s = states[self.index]["now_s"] if is_same else min(state["now_s"] for state in states)
        for state in states[self.index : self.index + 1] if is_same else states:
            self.states.update({key: value for key, value in state["states"].items() if is_same or owns(key)})
            for moment, keys in state["timers"].items():
                kept = {key for key in keys if is_same or owns(key)}
                if kept:
                    self.timers.setdefault(moment, set()).update(kept)
        self.times = sorted(self.timers)

    def functions(self) -> dict[str, Any]:
        return {"process": type(self.user)}

    def state_size(self) -> int:
        return len(self.states)
