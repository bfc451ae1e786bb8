"""`ActorPool`: spread calls over a fixed set of actors, one call per actor at a time.

Results come in order (`get_next`, `map`) or as they finish (`get_next_unordered`, `map_unordered`). The two kinds do not mix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import skate

V = TypeVar("V")

Submit = Callable[[Any, V], Any]  # (actor, value) → ref, or a list of refs


class ActorPool:
    """A pool of actors.

    ```python
    pool = ActorPool([Worker.remote(), Worker.remote()])
    list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3, 4]))  # [2, 4, 6, 8]
    ```
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: list[Any] = list(actors)
        self._running: dict[Any, tuple[int, Any]] = {}  # ref → (index of the call, actor)
        self._refs: dict[int, Any] = {}  # index of the call → ref
        self._waiting: deque[tuple[Submit[Any], Any]] = deque()  # Empty unless every actor is busy.
        self._next_index = 0
        self._next_return = 0

    # ------------------------------------------------------------ many calls

    def map(self, fn: Submit[V], values: Iterable[V]) -> Iterator[Any]:
        """Call `fn(actor, value)` for each value; results in the order of `values`.

        Args:
            fn: Calls a method of the actor and returns its ref. The actor is busy until the ref is ready.
            values: Read to the end at once; calls that found no idle actor start as results are taken.

        Results of earlier calls that nobody took are thrown away.
        """
        self._drain(self.get_next)
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next)

    def map_unordered(self, fn: Submit[V], values: Iterable[V]) -> Iterator[Any]:
        """As `map`, with each result as soon as it is there."""
        self._drain(self.get_next_unordered)
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next_unordered)

    # ------------------------------------------------------------ one call

    def submit(self, fn: Submit[V], value: V) -> None:
        """Call `fn(actor, value)` on an idle actor, or as soon as one is."""
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.pop()
        ref = fn(actor, value)
        self._running[_key(ref)] = (self._next_index, actor)
        self._refs[self._next_index] = ref
        self._next_index += 1

    def has_next(self) -> bool:
        """Is there a result that nobody took yet, ready or not?"""
        return bool(self._running)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in order of submission.

        Args:
            timeout: Seconds to wait; None waits as long as it takes.
            ignore_if_timedout: On a time-out give this result up, so that the following call returns the one after it.

        Raises:
            StopIteration: There is nothing to get.
            TimeoutError: It is not ready in time.
            ValueError: After `get_next_unordered`, which leaves no order to follow.
        """
        if not self.has_next():
            raise StopIteration("no results left to get: submit something first")
        if self._next_return not in self._refs:
            raise ValueError("get_next() cannot follow get_next_unordered(): the order is lost; keep to one of them")
        ref = self._refs[self._next_return]
        if timeout is not None and not _wait_all(ref, timeout):
            if not ignore_if_timedout:
                raise TimeoutError(f"no result within {timeout} s")
            self._give_up(ref)
            raise TimeoutError(f"no result within {timeout} s; the task {ref} has been ignored")
        return self._take(ref)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Whichever result is ready first.

        Args, Raises: As `get_next`, without the ValueError.
        """
        if not self.has_next():
            raise StopIteration("no results left to get: submit something first")
        # A call that returned several refs is taken as ready with its first: `get` then waits for the others.
        first = {(_key(ref)[0] if isinstance(ref, list) else ref): ref for ref in self._refs.values()}
        ready, _ = skate.wait(list(first), num_returns=1, timeout=timeout)
        if ready:
            return self._take(first[ready[0]])
        if not ignore_if_timedout:
            raise TimeoutError(f"no result within {timeout} s")
        ref = next(iter(self._refs.values()))
        self._give_up(ref)
        raise TimeoutError(f"no result within {timeout} s; the task {ref} has been ignored")

    # ------------------------------------------------------------ actors

    def has_free(self) -> bool:
        """Is an actor idle, with no call waiting for one?"""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any:
        """Take an idle actor out of the pool; None when all are busy."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor to the pool.

        Raises:
            ValueError: It is in the pool already.
        """
        if actor in self._idle or any(actor == busy for _, busy in self._running.values()):
            raise ValueError(f"{actor} already belongs to this pool")
        self._return_actor(actor)

    # ------------------------------------------------------------ parts

    def _take(self, ref: Any) -> Any:
        if self._waiting:
            _wait_all(ref, None)  # Only then is its actor free for the next call, which starts before the value is fetched.
        self._forget(ref)
        return skate.get(ref)

    def _give_up(self, ref: Any) -> None:
        self._forget(ref)  # The actor still works on it; what comes next queues behind it there.

    def _forget(self, ref: Any) -> None:
        index, actor = self._running.pop(_key(ref))
        del self._refs[index]
        self._next_return = max(self._next_return, index + 1)
        self._return_actor(actor)

    def _return_actor(self, actor: Any) -> None:
        self._idle.append(actor)
        if self._waiting:
            fn, value = self._waiting.popleft()
            self.submit(fn, value)

    def _drain(self, take: Callable[..., Any]) -> None:
        while self.has_next():
            try:
                take(timeout=0, ignore_if_timedout=True)
            except Exception:  # Nobody asked for these results, nor for their errors.
                pass

    def _results(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()


def _key(ref: Any) -> tuple[Any, ...]:
    return tuple(ref) if isinstance(ref, list) else (ref,)


def _wait_all(ref: Any, timeout_s: float | None) -> bool:
    refs = list(_key(ref))
    ready, _ = skate.wait(refs, num_returns=len(refs), timeout=timeout_s)
    return len(ready) == len(refs)
