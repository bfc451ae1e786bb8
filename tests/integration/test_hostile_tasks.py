"""Tasks that misbehave: each hurts itself, none the engine."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import skate
from skate.exceptions import ActorDiedError, RayTaskError, TaskCancelledError, WorkerCrashedError


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    skate.init(num_cpus=2)
    yield
    skate.shutdown()


@skate.remote
def square(x: int) -> int:
    return x * x


def assert_works() -> None:
    """Both workers still answer."""
    assert skate.get([square.remote(i) for i in range(20)], timeout=20) == [i * i for i in range(20)]


def test_sys_exit_ends_the_worker_and_says_so() -> None:
    @skate.remote(max_retries=0)
    def leave() -> None:
        sys.exit(3)

    with pytest.raises(WorkerCrashedError, match="leave"):
        skate.get(leave.remote(), timeout=20)
    assert_works()


def test_os_exit_is_retried() -> None:
    @skate.remote(max_retries=2)
    def leave_twice(directory: str) -> int:
        attempts = len(os.listdir(directory))
        open(f"{directory}/{attempts}", "w").close()
        if attempts < 2:
            os._exit(1)
        return attempts

    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        assert skate.get(leave_twice.remote(directory), timeout=20) == 2
    assert_works()


def test_a_task_may_fork() -> None:
    @skate.remote
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert skate.get(fork.remote(), timeout=20) == 7
    assert_works()


def test_a_forked_child_that_returns_does_not_answer_in_its_parents_place() -> None:
    @skate.remote
    def fork_and_return() -> str:
        pid = os.fork()
        if pid == 0:
            return "child"
        os.waitpid(pid, 0)
        return "parent"

    assert skate.get(fork_and_return.remote(), timeout=20) == "parent"
    assert_works()


def test_a_task_may_start_threads_that_outlive_it() -> None:
    @skate.remote
    def start() -> int:
        threading.Thread(target=time.sleep, args=(30,)).start()
        return threading.active_count()

    assert skate.get(start.remote(), timeout=20) >= 2
    assert_works()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_task_may_use_multiprocessing(method: str) -> None:
    @skate.remote
    def pool(method: str) -> list[int]:
        import multiprocessing

        with multiprocessing.get_context(method).Pool(2) as workers:
            return workers.map(abs, [-1, -2, 3])

    assert skate.get(pool.remote(method), timeout=40) == [1, 2, 3]
    assert_works()


def test_a_task_may_close_its_output() -> None:
    @skate.remote
    def close() -> None:
        sys.stdout.close()
        os.close(1)

    skate.get(close.remote(), timeout=20)

    @skate.remote
    def say() -> int:
        print("still here")
        return 1

    assert skate.get([say.remote() for _ in range(4)], timeout=20) == [1] * 4
    assert_works()


def test_a_change_of_directory_does_not_reach_the_next_task() -> None:
    @skate.remote
    def move() -> None:
        os.chdir("/")

    @skate.remote
    def where() -> str:
        return os.getcwd()

    before = skate.get(where.remote(), timeout=20)
    skate.get([move.remote() for _ in range(4)], timeout=20)
    assert set(skate.get([where.remote() for _ in range(8)], timeout=20)) == {before}


def test_a_task_that_blocks_signals_can_still_be_cancelled_by_force() -> None:
    @skate.remote(max_retries=0)
    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        print("blocked", flush=True)
        time.sleep(60)

    ref = block.remote()
    ready, _ = skate.wait([ref], timeout=0.5)
    assert not ready
    skate.cancel(ref, force=True)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        skate.get(ref, timeout=20)
    assert_works()


def test_a_task_that_holds_the_gil_does_not_stop_the_others() -> None:
    @skate.remote
    def hold() -> int:
        import ctypes

        ctypes.PyDLL(None).usleep(2_000_000)  # PyDLL keeps the GIL.
        return 1

    ref = hold.remote()
    started = time.monotonic()
    assert_works()
    assert time.monotonic() - started < 1.5
    assert skate.get(ref, timeout=20) == 1


def test_recursion_too_deep_is_an_error_of_the_task() -> None:
    @skate.remote
    def recurse(n: int) -> int:
        def down(n: int) -> int:
            return down(n + 1)

        return down(n)

    with pytest.raises(RecursionError):
        skate.get(recurse.remote(0), timeout=20)
    assert_works()


def test_a_segfault_names_the_signal() -> None:
    @skate.remote(max_retries=0)
    def crash() -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(WorkerCrashedError, match="SIGSEGV"):
        skate.get(crash.remote(), timeout=20)
    assert_works()


def test_a_hundred_megabytes_of_output_pass() -> None:
    @skate.remote
    def shout() -> int:
        line = "x" * 99 + "\n"
        for _ in range(100_000):
            sys.stdout.write(line * 10)
        return 1

    ref = shout.remote()
    assert_works()
    assert skate.get(ref, timeout=50) == 1
    assert_works()


def test_an_exception_that_cannot_be_pickled_still_tells_its_story() -> None:
    @skate.remote
    def fail() -> None:
        class Odd(Exception):
            def __init__(self) -> None:
                super().__init__("odd indeed")
                self.lock = threading.Lock()

        raise Odd

    with pytest.raises(RayTaskError, match="odd indeed"):
        skate.get(fail.remote(), timeout=20)
    assert_works()


def test_an_exception_that_cannot_be_unpickled_still_tells_its_story() -> None:
    @skate.remote
    def fail() -> None:
        class TwoArguments(Exception):
            def __init__(self, a: int, b: int) -> None:
                super().__init__(f"{a} and {b}")

        raise TwoArguments(1, 2)

    with pytest.raises(RayTaskError, match="1 and 2"):
        skate.get(fail.remote(), timeout=20)
    assert_works()


def test_a_result_that_cannot_be_pickled_names_the_function() -> None:
    @skate.remote
    def lock() -> object:
        return threading.Lock()

    with pytest.raises(TypeError, match=r"lock"):
        skate.get(lock.remote(), timeout=20)
    assert_works()


def test_arguments_that_cannot_be_pickled_fail_at_the_call() -> None:
    with pytest.raises(TypeError, match="lock"):
        square.remote(threading.Lock())  # type: ignore[arg-type]
    assert_works()


def test_put_names_what_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match=r"put\(\).*\['a'\]\[0\].*lock"):
        skate.put({"a": [threading.Lock()]})
    assert_works()


class Poison:
    """Pickles well, raises where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return _explode, ()


def _explode() -> None:
    raise RuntimeError("poison")


def test_arguments_that_cannot_be_unpickled_fail_the_task() -> None:
    with pytest.raises(RayTaskError, match="poison"):
        skate.get(square.remote(Poison()), timeout=20)  # type: ignore[arg-type]
    assert_works()


def test_a_result_that_cannot_be_unpickled_fails_get_only() -> None:
    @skate.remote
    def poison() -> Poison:
        return Poison()

    with pytest.raises(Exception, match="poison"):
        skate.get(poison.remote(), timeout=20)
    assert_works()


def test_an_actor_whose_method_exits_dies() -> None:
    @skate.remote
    class Leaver:
        def leave(self) -> None:
            os._exit(1)

        def stay(self) -> int:
            return 1

    leaver = Leaver.remote()
    assert skate.get(leaver.stay.remote(), timeout=20) == 1
    with pytest.raises(ActorDiedError):
        skate.get(leaver.leave.remote(), timeout=20)
    with pytest.raises(ActorDiedError):
        skate.get(leaver.stay.remote(), timeout=20)
    assert_works()
