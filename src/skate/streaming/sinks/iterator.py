"""Results for the program that started the stream, as an iterator: what `stream.iterate()` gives.

Records travel in the snapshot and are handed over when it is whole, so the loop over them sees each one exactly once, whatever dies in
between but the loop's own program: run again, that sees those of the last interval a second time.
"""

from __future__ import annotations

from typing import Any

from skate.streaming.sinks.base import TransactionalSink


class IteratorSink(TransactionalSink):
    kind = "iterator"
    needs_one_writer = True

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[tuple[int, list[Any]]] = []

    def prepare(self, sequence: int, records: list[Any]) -> Any:
        return records

    def commit_transaction(self, sequence: int, prepared: Any) -> None:
        self.committed.append((sequence, prepared))

    def undo_after(self, sequence: int) -> None:
        """Nothing leaves before it is committed."""

    def take_deliveries(self) -> list[tuple[int, list[Any]]]:
        """(transaction, records) committed since the last call."""
        committed, self.committed = self.committed, []
        return committed
