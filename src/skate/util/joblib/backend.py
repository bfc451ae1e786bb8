"""A joblib backend: batches of joblib's calls run on a `Pool`, large arrays are stored once and shared by all of them.

joblib decides how many calls form a batch; scikit-learn and others that use joblib need no change. Arrays of more than
`SHARE_BYTES_MIN`
are put into the object store the first time they are met; workers read them in place, read-only, as with joblib's own memory
mapping.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joblib._parallel_backends import AutoBatchingMixin, ParallelBackendBase
from joblib.parallel import register_parallel_backend

import skate
from skate.util.multiprocessing import Pool

SHARE_BYTES_MIN = 100 * 1024


def register_skate() -> None:
    """Make "skate" a name that `joblib.parallel_backend` and `joblib.parallel_config` know."""
    register_parallel_backend("skate", SkateBackend)


def register_ray() -> None:
    """As `register_skate`, for programs that say "ray"."""
    register_parallel_backend("ray", SkateBackend)


class SkateBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """joblib's view of a session.

    Args:
        ray_remote_args: Options of the pool's actors.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = False
    default_n_jobs = -1

    def __init__(self, nesting_level: int | None = None, ray_remote_args: dict[str, Any] | None = None, **options: Any) -> None:
        options.pop("inner_max_num_threads", None)
        super().__init__(nesting_level=nesting_level, **options)
        self._options = ray_remote_args
        self._pool: Pool | None = None
        self._size = 0
        self._shared: dict[int, tuple[Any, Any]] = {}  # id of an array → (the array, so that the id stays its own; its ref)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs > 0:
            return n_jobs
        if not skate.is_initialized():
            skate.init()
        cpus = int(skate.cluster_resources().get("CPU", 1))
        return max(1, cpus + 1 + n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **_options: Any) -> int:
        if require == "sharedmem":
            raise ValueError("the skate backend runs calls in other processes: it cannot offer require='sharedmem'")
        size = self.effective_n_jobs(n_jobs)
        if self._pool is None or self._size != size:
            self.terminate()
            self._pool = Pool(size, ray_remote_args=self._options)
            self._size = size
        self.parallel = parallel
        return size

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        assert self._pool is not None
        return self._pool.apply_async(_run_batch, (self._share_arrays(func),), callback=callback, error_callback=callback)

    def retrieve_result_callback(self, out: Any) -> Any:
        if isinstance(out, BaseException):
            raise out
        return out

    def terminate(self) -> None:
        pool, self._pool = self._pool, None
        self._shared.clear()
        if pool is not None:
            pool.terminate()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)

    def _share_arrays(self, batch: Any) -> Any:
        """A copy of joblib's batch in which large arrays are refs; the batch itself when it holds none."""
        items = getattr(batch, "items", None)
        if not isinstance(items, list) or not any(
            _is_large(value) for _, args, kwargs in items for value in (*args, *kwargs.values())
        ):
            return batch
        from copy import copy

        batch = copy(batch)
        batch.items = [
            (function, tuple(map(self._share, args)), {name: self._share(value) for name, value in kwargs.items()})
            for function, args, kwargs in items
        ]
        return batch

    def _share(self, value: Any) -> Any:
        if not _is_large(value):
            return value
        known = self._shared.get(id(value))
        if known is None:
            known = self._shared[id(value)] = (value, _Shared(skate.put(value)))
        return known[1]


class _Shared:
    """Stands for an array in a batch that travels."""

    def __init__(self, ref: Any) -> None:
        self.ref = ref


def _is_large(value: Any) -> bool:
    return type(value).__name__ in ("ndarray", "DataFrame", "Series") and _bytes_of(value) >= SHARE_BYTES_MIN


def _bytes_of(value: Any) -> int:
    size = getattr(value, "nbytes", None)
    if size is None:
        usage = value.memory_usage()
        size = usage.sum() if hasattr(usage, "sum") else usage
    return int(size)


def _run_batch(batch: Any) -> Any:
    items = getattr(batch, "items", None)
    if isinstance(items, list):
        batch.items = [
            (function, tuple(map(_fetched, args)), {name: _fetched(value) for name, value in kwargs.items()})
            for function, args, kwargs in items
        ]
    return batch()


def _fetched(value: Any) -> Any:
    return skate.get(value.ref) if isinstance(value, _Shared) else value
