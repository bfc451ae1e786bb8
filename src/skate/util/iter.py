"""`ParallelIterator`: a sequence in shards, one actor each, with lazily applied steps. Kept for programs that use it.

```python
squares = from_range(100, num_shards=4).for_each(lambda x: x * x).filter(lambda x: x % 2 == 0)
list(squares.gather_sync())
```
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from typing import Any

import skate

BATCH = 64  # Items fetched in one actor call.

Step = Callable[[Iterator[Any]], Iterator[Any]]


def from_items(items: list[Any], num_shards: int = 2, repeat: bool = False) -> ParallelIterator:
    """Shards of a list: item i goes to shard i % num_shards."""
    return from_iterators([items[shard::num_shards] for shard in range(num_shards)], repeat=repeat, name="from_items")


def from_range(n: int, num_shards: int = 2, repeat: bool = False) -> ParallelIterator:
    """Shards of `range(n)`: consecutive parts."""
    bounds = [n * shard // num_shards for shard in range(num_shards + 1)]
    return from_iterators([range(low, high) for low, high in pairwise(bounds)], repeat=repeat, name=f"from_range[{n}]")


def from_iterators(generators: Iterable[Any], repeat: bool = False, name: str | None = None) -> ParallelIterator:
    """A shard for each iterable, or function that makes one (what cannot be pickled has to be such a function)."""
    shard_class = skate.remote(_Shard)
    return ParallelIterator([(shard_class.remote(source, repeat), ()) for source in generators], name or "from_iterators")


class ParallelIterator:
    """Shards with the steps that each will apply. Steps are shipped when iteration begins."""

    def __init__(self, shards: list[tuple[Any, tuple[Step, ...]]], name: str) -> None:
        self._shards = shards  # (actor, steps)
        self.name = name

    def __repr__(self) -> str:
        return f"ParallelIterator[{self.name}]"

    def num_shards(self) -> int:
        return len(self._shards)

    # ------------------------------------------------------------ steps

    def transform(self, step: Step) -> ParallelIterator:
        """Apply `step(iterator) → iterator` in each shard."""
        return self._with(step, "transform")

    def for_each(self, function: Callable[[Any], Any]) -> ParallelIterator:
        return self._with(lambda items: map(function, items), "for_each")

    def filter(self, function: Callable[[Any], bool]) -> ParallelIterator:
        return self._with(lambda items: filter(function, items), "filter")

    def batch(self, n: int) -> ParallelIterator:
        """Lists of `n` items; the last one of a shard may be shorter."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            while group := list(islice(items, n)):
                yield group

        return self._with(step, f"batch({n})")

    def flatten(self) -> ParallelIterator:
        return self._with(lambda items: (item for group in items for item in group), "flatten")

    def combine(self, function: Callable[[Any], list[Any]]) -> ParallelIterator:
        """Replace each item by the items of a list."""
        return self.for_each(function).flatten()

    def local_shuffle(self, shuffle_buffer_size: int, seed: int | None = None) -> ParallelIterator:
        """Mix the items within each shard, by a buffer of this many."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            dice = random.Random(seed)
            buffer: list[Any] = []
            for item in items:
                if len(buffer) < shuffle_buffer_size:
                    buffer.append(item)
                    continue
                place = dice.randrange(len(buffer))
                buffer[place], item = item, buffer[place]
                yield item
            dice.shuffle(buffer)
            yield from buffer

        return self._with(step, "local_shuffle")

    def union(self, other: ParallelIterator) -> ParallelIterator:
        return ParallelIterator(self._shards + other._shards, f"{self.name}.union({other.name})")

    def select_shards(self, shards_to_keep: list[int]) -> ParallelIterator:
        return ParallelIterator([self._shards[shard] for shard in shards_to_keep], f"{self.name}.select_shards")

    def _with(self, step: Step, name: str) -> ParallelIterator:
        return ParallelIterator([(actor, (*steps, step)) for actor, steps in self._shards], f"{self.name}.{name}()")

    # ------------------------------------------------------------ results

    def gather_sync(self) -> Iterator[Any]:
        """One item of each shard in turn; shards that end are left out."""
        queues = [_fetch(actor, steps) for actor, steps in self._shards]
        while queues:
            living = []
            for items in queues:
                for item in items:
                    yield item
                    living.append(items)
                    break
            queues = living

    def gather_async(self, batch_ms: int = 0, num_async: int = 1) -> Iterator[Any]:
        """Items as they come, in no order."""
        cursors = [actor.open.remote(steps) for actor, steps in self._shards]
        running = {}
        for (actor, _), cursor in zip(self._shards, cursors, strict=True):
            running[actor.take.remote(cursor, BATCH)] = (actor, cursor)
        while running:
            ready, _ = skate.wait(list(running), num_returns=1)
            actor, cursor = running.pop(ready[0])
            items, is_end = skate.get(ready[0])
            if not is_end:
                running[actor.take.remote(cursor, BATCH)] = (actor, cursor)
            yield from items

    def shards(self) -> list[Iterator[Any]]:
        """An iterator for each shard."""
        return [_fetch(actor, steps) for actor, steps in self._shards]

    def get_shard(self, shard_index: int, batch_ms: int = 0, num_async: int = 1) -> Iterator[Any]:
        return _fetch(*self._shards[shard_index])

    def take(self, n: int) -> list[Any]:
        return list(islice(self.gather_sync(), n))

    def show(self, n: int = 20) -> None:
        for item in self.take(n):
            print(item)  # noqa: T201

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("a ParallelIterator has no order of its own: iterate over gather_sync() or gather_async()")


def _fetch(actor: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    cursor = skate.get(actor.open.remote(steps))
    ahead = actor.take.remote(cursor, BATCH)
    while True:
        items, is_end = skate.get(ahead)
        if not is_end:
            ahead = actor.take.remote(cursor, BATCH)
        yield from items
        if is_end:
            return


class _Shard:
    """The actor of a shard."""

    def __init__(self, source: Any, repeat: bool) -> None:
        self._source = source
        self._repeat = repeat
        self._iterators: list[Iterator[Any]] = []

    def open(self, steps: tuple[Step, ...]) -> int:
        """Begin an iteration; the number by which it is continued."""
        items = self._items()
        for step in steps:
            items = iter(step(items))
        self._iterators.append(items)
        return len(self._iterators) - 1

    def take(self, cursor: int, n: int) -> tuple[list[Any], bool]:
        """(up to n items, was that all?)"""
        items = list(islice(self._iterators[cursor], n))
        return items, len(items) < n

    def _items(self) -> Iterator[Any]:
        while True:
            yield from self._source() if callable(self._source) else self._source
            if not self._repeat:
                return
