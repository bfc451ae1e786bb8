"""Actor handles that travel by every road, cancelling of what a task has started, GPUs that are shared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.exceptions import TaskCancelledError
from tests.integration.programs import wait_until


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    skate.init(num_cpus=2, num_gpus=2)
    yield
    skate.shutdown()


@skate.remote(num_cpus=0)
class Counter:
    def __init__(self) -> None:
        self.n = 0

    def add(self, k: int) -> int:
        self.n += k
        return self.n


class Holder:
    def __init__(self, actor: Any) -> None:
        self.actor = actor


def test_a_handle_travels_in_closures_attributes_containers_and_objects() -> None:
    counter = Counter.remote()

    @skate.remote
    def by_closure() -> int:
        return skate.get(counter.add.remote(1))

    @skate.remote
    def by_attribute(holder: Holder) -> int:
        return skate.get(holder.actor.add.remote(1))

    @skate.remote
    def by_container(actors: dict[str, list[Any]]) -> int:
        return skate.get(actors["all"][0].add.remote(1))

    skate.get([by_closure.remote(), by_attribute.remote(Holder(counter)), by_container.remote({"all": [counter]})], timeout=20)
    stored = skate.put([counter])
    [again] = skate.get(stored)
    assert again == counter
    assert skate.get(again.add.remote(1), timeout=20) == 4


def test_an_actor_lives_while_a_stored_value_holds_its_handle() -> None:
    stored = skate.put([Counter.remote()])
    [counter] = skate.get(stored)
    assert skate.get(counter.add.remote(5), timeout=20) == 5


@skate.remote(num_cpus=0)
def touch_later(path: str, seconds: float) -> None:
    Path(path, "child-runs").touch()
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        time.sleep(0.01)
    Path(path, "child-ended").touch()


@skate.remote
def parent(path: str, seconds: float) -> None:
    skate.get(touch_later.remote(path, seconds))


def running_tasks(name: str) -> list[Any]:
    return [row for row in skate.state.list_tasks() if row["state"] == "RUNNING" and name in row["name"]]


def test_cancel_reaches_what_the_task_has_started(tmp_path: Path) -> None:
    ref = parent.remote(str(tmp_path), 30)
    wait_until(lambda: (tmp_path / "child-runs").exists(), 20)
    skate.cancel(ref)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=20)
    wait_until(lambda: not running_tasks("touch_later"), 20)
    assert not (tmp_path / "child-ended").exists()


def test_cancel_without_recursion_leaves_the_children_alone(tmp_path: Path) -> None:
    @skate.remote
    def start_and_wait(path: str, keep: list[Any]) -> None:
        ref = touch_later.remote(path, 0.5)
        skate.get(keep[0].add.remote(1))
        skate.get(ref)

    counter = Counter.remote()
    ref = start_and_wait.remote(str(tmp_path), [counter])
    wait_until(lambda: (tmp_path / "child-runs").exists(), 20)
    skate.cancel(ref, recursive=False)
    with pytest.raises(TaskCancelledError):
        skate.get(ref, timeout=20)
    wait_until(lambda: (tmp_path / "child-ended").exists(), 20)


def test_halves_of_a_gpu_share_one_and_whole_ones_are_alone() -> None:
    @skate.remote(num_cpus=0, num_gpus=0.5)
    class Half:
        def gpus(self) -> list[Any]:
            return [int(gpu) for gpu in skate.get_gpu_ids()]

    @skate.remote(num_cpus=0, num_gpus=1)
    class Whole:
        def gpus(self) -> list[Any]:
            return [int(gpu) for gpu in skate.get_gpu_ids()]

    halves = [Half.remote(), Half.remote()]
    shared = skate.get([half.gpus.remote() for half in halves], timeout=20)
    assert shared[0] == shared[1]
    whole = Whole.remote()
    assert skate.get(whole.gpus.remote(), timeout=20) == [1 - shared[0][0]]
    waiting = Whole.remote().gpus.remote()
    assert skate.wait([waiting], timeout=0.3)[0] == []
    del halves
    assert skate.get(waiting, timeout=20) == shared[0]


def test_kill_runs_no_exit_handlers_and_the_last_handle_does(tmp_path: Path) -> None:
    @skate.remote(num_cpus=0)
    class Leaver:
        def __init__(self, path: str) -> None:
            import atexit

            atexit.register(Path(path).touch)

        def ready(self) -> bool:
            return True

    killed, released = Leaver.remote(str(tmp_path / "killed")), Leaver.remote(str(tmp_path / "released"))
    skate.get([killed.ready.remote(), released.ready.remote()], timeout=20)
    skate.kill(killed)
    del released
    wait_until(lambda: (tmp_path / "released").exists(), 20)
    assert not (tmp_path / "killed").exists()
