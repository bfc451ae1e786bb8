from __future__ import annotations

import itertools
import os
import threading
from typing import Any

import pytest

from skate.util.multiprocessing import Pool, TimeoutError


def square(x: int) -> int:
    return x * x


def fail(x: Any) -> Any:
    raise KeyError(x)


def add(a: int, b: int = 0) -> int:
    return a + b


class OddError(Exception):
    """Cannot be pickled: its constructor wants two arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


def fail_oddly(_: Any) -> None:
    raise OddError(1, 2)


_state: list[str] = []


def remember(word: str) -> None:
    _state.append(word)


def recall(_: Any = None) -> str:
    return _state[-1]


def own_pid(_: Any = None) -> int:
    return os.getpid()


def test_apply_and_its_arguments(session: str) -> None:
    with Pool(2) as pool:
        assert pool.apply(add, (1,), {"b": 2}) == 3
        assert pool.apply_async(add, [1, 2]).get() == 3


def test_map_keeps_the_order(session: str) -> None:
    with Pool(2) as pool:
        assert pool.map(square, range(1000)) == [x * x for x in range(1000)]
        assert pool.map(square, range(10), chunksize=3) == [x * x for x in range(10)]
        assert pool.map(square, []) == []
        assert pool.starmap(add, [(1, 2), (3, 4)]) == [3, 7]


def test_many_short_calls_each_get_their_result(session: str) -> None:
    with Pool(2) as pool:
        results = [pool.apply_async(square, (x,)) for x in range(2000)]
        assert [result.get(30) for result in results] == [x * x for x in range(2000)]


def test_lambdas_and_closures_travel(session: str) -> None:
    factor = 3
    with Pool(2) as pool:
        assert pool.map(lambda x: factor * x, range(5)) == [0, 3, 6, 9, 12]


def test_imap_in_order_and_as_they_finish(session: str) -> None:
    with Pool(2) as pool:
        assert list(pool.imap(square, range(500))) == [x * x for x in range(500)]
        assert sorted(pool.imap_unordered(square, range(500), chunksize=7)) == [x * x for x in range(500)]


def test_imap_reads_an_endless_input_as_needed(session: str) -> None:
    with Pool(2) as pool:
        results = pool.imap(square, itertools.count())
        assert [next(results) for _ in range(10)] == [x * x for x in range(10)]


def test_the_functions_error_is_raised_with_the_remote_traceback(session: str) -> None:
    with Pool(2) as pool:
        with pytest.raises(KeyError) as raised:
            pool.apply(fail, (5,))
        assert "in fail" in str(raised.value.__cause__)
        with pytest.raises(KeyError):
            pool.map(fail, range(10))
        results = pool.imap(fail, [1])
        with pytest.raises(KeyError):
            next(results)


def test_an_error_that_cannot_be_pickled_has_a_stand_in(session: str) -> None:
    with Pool(2) as pool:
        with pytest.raises(Exception, match="1") as raised:
            pool.apply(fail_oddly, (0,))
        assert "OddError" in str(raised.value.__cause__)


def test_callbacks_get_the_result_or_the_error(session: str) -> None:
    results: list[Any] = []
    errors: list[BaseException] = []
    with Pool(2) as pool:
        pool.map_async(square, [1, 2, 3], callback=results.append).wait(30)
        failing = pool.apply_async(fail, (1,), error_callback=errors.append)
        failing.wait(30)
        assert not failing.successful()
    assert results == [[1, 4, 9]]
    assert isinstance(errors[0], KeyError)


def test_a_callback_comes_although_nobody_waits(process_session: str) -> None:
    called = threading.Event()
    with Pool(2) as pool:
        pool.apply_async(square, (3,), callback=lambda _: called.set())
        assert called.wait(30)


def test_get_raises_when_time_is_over(process_session: str) -> None:
    with Pool(1) as pool:
        blocked = pool.apply_async(_wait_long)
        with pytest.raises(TimeoutError):
            blocked.get(timeout=0.05)
        assert not blocked.ready()
        with pytest.raises(ValueError, match="not ready"):
            blocked.successful()


def _wait_long() -> None:
    threading.Event().wait(60)


def test_a_long_job_delays_no_short_one(process_session: str) -> None:
    with Pool(2) as pool:
        pool.apply_async(_wait_long)
        results = [pool.apply_async(square, (x,)) for x in range(100)]
        assert [result.get(30) for result in results] == [x * x for x in range(100)]


def test_the_initializer_runs_before_the_first_job(session: str) -> None:
    with Pool(2, initializer=remember, initargs=("word",)) as pool:
        assert set(pool.map(recall, range(20))) == {"word"}


def test_a_dead_process_fails_its_job_and_is_replaced(process_session: str) -> None:
    with Pool(2) as pool:
        with pytest.raises(RuntimeError, match="died"):
            pool.apply(os._exit, (1,))
        assert pool.map(square, range(10)) == [x * x for x in range(10)]


def test_processes_are_replaced_after_so_many_jobs(process_session: str) -> None:
    with Pool(1, maxtasksperchild=2) as pool:
        pids = pool.map(own_pid, range(6), chunksize=1)
    assert [len(list(group)) for _, group in itertools.groupby(pids)] == [2, 2, 2]


def test_a_value_that_cannot_be_pickled_fails_alone(process_session: str) -> None:
    with Pool(2) as pool:
        results = [pool.apply_async(_lock_at_50, (x,)) for x in range(100)]
        for x, result in enumerate(results):
            if x == 50:
                with pytest.raises(Exception, match="pickle"):
                    result.get(30)
            else:
                assert result.get(30) == x


def _lock_at_50(x: int) -> Any:
    import threading

    return threading.Lock() if x == 50 else x


def test_an_argument_that_cannot_be_pickled_fails_alone(session: str) -> None:
    with Pool(2) as pool:
        if session == "local":
            with pytest.raises(TypeError, match="pickle"):
                pool.apply(square, (threading.Lock(),))
        assert pool.apply(square, (3,)) == 9


def test_a_closed_pool_finishes_its_jobs_and_takes_no_more(session: str) -> None:
    pool = Pool(2)
    result = pool.map_async(square, range(100))
    with pytest.raises(ValueError, match="running"):
        pool.join()
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.apply(square, (1,))
    pool.join()
    assert result.get(5) == [x * x for x in range(100)]


def test_terminate_fails_what_is_not_done(process_session: str) -> None:
    pool = Pool(1)
    running, waiting = pool.apply_async(_wait_long), pool.apply_async(square, (1,))
    pool.terminate()
    pool.join()
    for result in (running, waiting):
        with pytest.raises(RuntimeError):
            result.get(5)


def test_wrong_arguments_are_refused(session: str) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Pool(0)
    with pytest.raises(ValueError, match="maxtasksperchild"):
        Pool(1, maxtasksperchild=0)
    with pytest.raises(TypeError, match="initializer"):
        Pool(1, initializer=3)  # type: ignore[arg-type]
