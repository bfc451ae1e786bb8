"""Operator: one step of a stream. A new one is a subclass with `process`, and `snapshot`/`restore` if it keeps state.

The prototype that a program builds is plain configuration; each subtask works on a copy of its own, after `open`. `emit(batch)` hands
on; `emit(batch, side)` hands to a side output. An operator that keeps results until the end emits them in `finish`, and is then empty,
so that finishing again after a recovery emits nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from skate.blocks.partition import Partitioner
from skate.streaming.batch import Batch, Partial
from skate.streaming.errors import RecordError, show

Emit = Callable[..., None]
Owns = Callable[[Any], bool]

FAIL = "fail"
SKIP = "skip"
DEAD_LETTER = "dead-letter"

ERRORS = "errors"  # The side output of records that raised.
LATE = "late"  # The side output of records that came too late.


class Operator:
    """A step of a stream."""

    kind = "operator"
    is_stateful = False
    on_error: str = FAIL
    label = ""  # What the user called it, or the function's name.
    imports: tuple[
        str, ...
    ] = ()  # Modules that take long to import, and are imported before workers are forked where that can be.

    def __init__(self) -> None:
        self.skipped = 0  # Records left out by on_error="skip".
        self.late = 0  # Records that came after their window was closed for good.
        self.snapshot_number = 0  # Of the snapshot that is being taken.
        self.index = 0
        self.parallelism = 1

    @property
    def name(self) -> str:
        return f"{self.kind}({self.label})" if self.label else self.kind

    def open(self, index: int, parallelism: int) -> None:
        """Called once in the subtask, before anything else."""
        self.index = index
        self.parallelism = parallelism

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        """Take a batch from input `port`."""
        raise NotImplementedError

    def advance(self, time_s: float, emit: Emit) -> None:
        """The watermark is now `time_s`. It is handed on after this call."""

    def watermark(self, time_s: float) -> float:
        """The watermark to hand on when the inputs' is `time_s`."""
        return time_s

    def finish(self, emit: Emit) -> None:
        """All inputs ended. Emit what is left, and keep nothing."""

    def snapshot(self) -> Any:
        """The state, as something picklable; None for none."""
        return None

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        """Take over what subtasks of an earlier run kept; `owns(key)` says whether a key is this subtask's now."""

    def combiner(self) -> Combiner | None:
        """How to aggregate before the exchange, or None."""
        return None

    def settings(self) -> dict[str, Any]:
        """What must be the same for a snapshot to fit: parameters that give the state its meaning."""
        return {}

    def functions(self) -> dict[str, Any]:
        """The functions that give the state its meaning."""
        return {}

    def state_size(self) -> int:
        """How many keys (or entries) the state holds."""
        return 0

    # ---------------------------------------------------------------- records that raise

    def fault(self, error: Exception, record: Any, batch: Batch, index: int, emit: Emit) -> None:
        """Treat a record that raised, as `on_error` says."""
        position = f"{batch.origin}, record {index:,} of the batch" if batch.origin else f"record {index:,} of a batch"
        if self.on_error == SKIP:
            self.skipped += 1
        elif self.on_error == DEAD_LETTER:
            letter = {
                "operator": self.name,
                "record": show(record, 2000),
                "error": f"{type(error).__name__}: {error}",
                "position": position,
            }
            self.skipped += 1
            emit(Batch([letter]), ERRORS)
        else:
            raise RecordError(self.name, show(record), position, f"{type(error).__name__}: {error}") from error

    def mapped(self, function: Callable[[Any], Any], batch: Batch, emit: Emit) -> tuple[list[Any], list[int]]:
        """`function` of each value; and the indexes of those that raised, which have no result."""
        results: list[Any] = []
        failed: list[int] = []
        values = iter(batch.values)
        while True:
            try:
                results.extend(map(function, values))  # What came before an exception stays in `results`.
                return results, failed
            except Exception as error:
                index = len(results) + len(failed)
                self.fault(error, batch.values[index], batch, index, emit)
                failed.append(index)


class Combiner:
    """Aggregates on the sender's side of an exchange.

    If `holds`, the receiver needs nothing before the end of the stream: what is held goes over barriers, as a part of the sender's snapshot,
    and is sent when it gets large and at the end. So a snapshot costs writing the state down, and not sending it all to another process.
    """

    holds = False

    def add(self, batch: Batch) -> None:
        """Take keyed records."""
        raise NotImplementedError

    def size(self) -> int:
        """How many entries are held."""
        raise NotImplementedError

    def drain(self, partitioner: Partitioner) -> list[Partial | None]:
        """What was aggregated, for each of the partitioner's places; nothing is held after."""
        raise NotImplementedError

    def snapshot(self) -> Any:
        """What is held, as something picklable (if `holds`)."""
        raise NotImplementedError

    def restore(self, states: Sequence[Any]) -> None:
        """Hold what senders of an earlier run held."""
        raise NotImplementedError


def without(items: list[Any] | None, indexes: list[int]) -> list[Any] | None:
    """The items but those at `indexes` (ascending)."""
    if items is None or not indexes:
        return items
    left_out = set(indexes)
    return [item for index, item in enumerate(items) if index not in left_out]


def name_of(function: Any) -> str:
    """How a function is called in messages."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).rsplit("<locals>.", 1)[-1]
