"""Claims about worker processes and environments: starting, idling, failing, ending."""

from __future__ import annotations

from skate.engine.spec import events as e, messages as m
from tests.unit.engine.scheduler.rig import Rig

_PIP = '{"pip": ["numpy"]}'


def test_idle_workers_beyond_the_number_kept_end_after_the_timeout(rig: Rig) -> None:
    driver = rig.driver()
    grants = [rig.lease(driver, {"CPU": 0.5}) for _ in range(4)]
    for grant in grants:
        rig.give_back(grant)

    assert not rig.wait(4.9)
    rig.wait(0.2)

    assert [stop.worker for stop in rig.all(e.StopWorker)] == [grant.worker for grant in grants[:2]]
    assert {stop.how for stop in rig.all(e.StopWorker)} == {"graceful"}


def test_an_idle_worker_that_owns_an_actor_is_not_ended(rig: Rig) -> None:
    driver = rig.driver()
    grants = [rig.lease(driver, {"CPU": 0.5}) for _ in range(4)]
    for grant in grants:
        rig.create(grant.worker, placement_resources={})
        rig.give_back(grant)

    rig.wait(60)

    assert not rig.all(e.StopWorker)


def test_an_idle_machine_asks_for_no_ticks(rig: Rig) -> None:
    driver = rig.driver()
    grants = [rig.lease(driver), rig.lease(driver)]
    for grant in grants:
        rig.give_back(grant)
    rig.wait(60)

    assert rig.scheduler.next_deadline_s() is None


def test_a_plain_environment_needs_no_preparation(rig: Rig) -> None:
    assert rig.lease(rig.driver(), env='{"env_vars": {"pip": "x"}}')


def test_an_environment_with_packages_is_prepared_once_before_workers_start(rig: Rig) -> None:
    driver = rig.driver()
    rig.request(driver, env=_PIP)
    assert [type(command) for command in rig.commands] == [e.PrepareEnv]
    rig.request(driver, env=_PIP)
    assert rig.commands == []

    rig.tell(0, e.EnvReady(_PIP))

    assert len(rig.all(e.Grant)) == 2
    assert rig.lease(driver, {"CPU": 0}, env=_PIP)


def test_a_failed_preparation_fails_those_who_wait_and_is_tried_anew(rig: Rig) -> None:
    driver = rig.driver()
    rig.request(driver, env=_PIP)

    rig.tell(0, e.EnvFailed(_PIP, "no such package"))
    assert (rig.one(m.LeaseRejected).kind, rig.one(m.LeaseRejected).error) == ("env", "no such package")

    rig.request(driver, env=_PIP)
    assert rig.one(e.PrepareEnv)


def test_workers_that_never_come_up_fail_their_environment_after_three(rig: Rig) -> None:
    driver = rig.driver()
    rig.request(driver, {"CPU": 2})
    rig.request(driver, {"CPU": 2})
    for _ in range(2):
        rig.die(next(iter(rig.scheduler.state.workers)), "exit_code", "it exited with status 70")
        assert not rig.all(m.LeaseRejected)
        rig.request(driver, {"CPU": 2})

    rig.die(next(iter(rig.scheduler.state.workers)), "exit_code", "it exited with status 70")
    assert {rejected.kind for rejected in rig.all(m.LeaseRejected)} == {"env"}
    assert "3 workers in a row" in rig.all(m.LeaseRejected)[0].error

    rig.request(driver)
    assert rig.one(m.LeaseRejected).kind == "env", "at once, for a while"
    rig.wait(1.1)
    assert rig.lease(driver), "then it is tried again"


def test_crashing_tasks_do_not_fail_their_environment(rig: Rig) -> None:
    driver = rig.driver()
    for _ in range(20):
        rig.die(rig.lease(driver).worker, "exit_code", "it exited with status 1")

    assert rig.lease(driver)


def test_crashing_tasks_do_not_fail_a_prepared_environment_that_has_worked(rig: Rig) -> None:
    driver = rig.driver()
    rig.request(driver, env=_PIP)
    rig.tell(0, e.EnvReady(_PIP))
    rig.give_back(rig.one(e.Grant))
    for _ in range(20):
        rig.die(rig.lease(driver, env=_PIP).worker, "exit_code", "it exited with status 1")

    assert rig.lease(driver, env=_PIP)


