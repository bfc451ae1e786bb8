"""SplitReader: a source's subtask reads its splits one after the other, and looks for new ones if the source grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skate.blocks.partition import stable_hash
from skate.streaming.batch import Batch
from skate.streaming.sources.base import Reader, Source, Split

DONE = "done"  # The position of a split that has been read to its end.


class SplitReader:
    """`positions` is what a snapshot keeps: split id → position."""

    def __init__(self, source: Source, splits: list[Split], index: int, parallelism: int, positions: Mapping[str, Any]) -> None:
        self.source = source
        self.index = index
        self.parallelism = parallelism
        self.positions: dict[str, Any] = {}
        self.records = 0
        self._all = dict(positions)
        self._known: set[str] = set()
        self._left: list[Split] = []
        self._readers: list[tuple[Split, Reader]] = []
        self._next = 0
        self._take(splits if source.grows else splits[index::parallelism])

    def _take(self, splits: list[Split]) -> None:
        for split in splits:
            if split.id in self._known:
                continue
            self._known.add(split.id)
            if self.source.grows and stable_hash(split.id) % self.parallelism != self.index:
                continue
            position = self._all.get(split.id)
            if position is not None:
                self.positions[split.id] = position
            if position != DONE:
                self._left.append(split)

    def read(self) -> Batch | None:
        """The next records of any split; None if there are none now."""
        if self.source.is_bounded:
            return self._read_in_order()
        if self.source.grows:
            self._take(self.source.splits())
        while self._left:
            split = self._left.pop(0)
            self._readers.append((split, self.source.open(split, self._all.get(split.id))))
        for _ in range(len(self._readers)):
            self._next = (self._next + 1) % len(self._readers)
            split, reader = self._readers[self._next]
            batch = self._read_one(split, reader)
            if reader.is_done:
                self.positions[split.id] = DONE
                del self._readers[self._next]
                reader.close()
            if batch is not None:
                return batch
            if not self._readers:
                break
        return None

    def _read_in_order(self) -> Batch | None:
        while self._readers or self._left:
            if not self._readers:
                split = self._left.pop(0)
                self._readers.append((split, self.source.open(split, self._all.get(split.id))))
            split, reader = self._readers[0]
            batch = self._read_one(split, reader)
            if reader.is_done:
                self.positions[split.id] = DONE
                self._readers.clear()
                reader.close()
            if batch is not None or self._readers:
                return batch
        return None

    def _read_one(self, split: Split, reader: Reader) -> Batch | None:
        batch = reader.read()
        if batch is not None:
            self.records += len(batch)
            self.positions[split.id] = reader.position
            return batch if len(batch) else None
        return None

    @property
    def has_ended(self) -> bool:
        return not self._left and not self._readers and not self.source.grows

    def counts(self) -> tuple[int, int]:
        """How many splits are this subtask's, and how many of them have been read."""
        done = sum(position == DONE for position in self.positions.values() if isinstance(position, str))
        return done + len(self._left) + len(self._readers), done

    def close(self) -> None:
        for _, reader in self._readers:
            reader.close()
