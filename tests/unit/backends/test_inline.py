"""What is the inline backend's own: everything happens here and now. (What all backends promise stands in tests/conformance.)"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import skate
from skate import exceptions as x


@pytest.fixture(autouse=True)
def session() -> Iterator[None]:
    with skate.init(address="inline", num_cpus=4, num_gpus=1):
        yield


def test_a_task_runs_when_it_is_submitted_in_this_thread() -> None:
    ran: list[int] = []

    @skate.remote
    def note() -> int:
        _ran().append(threading.get_ident())
        return os.getpid()

    _ran.target = ran  # type: ignore[attr-defined]
    ref = note.remote()
    assert ran == [threading.get_ident()]
    assert skate.get(ref) == os.getpid()


def _ran() -> list[int]:
    return _ran.target  # type: ignore[attr-defined,no-any-return]


def test_errors_wait_for_get() -> None:
    @skate.remote
    def fail() -> None:
        raise ValueError("bad")

    ref = fail.remote()
    with pytest.raises(ValueError, match="bad") as caught:
        skate.get(ref)
    assert isinstance(caught.value, x.RayTaskError)
    assert "task fail" in str(caught.value)


def test_the_keyboard_and_the_debugger_are_obeyed_at_once() -> None:
    @skate.remote
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.remote()


def test_sys_exit_in_a_task_is_an_error_of_the_task() -> None:
    with pytest.raises(x.WorkerCrashedError, match=r"sys\.exit\(3\)"):
        skate.get(skate.remote(lambda: exit(3)).remote())


def test_arguments_are_copies() -> None:
    @skate.remote
    def spoil(values: list[int]) -> None:
        values.clear()

    values = [1]
    skate.get(spoil.remote(values))
    assert values == [1]


def test_a_failed_argument_says_who_was_not_run() -> None:
    @skate.remote
    def fail() -> int:
        raise KeyError("b")

    @skate.remote
    def train(x: Any) -> Any:
        return x

    with pytest.raises(KeyError) as caught:
        skate.get(train.remote(fail.remote()))
    assert caught.value.__notes__ == ["train() was never run: its argument failed"]


def test_a_generator_takes_a_step_for_each_item() -> None:
    steps: list[int] = []
    _ran.target = steps  # type: ignore[attr-defined]

    @skate.remote
    def count() -> Any:
        for i in range(3):
            _ran().append(i)
            yield i

    items = count.remote()
    assert steps == []
    assert skate.get(next(items)) == 0
    assert steps == [0]
    assert [skate.get(ref) for ref in items] == [1, 2]


def test_objects_go_when_nobody_refers_to_them() -> None:
    backend: Any = skate.backends.current.active()
    before = len(backend.objects.describe())
    outer = skate.put([skate.put(1), skate.put(2)])
    gc.collect()
    skate.put(0)
    assert len(backend.objects.describe()) == before + 4, "what is inside is held"
    del outer
    gc.collect()
    for _ in range(2):  # The outer one first, then what it held.
        backend.objects.collect()
    assert len(backend.objects.describe()) <= before + 1


def test_an_actor_goes_with_its_last_handle() -> None:
    @skate.remote
    class Actor:
        def f(self) -> int:
            return 1

    actor: Any = Actor.remote()  # type: ignore[attr-defined]
    held = skate.put({"handle": actor})
    assert skate.get(actor.f.remote()) == 1
    del actor
    gc.collect()
    again = skate.get(held)["handle"]
    assert skate.get(again.f.remote()) == 1
    del again, held
    gc.collect()
    skate.put(0)
    assert skate.state.list_actors(filters=[("state", "=", "ALIVE")]) == []


def test_what_is_held_is_taken_off_the_available_resources() -> None:
    @skate.remote(num_cpus=1, num_gpus=1)
    class Holder:
        def f(self) -> int:
            return 1

    holder: Any = Holder.remote()  # type: ignore[attr-defined]
    assert skate.available_resources()["CPU"] == 3
    skate.kill(holder)
    assert skate.available_resources()["CPU"] == 4
    assert skate.get(skate.remote(lambda: skate.available_resources()["CPU"]).remote()) == 3


def test_kill_with_restart_runs_the_constructor_again() -> None:
    @skate.remote(max_restarts=1)
    class Actor:
        def __init__(self) -> None:
            self.n = 0

        def add(self) -> int:
            self.n += 1
            return self.n

    actor: Any = Actor.remote()  # type: ignore[attr-defined]
    assert skate.get([actor.add.remote(), actor.add.remote()]) == [1, 2]
    skate.kill(actor, no_restart=False)
    assert skate.get(actor.add.remote()) == 1
    skate.kill(actor, no_restart=False)
    with pytest.raises(x.ActorDiedError):
        skate.get(actor.add.remote())


def test_threads_of_async_actors_end_with_the_session() -> None:
    @skate.remote
    class Async:
        async def f(self) -> str:
            return threading.current_thread().name

    actor: Any = Async.remote()  # type: ignore[attr-defined]
    name = skate.get(actor.f.remote(), timeout=10)
    assert name.startswith("skate-inline-")
    skate.shutdown()
    assert name not in [thread.name for thread in threading.enumerate()]


def test_state_is_there_to_be_looked_at() -> None:
    skate.get(skate.remote(lambda: 1).options(name="looked-at").remote())
    [row] = [row for row in skate.state.list_tasks() if row["name"] == "looked-at"]
    assert row["state"] == "FINISHED"
    assert skate.state.list_nodes()[0]["state"] == "ALIVE"


def test_refs_of_an_ended_session_are_refused() -> None:
    ref = skate.put(1)
    skate.shutdown()
    skate.init(address="inline")
    with pytest.raises(ValueError, match="session that has ended"):
        skate.get(ref)
