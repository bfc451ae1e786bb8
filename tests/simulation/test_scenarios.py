"""Stories with processes that die at the worst moment, told to the very scheduler that ships."""

from __future__ import annotations

import pytest

from skate.engine.spec import messages as m
from skate.testing import SimulationError, Simulator


def test_task_reruns_when_its_worker_dies(simulator: Simulator) -> None:
    task = simulator.submit("train_shard", max_retries=1, duration_s=1)
    simulator.run_until(task.is_running)

    simulator.kill(task.worker)

    assert simulator.run_to_completion(task).attempts == 2
    assert task.state == "done"


def test_a_task_that_has_no_retry_left_fails_with_the_reason(simulator: Simulator) -> None:
    task = simulator.submit("train_shard", max_retries=0, duration_s=1)
    simulator.run_until(task.is_running)

    simulator.kill(task.worker)
    simulator.run_to_completion(task)

    assert isinstance(task.error, m.LeaseLost)
    assert "SIGKILL" in task.error.detail


def test_tasks_nested_a_hundred_deep_finish_on_two_cpus(simulator: Simulator) -> None:
    children: list[dict[str, object]] = []
    for _ in range(100):
        children = [{"children": children, "duration_s": 0.0001}]
    task = simulator.submit("nested", children=children)

    simulator.run_to_completion(task)

    assert task.state == "done"
    assert task.done_s < 10


def test_short_tasks_do_not_wait_behind_a_long_one(simulator: Simulator) -> None:
    simulator.submit("long", duration_s=10)
    short = [simulator.submit("short", duration_s=0.0001) for _ in range(1000)]

    for task in short:
        simulator.run_to_completion(task)

    assert simulator.now_s < 2


def test_two_drivers_get_about_the_same(simulator: Simulator) -> None:
    other = simulator.join()
    mine = [simulator.submit("mine", duration_s=0.01) for _ in range(400)]
    theirs = [other.submit("theirs", duration_s=0.01) for _ in range(400)]

    simulator.run_until(lambda: sum(task.state == "done" for task in mine + theirs) >= 400)

    shares = [sum(task.state == "done" for task in tasks) for tasks in (mine, theirs)]
    assert min(shares) > 150, shares


def test_a_latecomer_is_served_within_a_task_and_a_turn(simulator: Simulator) -> None:
    for _ in range(1000):
        simulator.submit("many", duration_s=0.02)
    simulator.run_for(1)

    late = simulator.join().submit("late", duration_s=0.001)
    started_s = simulator.now_s
    simulator.run_to_completion(late)

    assert simulator.now_s - started_s < 0.05


def test_a_latecomer_does_not_wait_for_a_long_task_while_short_ones_come_and_go(simulator: Simulator) -> None:
    simulator.submit("long", duration_s=600)
    simulator.run_for(0.1)
    for _ in range(400):
        simulator.submit("short", duration_s=0.01)
    simulator.run_for(1)

    late = simulator.join().submit("late", duration_s=0.001)
    started_s = simulator.now_s
    simulator.run_to_completion(late)

    assert simulator.now_s - started_s < 0.1


def test_a_large_task_is_not_starved_by_small_ones(simulator: Simulator) -> None:
    for _ in range(800):
        simulator.submit("small", duration_s=0.01)
    simulator.run_for(0.5)

    large = simulator.join().submit("large", resources={"CPU": 2})
    started_s = simulator.now_s
    simulator.run_to_completion(large)

    assert simulator.now_s - started_s < 0.2


def test_an_actor_survives_as_many_deaths_as_it_may(simulator: Simulator) -> None:
    actor = simulator.create_actor(max_restarts=2)
    for incarnation in range(3):
        simulator.run_until(actor.is_alive)
        assert actor.incarnation == incarnation
        simulator.kill(actor.worker)
        simulator.run_until(lambda: not actor.is_alive())

    simulator.run_until(actor.is_dead)
    assert actor.death is not None
    assert actor.death.kind == "died"


def test_a_constructor_that_crashes_uses_up_the_restarts(simulator: Simulator) -> None:
    actor = simulator.create_actor(max_restarts=10, constructor="crashes")

    simulator.run_until(actor.is_dead)

    assert actor.incarnation == 10


def test_everything_of_a_killed_driver_ends_and_is_free_again(simulator: Simulator) -> None:
    for _ in range(20):
        simulator.submit("task", duration_s=5, children=[{"duration_s": 5}] * 2)
        simulator.create_actor()
    simulator.run_for(3)

    simulator.kill(simulator.driver)
    started_s = simulator.now_s
    simulator.run_until(lambda: not simulator.processes)

    assert simulator.now_s - started_s < 0.1
    assert simulator.scheduler.describe("resources")["available"] == {"CPU": 20_000}  # type: ignore[call-overload]


def test_two_gpus_are_never_used_twice() -> None:
    simulator = Simulator(3, num_cpus=8, num_gpus=2)
    tasks = [simulator.submit("train", resources={"GPU": 1}, retires=True) for _ in range(50)]

    def is_exclusive() -> bool:
        used = [gpu for task in tasks if task.is_running() for gpu in task.gpu_ids]
        assert len(used) == len(set(used)), used
        return all(task.is_settled() for task in tasks)

    simulator.run_until(is_exclusive)


def test_an_environment_that_cannot_be_built_fails_its_tasks_and_no_others(simulator: Simulator) -> None:
    simulator.bad_envs = {'{"pip": ["nonsense"]}'}
    bad, good = simulator.submit("bad", env='{"pip": ["nonsense"]}'), simulator.submit("good", env='{"pip": ["numpy"]}')

    assert simulator.run_to_completion(bad).state == "failed"
    assert simulator.run_to_completion(good).state == "done"


def test_workers_that_never_start_do_not_spin() -> None:
    simulator = Simulator(failed_starts=1.0)
    task = simulator.submit("task")

    simulator.run_to_completion(task)

    assert isinstance(task.error, m.LeaseRejected)
    assert task.error.kind == "env"
    assert simulator.events_handled < 30


def test_a_failure_names_its_seed_and_how_to_replay_it() -> None:
    simulator = Simulator(42)
    task = simulator.submit("impossible", resources={"CPU": 100})

    with pytest.raises(SimulationError, match=r"(?s)seed 42.*python -m skate\.testing\.random_program --seed 42"):
        simulator.run_until(task.is_settled)
