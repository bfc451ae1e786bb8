"""mapreduce: the batch form, on the operators of a stream.

counts = mapreduce(texts, mapper=lambda text: ((word, 1) for word in text.split()), reducer=lambda word, ones: sum(ones))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from skate.streaming.stream import Stream

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")


def mapreduce(
    inputs: Iterable[Any] | Stream[Any],
    mapper: Callable[[Any], Iterable[tuple[K, V]]],
    combiner: Callable[[V, V], V] | None = None,
    reducer: Callable[[K, list[V]], R] | None = None,
    *,
    snapshots: str | Path | None = None,
    **options: Any,
) -> dict[K, Any]:
    """key → result.

    Args:
        inputs: Records, or a bounded stream of them.
        mapper: Gives (key, value) pairs of a record.
        combiner: Associative: makes one value of two, before and after the exchange. Keep it if the reducer allows: it saves the most.
        reducer: The result of a key and its values (with a combiner: of a list of one). Without one: the combined value, or the list.
        options: As for `run`.
    """
    stream: Stream[Any] = inputs if isinstance(inputs, Stream) else Stream.from_list(inputs)
    pairs = stream.flat_map(mapper).key_by(_key)
    if combiner is not None:
        combine = combiner
        reduced: Stream[Any] = pairs.aggregate(_Absent, _Combining(combine), merge=combine)
        lists: Stream[Any] = reduced.map(_listed) if reducer is not None else reduced
    else:
        lists = pairs.aggregate(list, _append, merge=_concatenated)
    if reducer is not None:
        lists = lists.map(_Reducing(reducer))
    return dict(lists.to_list().run(snapshots, **options))


class _Absent:
    """No value yet."""


class _Combining:
    def __init__(self, combiner: Callable[[Any, Any], Any]) -> None:
        self.combiner = combiner
        self.__code__ = getattr(combiner, "__code__", None)  # What a snapshot has to fit.

    def __call__(self, accumulator: Any, pair: tuple[Any, Any]) -> Any:
        return pair[1] if isinstance(accumulator, _Absent) else self.combiner(accumulator, pair[1])


class _Reducing:
    def __init__(self, reducer: Callable[[Any, Any], Any]) -> None:
        self.reducer = reducer

    def __call__(self, pair: tuple[Any, list[Any]]) -> tuple[Any, Any]:
        return pair[0], self.reducer(*pair)


def _key(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _append(values: list[Any], pair: tuple[Any, Any]) -> list[Any]:
    values.append(pair[1])
    return values


def _concatenated(a: list[Any], b: list[Any]) -> list[Any]:
    return a + b


def _listed(pair: tuple[Any, Any]) -> tuple[Any, list[Any]]:
    return pair[0], [pair[1]]
