"""The standard library's pools, and joblib: what a person would use otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.engine.actor_model import program
from benchmarks.engine.timing import Effort, Result, rate, seconds


def small_value() -> bytes:
    return b"ok"


def total(array: Any) -> int:
    return int(array[0]) + int(array[-1]) + len(array)


def big_array(effort: Effort) -> Any:
    import numpy as np

    return np.ones(effort.count(100_000_000, 10_000_000), dtype=np.uint8)


class Pool:
    """`multiprocessing.Pool(2)`."""

    COLD_START = (
        "import multiprocessing\n"
        "def square(x): return x * x\n"
        "with multiprocessing.Pool(2) as pool: print(pool.apply(square, (7,)), flush=True)\n"
    )

    def __enter__(self) -> Pool:
        import multiprocessing

        self.pool = multiprocessing.Pool(2)
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.terminate()
        self.pool.join()

    def tasks_sync(self, effort: Effort) -> Result:
        return rate(effort, lambda: self.pool.apply(small_value), answer=str(self.pool.apply(small_value)))

    def tasks_async(self, effort: Effort) -> Result:
        def run() -> int:
            return len([one.get() for one in [self.pool.apply_async(small_value) for _ in range(1000)]])

        return rate(effort, run, 1000, answer=run())

    def big_argument(self, effort: Effort) -> Result:
        array = big_array(effort)

        def run() -> list[int]:
            return [one.get() for one in [self.pool.apply_async(total, (array,)) for _ in range(10)]]

        answer = run()
        return seconds(effort, run, answer=answer)

    def cold_start(self, effort: Effort) -> Result:
        return program(effort, self.COLD_START)


class Executor:
    """`concurrent.futures.ProcessPoolExecutor(2)`."""

    COLD_START = (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "def square(x): return x * x\n"
        "with ProcessPoolExecutor(2) as pool: print(pool.submit(square, 7).result(), flush=True)\n"
    )

    def __enter__(self) -> Executor:
        from concurrent.futures import ProcessPoolExecutor

        self.pool = ProcessPoolExecutor(2)
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def tasks_sync(self, effort: Effort) -> Result:
        return rate(effort, lambda: self.pool.submit(small_value).result(), answer=str(self.pool.submit(small_value).result()))

    def tasks_async(self, effort: Effort) -> Result:
        def run() -> int:
            return len([one.result() for one in [self.pool.submit(small_value) for _ in range(1000)]])

        return rate(effort, run, 1000, answer=run())

    def big_argument(self, effort: Effort) -> Result:
        array = big_array(effort)

        def run() -> list[int]:
            return [one.result() for one in [self.pool.submit(total, array) for _ in range(10)]]

        answer = run()
        return seconds(effort, run, answer=answer)

    def cold_start(self, effort: Effort) -> Result:
        return program(effort, self.COLD_START)


class Joblib:
    """`joblib.Parallel(2)` with its default backend, loky. It starts a batch at a time and has no single call."""

    COLD_START = (
        "import joblib, operator\n"
        "if __name__ == '__main__':\n"
        "    print(joblib.Parallel(2)(joblib.delayed(operator.mul)(7, 7) for _ in range(1))[0], flush=True)\n"
    )

    def __enter__(self) -> Joblib:
        import joblib

        self.delayed = joblib.delayed
        self.parallel = joblib.Parallel(n_jobs=2)
        self.parallel.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.parallel.__exit__(None, None, None)
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    def tasks_sync(self, effort: Effort) -> Result:
        def run() -> bytes:
            return bytes(self.parallel([self.delayed(small_value)()])[0])

        return rate(effort, run, answer=str(run()))

    def tasks_async(self, effort: Effort) -> Result:
        def run() -> int:
            return len(self.parallel(self.delayed(small_value)() for _ in range(1000)))

        return rate(effort, run, 1000, answer=run())

    def big_argument(self, effort: Effort) -> Result:
        array = big_array(effort)

        def run() -> list[int]:
            return list(self.parallel(self.delayed(total)(array) for _ in range(10)))

        answer = run()
        return seconds(effort, run, answer=answer)

    def cold_start(self, effort: Effort) -> Result:
        return program(effort, self.COLD_START)


PEERS: dict[str, Callable[[], Any]] = {"pool": Pool, "executor": Executor, "joblib": Joblib}
