"""reduce: one value per key, over the whole stream: count, reduce, aggregate.

`emit="final"` gives (key, value) once, sorted by key, when a bounded stream ends; `emit="updates"` gives (key, value so far) for
every key that a batch changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress
from typing import Any

from skate.blocks.partition import Partitioner
from skate.streaming.aggregates import Aggregate, Count, add_counts
from skate.streaming.batch import Batch, Partial
from skate.streaming.operators.base import FAIL, Combiner, Emit, Operator, Owns

OUTPUT_RECORDS = 4096


class Reduce(Operator):
    kind = "reduce"
    is_stateful = True

    def __init__(self, aggregate: Aggregate, emit: str = "final") -> None:
        super().__init__()
        if emit not in ("final", "updates"):
            raise ValueError(f'emit={emit!r}: "final" (once, at the end) or "updates" (as it changes)')
        self.aggregate = aggregate
        self.emits_updates = emit == "updates"
        self.label = aggregate.name
        self.state: dict[Any, Any] = {}

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        if isinstance(batch, Partial):
            self._merge(batch.content)
            changed = batch.content
        else:
            partial = _KeyCombiner(self.aggregate, self)
            partial.add(batch, emit)
            self._merge(partial.state)
            changed = partial.state
        if self.emits_updates:
            result, state = self.aggregate.result, self.state
            emit(Batch([(key, result(state[key])) for key in changed]))

    def _merge(self, content: dict[Any, Any]) -> None:
        merge_into(self.state, content, self.aggregate)

    def finish(self, emit: Emit) -> None:
        if not self.emits_updates:
            result = self.aggregate.result
            keys = in_order(self.state)
            for start in range(0, len(keys), OUTPUT_RECORDS):
                emit(Batch([(key, result(self.state[key])) for key in keys[start : start + OUTPUT_RECORDS]]))
        self.state = {}

    def combiner(self) -> Combiner | None:
        # A sender has no way for dead letters, and what it skips is not counted; counting never raises.
        is_safe = self.on_error == FAIL or type(self.aggregate) is Count
        if not self.aggregate.is_mergeable or not is_safe:
            return None
        return _KeyCombiner(self.aggregate, self, holds=not self.emits_updates)

    def snapshot(self) -> Any:
        return self.state

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        if len(states) == self.parallelism:
            self.state = dict(states[self.index])
        else:
            self.state = {key: value for state in states for key, value in state.items() if owns(key)}

    def settings(self) -> dict[str, Any]:
        return {"aggregate": self.aggregate.name}

    def functions(self) -> dict[str, Any]:
        return self.aggregate.functions()

    def state_size(self) -> int:
        return len(self.state)


def merge_into(state: dict[Any, Any], content: dict[Any, Any], aggregate: Aggregate) -> None:
    """Add accumulators to those of the same keys."""
    if type(aggregate) is Count:
        add_counts(state, content)
        return
    merge = aggregate.merge
    for key, value in content.items():
        state[key] = merge(state[key], value) if key in state else value


class _KeyCombiner(Combiner):
    def __init__(self, aggregate: Aggregate, operator: Operator, *, holds: bool = False) -> None:
        self.holds = holds
        self.aggregate = aggregate
        self.operator = operator
        self.state: dict[Any, Any] = Counter() if type(aggregate) is Count else {}
        self.records = 0

    def add(self, batch: Batch, emit: Emit | None = None) -> None:
        self.records += len(batch)
        if type(self.aggregate) is Count:
            self.state.update(batch.keys)  # type: ignore[arg-type]  # Counter.update counts, in C.
            return
        state, add, start = self.state, self.aggregate.adder(), self.aggregate.start
        for index, (key, value) in enumerate(zip(batch.keys or (), batch.values, strict=True)):
            try:
                state[key] = add(state[key] if key in state else start(), value)
            except Exception as error:
                self.operator.fault(error, value, batch, index, emit or _nowhere)

    def size(self) -> int:
        return len(self.state)

    def drain(self, partitioner: Partitioner) -> list[Partial | None]:
        state, records = self.state, self.records
        self.state, self.records = (Counter() if type(self.aggregate) is Count else {}), 0
        places = partitioner.places
        if not state:
            return [None] * places
        if places == 1:
            return [Partial(dict(state), records)]
        owners = partitioner.places_of(state)
        parts = [dict(compress(state.items(), map(place.__eq__, owners))) for place in range(places)]
        return [Partial(part, records // places) if part else None for part in parts]

    def snapshot(self) -> Any:
        return dict(self.state) if type(self.aggregate) is Count else self.state

    def restore(self, states: Sequence[Any]) -> None:
        for state in states:
            merge_into(self.state, state, self.aggregate)


def _nowhere(batch: Any, side: str = "") -> None:
    """A combiner on the sender's side emits nothing: it is used with on_error="fail" only."""


def in_order(keys: Any) -> list[Any]:
    """Keys in an order that is the same in every run, also when they can't be compared."""
    try:
        return sorted(keys)
    except TypeError:
        return sorted(keys, key=lambda key: (type(key).__name__, repr(key)))
