"""What the pool's calls give back: `AsyncResult` and the iterators of `imap`."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing import TimeoutError
from typing import Any

from skate.util.multiprocessing.crew import Crew
from skate.util.multiprocessing.jobs import MAP, Job


class AsyncResult:
    """The result of `apply_async`, `map_async` or `starmap_async`. Made by the pool only."""

    def __init__(
        self,
        crew: Crew,
        chunks: int,
        callback: Callable[[Any], Any] | None,
        error_callback: Callable[[BaseException], Any] | None,
        *,
        is_single: bool,
    ) -> None:
        self._crew = crew
        self._callback = callback
        self._error_callback = error_callback
        self._is_single = is_single
        self._chunks: list[Any] = [None] * chunks
        self._missing = chunks
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._is_ready = not chunks
        if self._is_ready and callback is not None:
            callback([])

    def deliverer(self, index: int) -> Callable[[bool, Any], None]:
        """What the crew calls with the outcome of chunk `index`."""

        def deliver(is_ok: bool, value: Any) -> None:
            with self._lock:
                if is_ok:
                    self._chunks[index] = value
                elif self._error is None:
                    self._error = value
                self._missing -= 1
                if self._missing:
                    return
            self._finish()

        return deliver

    def _finish(self) -> None:
        try:
            if self._error is not None:
                if self._error_callback is not None:
                    self._error_callback(self._error)
            elif self._callback is not None:
                self._callback(self._value())
        except Exception:  # The callback's own mistake: shown, and kept from the thread that serves all results.
            import traceback

            traceback.print_exc()
        finally:
            self._is_ready = True

    def _value(self) -> Any:
        if self._is_single:
            return self._chunks[0]
        return [value for chunk in self._chunks for value in chunk]

    def ready(self) -> bool:
        if not self._is_ready:
            self._crew.help_until(self._ready, 0)
        return self._is_ready

    def _ready(self) -> bool:
        return self._is_ready

    def successful(self) -> bool:
        """Did it finish without an error?

        Raises:
            ValueError: It is not ready.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Return when the result is ready, or after `timeout` seconds."""
        if not self._is_ready:
            self._crew.help_until(self._ready, timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The result; of a map, a list in order. Raises what the function raised.

        Raises:
            multiprocessing.TimeoutError: It is not there within `timeout` seconds.
        """
        self.wait(timeout)
        if not self._is_ready:
            raise TimeoutError(f"no result within {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value()


class IMapIterator:
    """Iterates over the results of a map, which reads its input as results are taken."""

    def __init__(
        self, crew: Crew, function: Callable[..., Any], items: Iterator[Any], chunksize: int, *, is_ordered: bool
    ) -> None:
        self._crew = crew
        self._function = function
        self._items = items
        self._chunksize = chunksize
        self._is_ordered = is_ordered
        self._lock = threading.Lock()
        self._outcomes: dict[int, tuple[bool, Any]] = {}  # chunk → outcome, while it is not its turn
        self._values: deque[tuple[bool, Any]] = deque()  # to be returned next
        self._submitted = 0  # chunks
        self._delivered = 0
        self._next_chunk = 0  # ordered: the chunk whose turn it is
        self._is_exhausted = False
        self._feed()

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Raises:
            StopIteration: That was all.
            multiprocessing.TimeoutError: It is not there within `timeout` seconds.
        """
        self._feed()
        if not self._values:
            if self._is_exhausted and self._next_chunk == self._submitted:
                raise StopIteration
            if not self._crew.help_until(self._take_chunk, timeout):
                raise TimeoutError(f"no result within {timeout} s")
        is_ok, value = self._values.popleft()
        if not is_ok:
            raise value
        return value

    def _feed(self) -> None:
        """Keep enough chunks under way to fill the batches of every worker twice."""
        if self._is_exhausted:
            return
        ahead_max = self._crew.chunks_ahead(self._function)
        ahead = self._submitted - self._delivered
        if 2 * ahead > ahead_max:
            return
        jobs = []
        for index in range(self._submitted, self._submitted + ahead_max - ahead):
            items = list(islice(self._items, self._chunksize))
            if not items:
                self._is_exhausted = True
                break
            jobs.append(Job(MAP, self._function, items, None, self._deliverer(index)))
        if jobs:
            self._submitted += len(jobs)
            self._crew.submit(jobs)

    def _deliverer(self, index: int) -> Callable[[bool, Any], None]:
        def deliver(is_ok: bool, value: Any) -> None:
            with self._lock:
                self._outcomes[index] = (is_ok, value)
                self._delivered += 1

        return deliver

    def _take_chunk(self) -> bool:
        """Move the next chunk's values to `_values`, if it is there."""
        with self._lock:
            if not self._outcomes:
                return False
            index = self._next_chunk if self._is_ordered else next(iter(self._outcomes))
            outcome = self._outcomes.pop(index, None)
            if outcome is None:
                return False
            self._next_chunk += 1
        is_ok, value = outcome
        if is_ok:
            self._values.extend((True, item) for item in value)
        else:
            self._values.append((False, value))
        return True