def test_workers_are_prestarted_when_asked_for() -> None:
    rig = Rig(prestarted_workers=1)
    rig.node(CPU=2)
    driver = rig.driver()
    started = rig.one(e.StartWorker)
    assert started.job == driver

    assert rig.lease(driver).worker == started.worker


def test_memory_pressure_ends_the_newest_lease_one_at_a_time(rig: Rig) -> None:
    driver = rig.driver()
    _, newest = rig.lease(driver), rig.lease(driver)

    rig.tell(0, e.MemoryPressure(95 * 10**9, 100 * 10**9))
    assert (rig.one(e.StopWorker).worker, rig.one(e.StopWorker).how) == (newest.worker, "kill")
    assert rig.tell(0, e.MemoryPressure(95 * 10**9, 100 * 10**9)) == []

    rig.die(newest.worker, "killed", "whatever")
    lost = rig.one(m.LeaseLost)
    assert lost.kind == "oom"
    assert "95 of 100 GB" in lost.detail


def test_memory_pressure_spares_tasks_that_are_not_tried_again(rig: Rig) -> None:
    driver = rig.driver()
    retriable, final = rig.lease(driver), rig.lease(driver, is_retriable=False)

    rig.tell(0, e.MemoryPressure(95 * 10**9, 100 * 10**9))
    assert rig.one(e.StopWorker).worker == retriable.worker

    rig.die(retriable.worker, "killed", "whatever")
    rig.tell(0, e.MemoryPressure(95 * 10**9, 100 * 10**9))
    assert rig.one(e.StopWorker).worker == final.worker


def test_memory_pressure_prefers_an_actor_that_starts_again_to_a_task_that_does_not(rig: Rig) -> None:
    driver = rig.driver()
    final = rig.lease(driver, is_retriable=False)
    _, actor_worker = rig.living_actor(driver, max_restarts=-1)

    rig.tell(0, e.MemoryPressure(95 * 10**9, 100 * 10**9))
    assert rig.one(e.StopWorker).worker == actor_worker != final.worker


def test_memory_pressure_ends_the_newest_actor_when_there_is_nothing_else(rig: Rig) -> None:
    driver = rig.driver()
    rig.living_actor(driver)
    _, newest = rig.living_actor(driver)

    rig.tell(0, e.MemoryPressure(95 * 10**9, 100 * 10**9))
    assert rig.one(e.StopWorker).worker == newest


def test_memory_pressure_ends_the_actor_that_has_most_of_the_memory_before_tasks_and_newer_actors(rig: Rig) -> None:
    driver = rig.driver()
    _, largest = rig.living_actor(driver)
    rig.lease(driver, is_retriable=False)
    rig.living_actor(driver)

    rig.tell(0, e.MemoryPressure(95 * 10**9, 100 * 10**9, largest, 60 * 10**9))
    assert rig.one(e.StopWorker).worker == largest
    rig.die(largest, "killed", "whatever")
    assert rig.one(m.ActorUpdate).kind == "oom"


def test_a_job_takes_its_workers_actors_and_groups_along(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    grant = rig.lease(driver)
    _, actor_worker = rig.living_actor(driver)
    rig.group(driver, {"CPU": 1})
    kept = rig.lease(other, {"CPU": 0})

    rig.tell(0, e.ClientGone(driver, True))

    assert {stop.worker for stop in rig.all(e.StopWorker)} == {grant.worker, actor_worker}
    assert {stop.how for stop in rig.all(e.StopWorker)} == {"kill"}
    rig.die(grant.worker)
    rig.die(actor_worker)
    assert rig.free() == 2
    assert list(rig.scheduler.state.workers) == [kept.worker]


def test_idle_workers_of_a_job_end_with_it(rig: Rig) -> None:
    driver = rig.driver()
    grant = rig.lease(driver)
    rig.give_back(grant)

    rig.tell(0, e.ClientGone(driver, False))

    assert rig.one(e.StopWorker).worker == grant.worker
