"""Workers killed at every awkward moment: nothing hangs, what can be had is had, what can't says why."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import skate
from skate.exceptions import ActorDiedError, ObjectLostError, OwnerDiedError, RayActorError, WorkerCrashedError
from skate.state import list_objects
from tests.integration.programs import wait_until


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    skate.init(num_cpus=2)
    yield
    skate.shutdown()


@skate.remote
def pid() -> int:
    return os.getpid()


@skate.remote(max_restarts=-1, max_task_retries=-1)
class Durable:
    def __init__(self) -> None:
        self.calls = 0

    def pid(self) -> int:
        return os.getpid()

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def sleep(self, seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_an_idle_worker_that_is_killed_is_replaced() -> None:
    victim = skate.get(pid.remote(), timeout=20)
    os.kill(victim, signal.SIGKILL)
    assert skate.get(pid.remote(), timeout=20) != victim


def test_a_worker_killed_while_running_has_its_task_run_again(tmp_path: Path) -> None:
    @skate.remote(max_retries=1)
    def run(path: str) -> int:
        attempts = os.listdir(path)
        open(f"{path}/{os.getpid()}", "w").close()
        if not attempts:
            time.sleep(60)
        return len(attempts)

    ref = run.remote(str(tmp_path))
    wait_until(lambda: os.listdir(tmp_path), 20)
    os.kill(int(os.listdir(tmp_path)[0]), signal.SIGKILL)
    started = time.monotonic()
    assert skate.get(ref, timeout=20) == 1
    assert time.monotonic() - started < 2


def test_without_retries_the_error_names_task_worker_and_signal(tmp_path: Path) -> None:
    @skate.remote(max_retries=0)
    def doomed() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError, match=r"(?s)doomed.*SIGKILL"):
        skate.get(doomed.remote(), timeout=20)


def test_a_worker_killed_while_it_writes_its_result_gives_its_room_back() -> None:
    @skate.remote(max_retries=0)
    def die_while_pickling() -> object:
        class Deadly:
            def __reduce__(self) -> tuple[object, ...]:
                os.kill(os.getpid(), signal.SIGKILL)
                return (int, ())

        return [np.ones(3_000_000), Deadly()]

    with pytest.raises(WorkerCrashedError):
        skate.get(die_while_pickling.remote(), timeout=20)
    wait_until(lambda: all(row["state"] == "SEALED" for row in list_objects()))


def test_a_worker_killed_with_mapped_arguments_lets_them_go() -> None:
    array = np.arange(5_000_000)
    ref = skate.put(array)

    @skate.remote(max_retries=0)
    def hold(values: np.ndarray) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return int(values[-1])

    with pytest.raises(WorkerCrashedError):
        skate.get(hold.remote(ref), timeout=20)
    assert (skate.get(ref, timeout=20) == array).all()


def test_an_actor_killed_with_calls_queued_is_restarted_and_answers_them_all() -> None:
    actor = Durable.remote()
    victim = skate.get(actor.pid.remote(), timeout=20)
    slow = actor.sleep.remote(0.3)
    counts = [actor.count.remote() for _ in range(50)]
    os.kill(victim, signal.SIGKILL)
    assert skate.get(counts, timeout=20) == list(range(1, 51))
    assert skate.get(slow, timeout=20) != victim


def test_an_actor_without_restarts_fails_its_queued_calls() -> None:
    actor = Durable.options(max_restarts=0, max_task_retries=0).remote()
    victim = skate.get(actor.pid.remote(), timeout=20)
    pending = [actor.sleep.remote(30), actor.count.remote()]
    os.kill(victim, signal.SIGKILL)
    for ref in pending:
        with pytest.raises(RayActorError):
            skate.get(ref, timeout=20)
    with pytest.raises(ActorDiedError, match="SIGKILL"):
        skate.get(actor.count.remote(), timeout=20)


def test_what_a_dead_worker_owned_is_reported_as_lost() -> None:
    @skate.remote
    class Owner:
        def make(self) -> list[object]:
            @skate.remote
            def slow() -> int:
                time.sleep(60)
                return 1

            return [slow.remote()]

        def pid(self) -> int:
            return os.getpid()

    owner = Owner.remote()
    [ref] = skate.get(owner.make.remote(), timeout=20)
    os.kill(skate.get(owner.pid.remote(), timeout=20), signal.SIGKILL)
    with pytest.raises((OwnerDiedError, ObjectLostError)):
        skate.get(ref, timeout=20)


def test_an_actor_dies_with_the_worker_that_made_it() -> None:
    @skate.remote
    class Parent:
        def __init__(self) -> None:
            self.child = Durable.remote()

        def child_pid(self) -> int:
            return skate.get(self.child.pid.remote())

        def pid(self) -> int:
            return os.getpid()

    parent = Parent.remote()
    child = skate.get(parent.child_pid.remote(), timeout=20)
    os.kill(skate.get(parent.pid.remote(), timeout=20), signal.SIGKILL)
    wait_until(lambda: not is_alive(child), 5)


def test_processes_a_killed_worker_started_die_with_it(tmp_path: Path) -> None:
    @skate.remote(max_retries=0)
    def spawn(path: str) -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "60"])
        Path(path, "child").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError):
        skate.get(spawn.remote(str(tmp_path)), timeout=20)
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not is_alive(child), 5)


def test_resources_come_back_after_deaths() -> None:
    wait_until(lambda: skate.available_resources().get("CPU") == 2.0, 10, str(skate.available_resources()))
