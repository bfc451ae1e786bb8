"""Iterate over results as they become ready."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import skate

CHUNK_SIZE = 1
BACKPRESSURE_SIZE = 100


def as_completed(
    refs: Sequence[Any], *, chunk_size: int = CHUNK_SIZE, yield_obj_refs: bool = False, **wait_options: Any
) -> Iterator[Any]:
    """Yield results as tasks finish, not in the order of `refs`.

    Args:
        refs: Refs, all different.
        chunk_size: Go on as soon as this many are ready.
        yield_obj_refs: Yield the refs instead of their values.
        wait_options: For `skate.wait`: `timeout` (seconds for each chunk), `fetch_local`.

    Raises:
        The error of a failed task, when it is its turn.
    """
    _check(chunk_size, wait_options)
    waiting = list(refs)
    while waiting:
        ready, waiting = _wait_for_chunk(waiting, chunk_size, wait_options)
        # One by one: the values before a failed one are delivered.
        yield from ready if yield_obj_refs else map(skate.get, ready)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = BACKPRESSURE_SIZE,
    chunk_size: int = CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **wait_options: Any,
) -> Iterator[Any]:
    """Call the remote function on every item and yield results as they finish.

    Args:
        fn: A remote function of one argument.
        items: May be endless: it is read as results are taken.
        backpressure_size: How many tasks may be under way; None is no limit.
        chunk_size, yield_obj_refs, wait_options: As in `as_completed`.
    """
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError(f"backpressure_size must be above zero or None, got {backpressure_size}")
    _check(chunk_size, wait_options)
    waiting: list[Any] = []
    for item in items:
        waiting.append(fn.remote(item))
        if backpressure_size is not None and len(waiting) >= backpressure_size:
            ready, waiting = _wait_for_chunk(waiting, chunk_size, wait_options)
            yield from ready if yield_obj_refs else map(skate.get, ready)
    yield from as_completed(waiting, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs, **wait_options)


def _check(chunk_size: int, wait_options: dict[str, Any]) -> None:
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    if "num_returns" in wait_options:
        raise ValueError("use chunk_size instead of num_returns")


def _wait_for_chunk(waiting: list[Any], chunk_size: int, wait_options: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    ready, rest = skate.wait(waiting, num_returns=min(chunk_size, len(waiting)), **wait_options)
    if rest:
        # Take all that is there: looking at n refs once for each result would cost n² looks.
        more, rest = skate.wait(rest, num_returns=len(rest), timeout=0)
        ready = [*ready, *more]
    return ready, rest
