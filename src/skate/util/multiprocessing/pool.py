"""`Pool`: `multiprocessing.Pool` on actors.

Differences from the standard library: a job whose process dies fails with an error instead of hanging, and the process is
replaced; `imap`
reads its input as results are taken instead of all at once; anything that cloudpickle takes may be sent (lambdas, local
functions, classes of `__main__`); large arrays travel by shared memory and arrive read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import skate
from skate.util.multiprocessing.crew import RUN, Crew
from skate.util.multiprocessing.jobs import CALL, MAP, STARMAP, Job
from skate.util.multiprocessing.results import AsyncResult, IMapIterator

Callback = Callable[[Any], Any]


class Pool:
    """A pool of worker processes.

    Args:
        processes: How many; None is one for each CPU of the session.
        initializer: Called in each process before its first job, with `initargs`.
        maxtasksperchild: Replace a process after so many jobs (a chunk of a map is one job).
        context: Ignored: processes are the engine's.
        ray_address: Where to run, as in `skate.init(address=…)`, when no session is running.
        ray_remote_args: Options of the actors, such as `{"num_cpus": 1}`.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        if processes is not None and processes < 1:
            raise ValueError(f"a pool needs at least one process, got processes={processes}")
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild < 1):
            raise ValueError(f"maxtasksperchild must be a positive int or None, got {maxtasksperchild!r}")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if not skate.is_initialized():
            skate.init(address=ray_address)
        size = processes or max(1, int(skate.cluster_resources().get("CPU", 1)))
        self._crew = Crew(size, initializer, tuple(initargs), maxtasksperchild, dict(ray_remote_args or {}))

    # ------------------------------------------------------------ one call

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        """`func(*args, **kwargs)` in a worker; waits for the result."""
        return self._submit_call(func, args, kwargs, None, None).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """As `apply`, without waiting.

        Callbacks are called in one of our threads, or in one that waits for a result: they must not block.
        """
        result = self._submit_call(func, args, kwargs, callback, error_callback)
        self._crew.start_thread()
        return result

    def _submit_call(
        self,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwargs: dict[str, Any] | None,
        callback: Callback | None,
        error_callback: Callback | None,
    ) -> AsyncResult:
        result = AsyncResult(self._crew, 1, callback, error_callback, is_single=True)
        self._crew.submit([Job(CALL, func, tuple(args), dict(kwargs) if kwargs else None, result.deliverer(0))])
        return result

    # ------------------------------------------------------------ maps

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """`[func(item) for item in iterable]`, spread over the workers in chunks."""
        return list(self._submit_map(MAP, func, iterable, chunksize, None, None).get())

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        result = self._submit_map(MAP, func, iterable, chunksize, callback, error_callback)
        self._crew.start_thread()
        return result

    def starmap(self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None) -> list[Any]:
        """`[func(*item) for item in iterable]`, spread over the workers in chunks."""
        return list(self._submit_map(STARMAP, func, iterable, chunksize, None, None).get())

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        result = self._submit_map(STARMAP, func, iterable, chunksize, callback, error_callback)
        self._crew.start_thread()
        return result

    def _submit_map(
        self,
        kind: int,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callback | None,
        error_callback: Callback | None,
    ) -> AsyncResult:
        self._check_running()
        items = list(iterable)
        if chunksize is None:
            chunksize = -(-len(items) // (4 * self._crew.size)) or 1
        _check_chunksize(chunksize)
        chunks = [items[start : start + chunksize] for start in range(0, len(items), chunksize)]
        result = AsyncResult(self._crew, len(chunks), callback, error_callback, is_single=False)
        self._crew.submit([Job(kind, func, chunk, None, result.deliverer(index)) for index, chunk in enumerate(chunks)])
        return result

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        """An iterator over the results, in order. The input may be endless."""
        return self._imap(func, iterable, chunksize, is_ordered=True)

    def imap_unordered(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        """An iterator over the results as they finish."""
        return self._imap(func, iterable, chunksize, is_ordered=False)

    def _imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int, *, is_ordered: bool) -> IMapIterator:
        self._check_running()
        _check_chunksize(chunksize)
        iterator = IMapIterator(self._crew, func, iter(iterable), chunksize, is_ordered=is_ordered)
        self._crew.start_thread()
        return iterator

    # ------------------------------------------------------------ end

    def close(self) -> None:
        """Take no more jobs. Those submitted are still run."""
        self._crew.close()

    def terminate(self) -> None:
        """End the workers at once; jobs that are not done fail."""
        self._crew.terminate()

    def join(self) -> None:
        """Wait until the workers have ended.

        Raises:
            ValueError: `close` or `terminate` was not called before.
        """
        if self._crew.state == RUN:
            raise ValueError("Pool is still running: call close() or terminate() first")
        self._crew.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.terminate()

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is not None:
            crew.abandon()

    def __reduce__(self) -> Any:
        raise NotImplementedError("a pool cannot travel between processes: make one where it is used, or send results")

    def _check_running(self) -> None:
        if self._crew.state != RUN:
            raise ValueError("Pool not running")


def _check_chunksize(chunksize: int) -> None:
    if chunksize < 1:
        raise ValueError(f"chunksize must be at least 1, got {chunksize}")
