"""Sink: where results go, in transactions that a snapshot decides.

    process(batch)…   collected, not visible
    snapshot()        prepared: whatever happens now, it can be committed; what is returned says how
    commit(n)         the snapshot is whole: make it visible. Called again after a recovery: it must not matter
    restore(states)   commit what the snapshot had prepared, undo all that is later

A sink that can't take back what it wrote (a callback) overrides `process` alone, and sees records again after a recovery.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skate.streaming.operators.base import Emit, Operator, Owns


class Sink(Operator):
    kind = "sink"
    is_transactional = True
    needs_one_writer = False  # True: one subtask writes it all.

    def commit(self, number: int) -> None:
        """Snapshot `number` is whole."""

    def take_deliveries(self) -> list[tuple[int, list[Any]]]:
        """What is to be handed to the program that started the stream: (transaction, records)."""
        return []

    def discard_prepared(self) -> None:
        """Begin from nothing: undo what a run without a snapshot has left."""

    def result(self) -> Any:
        """What one subtask has for `combine`."""
        return None

    def combine(self, results: Sequence[Any]) -> Any:
        """What `.run()` returns, of the results of all subtasks."""
        return None


class TransactionalSink(Sink):
    """Keeps the records of an epoch and hands them to `prepare`; then to `commit_transaction`, once or more, in order.

    A subclass writes three functions; transactions are numbered by each subtask, 1, 2, …, in every run the same.
    """

    is_stateful = True

    def __init__(self) -> None:
        super().__init__()
        self.sequence = 0
        self.buffer: list[Any] = []
        self.prepared: list[tuple[int, int, Any]] = []  # (snapshot, sequence, what prepare returned): not committed yet.
        self.retired: dict[int, dict[str, Any]] = {}  # Where subtasks stopped that are no more: a later run may have them again.

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        self.buffer.extend(batch.values)

    def prepare(self, sequence: int, records: list[Any]) -> Any:
        """Make the records safe; returns what `commit_transaction` needs, picklable."""
        raise NotImplementedError

    def commit_transaction(self, sequence: int, prepared: Any) -> None:
        """Make them visible. May be called again for a transaction that is."""
        raise NotImplementedError

    def undo_after(self, sequence: int) -> None:
        """Undo all that this subtask made or prepared behind transaction `sequence` (0: all)."""
        raise NotImplementedError

    def cares_for(self, index: int) -> bool:
        """Whether what subtask `index` left is this one's to clear away: its own, and its share of those that are no more."""
        return index == self.index or (index >= self.parallelism and index % self.parallelism == self.index)

    def adopt(self, state: dict[str, Any]) -> None:
        """Take over what a subtask that is no more had prepared: commit it."""
        for sequence, prepared in state["prepared"]:
            self.commit_transaction(sequence, prepared)

    def snapshot(self) -> Any:
        if self.buffer:
            self.sequence += 1
            self.prepared.append((self.snapshot_number, self.sequence, self.prepare(self.sequence, self.buffer)))
            self.buffer = []
        return {
            "sequence": self.sequence,
            "prepared": [(sequence, prepared) for _, sequence, prepared in self.prepared],
            "retired": self.retired,
            **self.extra_state(),
        }

    def extra_state(self) -> dict[str, Any]:
        return {}

    def restore_extra(self, state: dict[str, Any]) -> None:
        """Take over what `extra_state` kept."""

    def commit(self, number: int) -> None:
        while self.prepared and self.prepared[0][0] <= number:
            _, sequence, prepared = self.prepared[0]
            self.commit_transaction(sequence, prepared)
            del self.prepared[0]

    def restore(self, states: Sequence[Any], owns: Owns) -> None:
        retired: dict[int, dict[str, Any]] = {}
        for position, state in enumerate(states):
            retired.update(state["retired"])
            if position >= self.parallelism:
                retired[position] = {**state, "prepared": [], "retired": {}}
                if position % self.parallelism == self.index:
                    self.adopt(state)
        mine = states[self.index] if self.index < len(states) else retired.get(self.index)
        if mine is not None:
            self.sequence = mine["sequence"]
            self.restore_extra(mine)
            for sequence, prepared in mine["prepared"]:
                self.commit_transaction(sequence, prepared)
        self.retired = {index: state for index, state in retired.items() if index >= self.parallelism}
        self.undo_after(self.sequence)

    def discard_prepared(self) -> None:
        self.undo_after(0)
