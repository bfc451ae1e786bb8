"""Tasks."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.exceptions import RayTaskError, TaskCancelledError, WorkerCrashedError
from tests.conformance.marks import processes_only, wait_until

pytestmark = pytest.mark.usefixtures("backend")


@skate.remote
def square(x: int) -> int:
    return x * x


@skate.remote
def add(a: Any, b: Any = 0, *more: Any, scale: int = 1) -> Any:
    return (a + b + sum(more)) * scale


@skate.remote
def fibonacci(n: int) -> int:
    return n if n < 2 else sum(skate.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))


def test_a_task_gives_its_result() -> None:
    assert skate.get(square.remote(3)) == 9


def test_results_come_in_the_order_of_the_refs() -> None:
    assert skate.get([square.remote(i) for i in range(200)]) == [i * i for i in range(200)]


def test_arguments_of_all_kinds() -> None:
    assert skate.get(add.remote(1)) == 1
    assert skate.get(add.remote(1, 2, 3, 4, scale=2)) == 20
    assert skate.get(add.remote(b=1, a=2)) == 3


def test_refs_as_arguments_are_resolved() -> None:
    assert skate.get(add.remote(square.remote(2), b=square.remote(3))) == 13


def test_refs_inside_arguments_stay_refs() -> None:
    @skate.remote
    def kinds(direct: Any, nested: Any) -> list[str]:
        return [type(direct).__name__, type(nested[0]).__name__, str(skate.get(nested[0]))]

    assert skate.get(kinds.remote(square.remote(2), [square.remote(3)])) == ["int", "ObjectRef", "9"]


def test_arguments_are_captured_at_the_call() -> None:
    values = [1, 2]
    ref = add.remote(square.remote(0), square.remote(0))
    held = skate.remote(lambda x: x).remote(values)
    values.append(3)
    assert skate.get(held) == [1, 2]
    assert skate.get(ref) == 0


def test_a_long_chain() -> None:
    ref = square.remote(1)
    for _ in range(100):
        ref = add.remote(ref, 1)
    assert skate.get(ref) == 101


def test_tasks_start_tasks() -> None:
    assert skate.get(fibonacci.remote(7)) == 13


def test_closures_lambdas_and_partials() -> None:
    factor = 3

    @skate.remote
    def scaled(x: int) -> int:
        return factor * x

    assert skate.get(scaled.remote(2)) == 6
    assert skate.get(skate.remote(lambda x: x + factor).remote(1)) == 4
    assert skate.get(skate.remote(functools.partial(pow, 2)).remote(5)) == 32


def test_several_returns() -> None:
    @skate.remote(num_returns=3)
    def three() -> Any:
        return 1, "two", [3]

    refs = three.remote()
    assert len(refs) == 3
    assert skate.get(refs) == [1, "two", [3]]
    assert three.options(num_returns=0).remote() is None
    assert skate.get(three.options(num_returns=1).remote()) == (1, "two", [3])


def test_a_wrong_number_of_returns_is_an_error_of_every_ref() -> None:
    @skate.remote(num_returns=3)
    def two() -> Any:
        return 1, 2

    for ref in two.remote():
        with pytest.raises(ValueError, match="3"):
            skate.get(ref)


def test_none_and_empty_results() -> None:
    for value in (None, [], "", b"", {}):
        assert skate.get(skate.remote(lambda v: v).remote(value)) == value


def test_a_failure_is_raised_by_get_as_its_own_kind() -> None:
    @skate.remote
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError) as caught:
        skate.get(fail.remote())
    assert isinstance(caught.value, RayTaskError)
    assert isinstance(caught.value.cause, KeyError)
    assert "fail" in str(caught.value)
    assert "lost" in str(caught.value)


def test_a_failed_argument_fails_the_task() -> None:
    @skate.remote
    def fail() -> int:
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError):
        skate.get(add.remote(1, fail.remote()))


def test_get_raises_the_first_error_in_the_order_of_refs() -> None:
    @skate.remote
    def fail(kind: type[Exception]) -> None:
        raise kind("x")

    refs = [square.remote(1), fail.remote(IndexError), fail.remote(OSError)]
    skate.wait(refs, num_returns=3)
    with pytest.raises(IndexError):
        skate.get(refs)


def test_get_does_not_wait_for_the_rest_after_an_error() -> None:
    @skate.remote
    def fail() -> None:
        raise IndexError("x")

    @skate.remote
    def wait_for(ref: list[Any]) -> None:
        skate.wait(ref, timeout=30)

    failed = fail.remote()
    skate.wait([failed])
    with pytest.raises(IndexError):
        skate.get([failed, wait_for.remote([failed])], timeout=60)


def test_an_exception_that_cannot_be_pickled_keeps_its_text() -> None:
    @skate.remote
    def fail() -> None:
        class Odd(Exception):
            def __reduce__(self) -> Any:
                raise TypeError("not me")

        raise Odd("strange thing")

    with pytest.raises(RayTaskError, match="strange thing"):
        skate.get(fail.remote())


def test_application_errors_are_retried_when_asked(tmp_path: Path) -> None:
    @skate.remote(retry_exceptions=[OSError], max_retries=3)
    def flaky(log: Path, fails: int, kind: type[Exception]) -> int:
        with log.open("a") as file:
            file.write("x")
        tries = len(log.read_text())
        if tries <= fails:
            raise kind("again")
        return tries

    assert skate.get(flaky.remote(tmp_path / "a", 2, OSError)) == 3
    with pytest.raises(ValueError):
        skate.get(flaky.remote(tmp_path / "b", 2, ValueError))
    assert (tmp_path / "b").read_text() == "x"
    with pytest.raises(OSError, match="again"):
        skate.get(flaky.remote(tmp_path / "c", 9, OSError))
    assert (tmp_path / "c").read_text() == "xxxx"


def test_names_of_calls() -> None:
    @skate.remote
    def own_name() -> Any:
        return skate.get_runtime_context().get_task_name()

    assert skate.get(own_name.remote()).endswith("own_name")
    assert skate.get(own_name.options(name="other").remote()) == "other"


def test_awaiting_a_ref() -> None:
    import asyncio

    async def both() -> Any:
        return await asyncio.gather(square.remote(2), square.remote(3))

    assert asyncio.run(both()) == [4, 9]
    assert square.remote(4).future().result(timeout=60) == 16


@processes_only
def test_tasks_run_in_other_processes_and_at_the_same_time() -> None:
    @skate.remote
    def meet(mine: str, other: str) -> int:
        Path(mine).touch()
        deadline_s = time.monotonic() + 20
        while not Path(other).exists():
            assert time.monotonic() < deadline_s, "the other task did not run meanwhile"
            time.sleep(0.001)
        return os.getpid()

    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        a, b = f"{directory}/a", f"{directory}/b"
        pids = skate.get([meet.remote(a, b), meet.remote(b, a)])
    assert len({*pids, os.getpid()}) == 3


@processes_only
def test_a_lost_worker_is_replaced_and_the_task_runs_again(tmp_path: Path) -> None:
    @skate.remote
    def dies_once(log: Path) -> str:
        if not log.exists():
            log.touch()
            os.kill(os.getpid(), 9)
        return "done"

    assert skate.get(dies_once.remote(tmp_path / "log"), timeout=60) == "done"

    @skate.remote(max_retries=0)
    def dies() -> None:
        os.kill(os.getpid(), 9)

    with pytest.raises(WorkerCrashedError, match="dies"):
        skate.get(dies.remote(), timeout=60)


@processes_only
def test_max_calls_gives_a_fresh_process() -> None:
    @skate.remote(max_calls=1)
    def pid() -> int:
        return os.getpid()

    assert len({skate.get(pid.remote()) for _ in range(3)}) == 3


@processes_only
def test_waiting_tasks_give_their_cpu_back() -> None:
    @skate.remote
    def nested(depth: int) -> int:
        return 0 if depth == 0 else 1 + skate.get(nested.remote(depth - 1))

    assert skate.get(nested.remote(6), timeout=90) == 6  # There are 4 CPUs.


@processes_only
def test_env_vars_reach_the_task_and_leak_nowhere() -> None:
    @skate.remote
    def variable() -> str | None:
        return os.environ.get("SKATE_TEST_VARIABLE")

    with_it = variable.options(runtime_env={"env_vars": {"SKATE_TEST_VARIABLE": "here"}})
    assert skate.get([with_it.remote(), variable.remote()]) == ["here", None]


@processes_only
def test_a_cancelled_task_that_waits_never_runs(tmp_path: Path) -> None:
    @skate.remote(resources={"license": 2})
    def hold(until: Path) -> None:
        while not until.exists():
            time.sleep(0.002)

    @skate.remote(resources={"license": 2})
    def mark(path: Path) -> None:
        path.touch()

    blocker = hold.remote(tmp_path / "go")
    waiting = mark.remote(tmp_path / "ran")
    skate.cancel(waiting)
    with pytest.raises(TaskCancelledError):
        skate.get(waiting, timeout=60)
    (tmp_path / "go").touch()
    skate.get(blocker, timeout=60)
    assert not (tmp_path / "ran").exists()


@processes_only
def test_a_running_task_is_interrupted(tmp_path: Path) -> None:
    @skate.remote
    def sleep(started: Path) -> None:
        started.touch()
        time.sleep(60)

    ref = sleep.remote(tmp_path / "started")
    wait_until((tmp_path / "started").exists)
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=60)
    assert skate.get(square.remote(2)) == 4


@processes_only
def test_force_kills_the_worker(tmp_path: Path) -> None:
    @skate.remote
    def stubborn(started: Path) -> None:
        while True:
            try:
                started.touch()
                time.sleep(60)
            except KeyboardInterrupt:
                pass

    ref = stubborn.remote(tmp_path / "started")
    wait_until((tmp_path / "started").exists)
    skate.cancel(ref, force=True)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        skate.get(ref, timeout=60)


def test_cancelling_what_is_finished_does_nothing() -> None:
    ref = square.remote(3)
    assert skate.get(ref) == 9
    skate.cancel(ref)
    skate.cancel(ref, force=True)
    assert skate.get(ref) == 9
