"""Actors."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.exceptions import ActorDiedError, RayActorError, TaskCancelledError
from tests.conformance.marks import processes_only, wait_until

pytestmark = pytest.mark.usefixtures("backend")


class Plain:
    def __init__(self, start: int = 0) -> None:
        self.n = start

    def add(self, k: int = 1) -> int:
        self.n += k
        return self.n

    def value(self) -> int:
        return self.n

    def fail(self) -> None:
        raise KeyError("inside")

    def pid(self) -> int:
        return os.getpid()


Counter: Any = skate.remote(Plain)


def test_an_actor_keeps_its_state() -> None:
    counter = Counter.remote(10)
    assert [skate.get(counter.add.remote()) for _ in range(3)] == [11, 12, 13]


def test_calls_of_one_caller_run_in_order() -> None:
    counter = Counter.remote()
    assert skate.get([counter.add.remote() for _ in range(500)]) == list(range(1, 501))


def test_order_is_kept_when_a_call_waits_for_its_argument() -> None:
    @skate.remote
    def slow_one() -> int:
        time.sleep(0.05)
        return 100

    counter = Counter.remote()
    refs = [counter.add.remote(slow_one.remote()), counter.add.remote(1)]
    assert skate.get(refs) == [100, 101]


def test_each_actor_has_its_own_state() -> None:
    a, b = Counter.remote(1), Counter.remote(2)
    a.add.remote(10)
    assert skate.get([a.value.remote(), b.value.remote()]) == [11, 2]


def test_an_error_in_a_method_leaves_the_actor_alive() -> None:
    counter = Counter.remote()
    with pytest.raises(KeyError, match="inside"):
        skate.get(counter.fail.remote())
    assert skate.get(counter.add.remote()) == 1


def test_an_error_in_the_constructor_fails_every_call() -> None:
    @skate.remote
    class Broken:
        def __init__(self) -> None:
            raise ValueError("cannot start")

        def f(self) -> None: ...

    broken: Any = Broken.remote()
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="cannot start"):
            skate.get(broken.f.remote(), timeout=60)


def test_refs_as_constructor_arguments() -> None:
    assert skate.get(Counter.remote(skate.put(5)).value.remote()) == 5


def test_methods_with_several_returns_and_generators() -> None:
    @skate.remote
    class Many:
        @skate.method(num_returns=2)
        def two(self) -> Any:
            return 1, 2

        def count(self, n: int) -> Iterator[int]:
            yield from range(n)

    many: Any = Many.remote()
    assert skate.get(many.two.remote()) == [1, 2]
    assert [skate.get(ref) for ref in many.count.remote(4)] == [0, 1, 2, 3]


def test_handles_travel() -> None:
    @skate.remote
    def grow(counter: Any, times: int) -> int:
        return max(skate.get([counter.add.remote() for _ in range(times)]))

    counter = Counter.remote()
    assert skate.get(grow.remote(counter, 5)) == 5
    stored = skate.put({"counter": counter})
    assert skate.get(skate.get(stored)["counter"].value.remote()) == 5
    assert skate.get(stored)["counter"] == counter

    @skate.remote
    def closure() -> int:
        return skate.get(counter.add.remote())

    assert skate.get(closure.remote()) == 6


def test_an_actor_that_makes_actors() -> None:
    @skate.remote
    class Parent:
        def __init__(self) -> None:
            self.child = Counter.remote(7)

        def get_child(self) -> Any:
            return self.child

    parent: Any = Parent.remote()
    assert skate.get(skate.get(parent.get_child.remote()).value.remote()) == 7


def test_built_in_methods() -> None:
    counter = Counter.remote(3)
    assert skate.get(counter.__ray_ready__.remote(), timeout=60) is not False
    assert skate.get(counter.__ray_call__.remote(lambda self, k: self.n * k, 5)) == 15


def test_static_and_class_methods_and_inheritance() -> None:
    class Base:
        def where(self) -> str:
            return "base"

    @skate.remote
    class Derived(Base):
        @staticmethod
        def fixed(x: int) -> int:
            return x + 1

        @classmethod
        def name(cls) -> str:
            return cls.__name__

    derived: Any = Derived.remote()
    assert skate.get([derived.where.remote(), derived.fixed.remote(1), derived.name.remote()]) == ["base", 2, "Derived"]


# ---------------------------------------------------------------- names


def test_a_named_actor_is_found() -> None:
    counter = Counter.options(name="by-name").remote(5)
    assert skate.get_actor("by-name") == counter
    assert skate.get(skate.get_actor("by-name").add.remote()) == 6
    assert "by-name" in skate.util.list_named_actors()
    with pytest.raises(ValueError, match="nobody"):
        skate.get_actor("nobody")


def test_a_name_can_be_taken_once() -> None:
    first = Counter.options(name="taken").remote()
    with pytest.raises(ValueError, match="taken"):
        Counter.options(name="taken").remote()
    same = Counter.options(name="taken", get_if_exists=True).remote()
    assert same == first


def test_get_if_exists_makes_it_the_first_time() -> None:
    made = [Counter.options(name="made-once", get_if_exists=True).remote(1) for _ in range(3)]
    assert skate.get([one.add.remote() for one in made]) == [2, 3, 4]


def test_namespaces_are_apart() -> None:
    here = Counter.options(name="where").remote(1)
    there = Counter.options(name="where", namespace="elsewhere").remote(2)
    assert skate.get([here.value.remote(), there.value.remote()]) == [1, 2]
    assert skate.get_actor("where", namespace="elsewhere") == there
    assert skate.get_actor("where") == here


def test_a_name_is_free_again_when_its_actor_is_gone() -> None:
    first = Counter.options(name="free-again").remote()
    skate.kill(first)

    def is_free() -> bool:
        try:
            skate.get_actor("free-again")
        except ValueError:
            return True
        return False

    wait_until(is_free)
    assert skate.get(Counter.options(name="free-again").remote(9).value.remote()) == 9


# ---------------------------------------------------------------- the end of an actor


def test_kill_fails_calls() -> None:
    counter = Counter.remote()
    assert skate.get(counter.add.remote()) == 1
    skate.kill(counter)
    with pytest.raises(RayActorError):
        skate.get(counter.add.remote(), timeout=60)


def test_exit_actor_ends_it_on_purpose() -> None:
    @skate.remote(max_restarts=3)
    class Leaver:
        def leave(self) -> None:
            skate.actor.exit_actor()

        def f(self) -> int:
            return 1

    leaver: Any = Leaver.remote()
    with pytest.raises(RayActorError):
        skate.get(leaver.leave.remote(), timeout=60)
    with pytest.raises(RayActorError):
        skate.get(leaver.f.remote(), timeout=60)
    with pytest.raises(TypeError, match="actor"):
        skate.actor.exit_actor()


def test_terminate_lets_earlier_calls_finish() -> None:
    counter = Counter.remote()
    earlier = [counter.add.remote() for _ in range(20)]
    skate.get(counter.__ray_terminate__.remote(), timeout=60)
    assert skate.get(earlier) == list(range(1, 21))
    with pytest.raises(RayActorError):
        skate.get(counter.add.remote(), timeout=60)


@processes_only
def test_calls_are_finished_after_the_last_handle_went(tmp_path: Path) -> None:
    @skate.remote
    class Writer:
        def __init__(self, log: Path) -> None:
            import atexit

            self.log = log
            atexit.register(lambda: log.with_suffix(".exit").touch())

        def write(self, text: str) -> int:
            with self.log.open("a") as file:
                file.write(text)
            return os.getpid()

    writer: Any = Writer.remote(tmp_path / "log")
    refs = [writer.write.remote("x") for _ in range(20)]
    del writer
    pid = skate.get(refs, timeout=60)[-1]
    assert (tmp_path / "log").read_text() == "x" * 20
    wait_until(lambda: (tmp_path / "log.exit").exists() and not Path(f"/proc/{pid}").exists())


@processes_only
def test_an_actor_restarts_as_often_as_it_may() -> None:
    counter = Counter.options(max_restarts=1).remote(5)
    first = skate.get(counter.pid.remote())
    counter.add.remote()
    os.kill(first, 9)
    wait_until(lambda: _alive_pid(counter) not in (None, first))
    assert skate.get(counter.value.remote(), timeout=60) == 5, "the constructor ran again"
    os.kill(skate.get(counter.pid.remote()), 9)
    with pytest.raises(ActorDiedError):
        while True:
            _ = skate.get(counter.value.remote(), timeout=60) if _alive_pid(counter) is None else time.sleep(0.002)


def _alive_pid(counter: Any) -> int | None:
    try:
        pid: int = skate.get(counter.pid.remote(), timeout=60)
    except skate.exceptions.ActorUnavailableError:
        return None
    return pid


@processes_only
def test_kill_with_restart() -> None:
    counter = Counter.options(max_restarts=1).remote(5)
    first = skate.get(counter.pid.remote())
    skate.kill(counter, no_restart=False)
    wait_until(lambda: _alive_pid(counter) not in (None, first))


@processes_only
def test_calls_are_tried_again_when_asked(tmp_path: Path) -> None:
    @skate.remote(max_restarts=1, max_task_retries=1)
    class DiesOnce:
        def work(self, log: Path) -> str:
            if not log.exists():
                log.touch()
                os.kill(os.getpid(), 9)
            return "done"

    actor: Any = DiesOnce.remote()
    assert skate.get(actor.work.remote(tmp_path / "log"), timeout=60) == "done"


# ---------------------------------------------------------------- concurrency


def test_an_async_actor_runs_calls_together() -> None:
    @skate.remote
    class Rendezvous:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        async def wait(self) -> str:
            await self.event.wait()
            return "met"

        async def release(self) -> None:
            self.event.set()

    meeting: Any = Rendezvous.remote()
    waiting = meeting.wait.remote()
    skate.get(meeting.release.remote(), timeout=60)
    assert skate.get(waiting, timeout=60) == "met"


def test_an_async_actor_awaits_refs_and_yields() -> None:
    @skate.remote
    def square(x: int) -> int:
        return x * x

    @skate.remote
    class Async:
        async def sum(self, refs: list[Any]) -> int:
            return sum([await ref for ref in refs])

        async def count(self, n: int) -> AsyncIterator[int]:
            for i in range(n):
                await asyncio.sleep(0)
                yield i

    actor: Any = Async.remote()
    assert skate.get(actor.sum.remote([square.remote(2), square.remote(3)]), timeout=60) == 13
    assert [skate.get(ref) for ref in actor.count.remote(3)] == [0, 1, 2]


@processes_only
def test_a_threaded_actor_runs_calls_together() -> None:
    @skate.remote(max_concurrency=2)
    class Threads:
        def __init__(self) -> None:
            self.barrier = threading.Barrier(2)

        def meet(self) -> int:
            return self.barrier.wait(timeout=60)

    threads: Any = Threads.remote()
    assert sorted(skate.get([threads.meet.remote(), threads.meet.remote()], timeout=30)) == [0, 1]


@processes_only
def test_concurrency_groups_do_not_wait_for_each_other() -> None:
    @skate.remote(concurrency_groups={"io": 1})
    class Grouped:
        def __init__(self) -> None:
            self.event = threading.Event()

        @skate.method(concurrency_group="io")
        def wait(self) -> bool:
            return self.event.wait(timeout=60)

        def release(self) -> None:
            self.event.set()

    grouped: Any = Grouped.remote()
    waiting = grouped.wait.remote()
    skate.get(grouped.release.remote(), timeout=60)
    assert skate.get(waiting, timeout=60) is True


@processes_only
def test_max_pending_calls() -> None:
    @skate.remote(max_pending_calls=3)
    class Slow:
        def __init__(self) -> None:
            self.event = threading.Event()

        def sleep(self, until: str) -> None:
            wait_until(Path(until).exists)

    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        slow: Any = Slow.remote()
        refs = [slow.sleep.remote(f"{directory}/go") for _ in range(3)]
        with pytest.raises(skate.exceptions.PendingCallsLimitExceeded, match="3"):
            slow.sleep.remote(f"{directory}/go")
        Path(f"{directory}/go").touch()
        skate.get(refs, timeout=60)
        skate.get(slow.sleep.remote(f"{directory}/go"), timeout=60)


# ---------------------------------------------------------------- cancelling


@processes_only
def test_cancelling_an_async_call() -> None:
    @skate.remote
    class Sleeper:
        def __init__(self) -> None:
            self.seen = ""
            self.is_asleep = asyncio.Event()

        async def sleep(self) -> None:
            self.is_asleep.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.seen = "cancelled"
                raise

        async def wait_until_asleep(self) -> None:
            await self.is_asleep.wait()

        async def what(self) -> str:
            return self.seen

    sleeper: Any = Sleeper.remote()
    ref = sleeper.sleep.remote()
    skate.get(sleeper.wait_until_asleep.remote(), timeout=60)
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=60)
    assert skate.get(sleeper.what.remote(), timeout=60) == "cancelled"


@processes_only
def test_a_sync_call_sees_that_it_is_cancelled(tmp_path: Path) -> None:
    @skate.remote
    class Looker:
        def look(self, started: Path) -> str:
            started.touch()
            wait_until(skate.get_runtime_context().is_canceled)
            return "saw it"

        def f(self) -> int:
            return 1

    looker: Any = Looker.remote()
    ref = looker.look.remote(tmp_path / "started")
    wait_until((tmp_path / "started").exists)
    with pytest.raises(ValueError, match="force"):
        skate.cancel(ref, force=True)
    skate.cancel(ref)
    assert skate.get(ref, timeout=60) == "saw it", "how it ends is the method's own decision"
    assert skate.get(looker.f.remote(), timeout=60) == 1


@processes_only
def test_a_cancelled_call_that_waits_never_runs(tmp_path: Path) -> None:
    @skate.remote
    class Busy:
        def hold(self, until: Path) -> None:
            wait_until(until.exists)

        def mark(self, path: Path) -> None:
            path.touch()

    busy: Any = Busy.remote()
    holding = busy.hold.remote(tmp_path / "go")
    waiting = busy.mark.remote(tmp_path / "ran")
    skate.cancel(waiting)
    (tmp_path / "go").touch()
    skate.get(holding, timeout=60)
    with pytest.raises(TaskCancelledError):
        skate.get(waiting, timeout=60)
    assert skate.get(busy.mark.remote(tmp_path / "after"), timeout=60) is None
    assert not (tmp_path / "ran").exists()
