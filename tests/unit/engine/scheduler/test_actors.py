"""Claims about actors: placing, restarting, names, ends."""

from __future__ import annotations

from skate.engine.spec import events as e, messages as m
from tests.unit.engine.scheduler.rig import Rig


def _update(rig: Rig) -> m.ActorUpdate:
    return rig.one(m.ActorUpdate)


def test_an_actor_holds_a_cpu_until_its_constructor_has_returned(rig: Rig) -> None:
    driver = rig.driver()
    spec = rig.create(driver)
    start = rig.one(e.StartActor)
    assert (start.incarnation, start.owner, start.job, start.resources) == (0, driver, driver, {})
    assert rig.free() == 1

    rig.tell(start.worker, m.ActorReady(spec.actor))

    assert rig.free() == 2


def test_running_resources_are_held_as_long_as_the_process_lives() -> None:
    rig = Rig()
    rig.node(CPU=2, GPU=2)
    driver = rig.driver()
    spec, worker = rig.living_actor(driver, placement_resources={"GPU": 10_000}, running_resources={"GPU": 10_000})
    assert rig.free("GPU") == 1

    rig.tell(driver, m.KillActor(spec.actor, True))
    assert rig.free("GPU") == 1

    rig.die(worker, "killed", "")
    assert rig.free("GPU") == 2


def test_a_caller_gets_a_channel_when_the_actor_is_alive(rig: Rig) -> None:
    driver = rig.driver()
    spec = rig.create(driver)
    worker = rig.one(e.StartActor).worker
    assert rig.tell(driver, m.ConnectActor(spec.actor)) == []

    rig.tell(worker, m.ActorReady(spec.actor))

    channel = rig.one(e.OpenActorChannel)
    assert (channel.client, channel.worker, channel.incarnation) == (driver, worker, 0)
    assert _update(rig).state == "ALIVE"


def test_a_caller_gets_a_channel_again_after_a_restart(rig: Rig) -> None:
    driver = rig.driver()
    spec, worker = rig.living_actor(driver, max_restarts=1)

    rig.die(worker)
    assert (_update(rig).state, _update(rig).incarnation) == ("RESTARTING", 1)
    again = rig.one(e.StartActor)
    assert again.incarnation == 1
    rig.tell(again.worker, m.ActorReady(spec.actor))
    assert rig.one(e.OpenActorChannel).incarnation == 1

    rig.die(again.worker)
    assert (_update(rig).state, _update(rig).kind) == ("DEAD", "died")
    assert "its 1 restarts were used up" in _update(rig).cause
    assert rig.one(e.DropHolder).holder == spec.actor


def test_an_actor_with_endless_restarts_that_dies_quickly_waits_longer_and_longer(rig: Rig) -> None:
    driver = rig.driver()
    rig.create(driver, max_restarts=-1)
    worker = rig.one(e.StartActor).worker
    for _ in range(3):
        rig.die(worker)
        worker = rig.one(e.StartActor).worker

    delays = []
    for _ in range(10):
        rig.die(worker)
        assert not rig.all(e.StartActor)
        before_s = rig.now_s
        while not rig.all(e.StartActor):
            rig.wait(0.05)
        delays.append(rig.now_s - before_s)
        worker = rig.one(e.StartActor).worker

    assert delays[0] < 0.2
    assert [round(delay_s, 3) for delay_s in delays] == sorted(round(delay_s, 3) for delay_s in delays)
    assert 9 < delays[-1] < 11


def test_a_constructor_that_raises_is_not_tried_again(rig: Rig) -> None:
    driver = rig.driver()
    spec = rig.create(driver, max_restarts=3)
    worker = rig.one(e.StartActor).worker
    rig.tell(driver, m.ConnectActor(spec.actor))

    rig.tell(worker, m.ActorCreationFailed(spec.actor, b"the error"))

    assert (_update(rig).state, _update(rig).kind, _update(rig).error) == ("DEAD", "creation", b"the error")
    assert rig.one(e.StopWorker).worker == worker


def test_kill_is_known_to_callers_at_once(rig: Rig) -> None:
    driver = rig.driver()
    spec, worker = rig.living_actor(driver, max_restarts=5)

    rig.tell(driver, m.KillActor(spec.actor, True))

    assert (_update(rig).state, _update(rig).kind) == ("DEAD", "killed")
    assert (rig.one(e.StopWorker).worker, rig.one(e.StopWorker).how) == (worker, "kill")
    rig.die(worker, "killed", "")
    assert not rig.all(e.StartActor)


def test_kill_with_restart_starts_it_again(rig: Rig) -> None:
    driver = rig.driver()
    spec, worker = rig.living_actor(driver, max_restarts=1)

    rig.tell(driver, m.KillActor(spec.actor, False))
    rig.die(worker, "killed", "")

    assert rig.one(e.StartActor).incarnation == 1


def test_an_actor_that_exits_on_purpose_is_not_restarted(rig: Rig) -> None:
    driver = rig.driver()
    spec, worker = rig.living_actor(driver, max_restarts=-1)

    rig.tell(worker, m.ActorExiting(spec.actor, "exit_actor() was called"))
    rig.die(worker, "exit", "it exited with status 0")

    assert (_update(rig).state, _update(rig).kind, _update(rig).cause) == ("DEAD", "exit", "exit_actor() was called")


def test_only_its_own_worker_speaks_for_an_actor(rig: Rig) -> None:
    driver = rig.driver()
    spec, _ = rig.living_actor(driver)
    stranger = rig.lease(driver).worker

    assert rig.tell(stranger, m.ActorExiting(spec.actor, "")) == []
    assert rig.tell(stranger, m.ActorCreationFailed(spec.actor, b"")) == []
    assert rig.scheduler.state.actors[spec.actor].state == "ALIVE"


def test_the_last_handle_ends_an_actor_gracefully(rig: Rig) -> None:
    driver = rig.driver()
    spec, worker = rig.living_actor(driver, max_restarts=-1)

    rig.tell(0, e.Unreferenced(spec.actor))
    assert (rig.one(e.StopWorker).worker, rig.one(e.StopWorker).how) == (worker, "graceful")
    assert not rig.all(m.ActorUpdate), "it may still be busy"

    rig.die(worker, "exit", "it exited with status 0")
    assert (_update(rig).state, _update(rig).kind) == ("DEAD", "out_of_scope")


def test_a_constructor_finishes_before_an_actor_nobody_wants_ends(rig: Rig) -> None:
    driver = rig.driver()
    spec = rig.create(driver)
    worker = rig.one(e.StartActor).worker

    assert rig.tell(0, e.Unreferenced(spec.actor)) == []

    rig.tell(worker, m.ActorReady(spec.actor))
    assert rig.one(e.StopWorker).how == "graceful"


def test_an_actor_dies_with_its_creator(rig: Rig) -> None:
    driver = rig.driver()
    task = rig.lease(driver)
    spec, worker = rig.living_actor(task.worker, max_restarts=-1)
    rig.tell(driver, m.ConnectActor(spec.actor))

    rig.die(task.worker)

    assert (_update(rig).state, _update(rig).kind) == ("DEAD", "owner")
    assert worker in [stop.worker for stop in rig.all(e.StopWorker)]


def test_a_detached_actor_outlives_its_creator_and_can_be_found(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    spec, worker = rig.living_actor(driver, name="counter", detached=True, max_restarts=1)

    rig.tell(0, e.ClientGone(driver, False))
    assert not rig.all(e.StopWorker)
    assert rig.tell(0, e.Unreferenced(spec.actor)) == []

    rig.tell(other, m.GetNamedActor(5, "counter", "ns"))
    assert rig.one(m.NamedActor).actor == spec.actor
    assert rig.one(e.AddHolder) == e.AddHolder(spec.actor, other)
    rig.die(worker)
    assert rig.one(e.StartActor).job == driver, "and it restarts as before"


def test_nested_tasks_of_a_detached_actor_outlive_the_job(rig: Rig) -> None:
    driver = rig.driver()
    _, worker = rig.living_actor(driver, detached=True)
    nested = rig.lease(worker)

    rig.tell(0, e.ClientGone(driver, False))

    assert not rig.all(e.StopWorker)
    assert nested.lease in rig.scheduler.state.leases


def test_a_name_is_taken_until_its_actor_is_dead(rig: Rig) -> None:
    driver = rig.driver()
    spec, _ = rig.living_actor(driver, name="counter")

    rig.create(driver, name="counter")
    assert "is taken" in rig.one(m.CreateActorReply).error
    rig.create(driver, name="counter", namespace="elsewhere", placement_resources={})
    assert rig.one(m.CreateActorReply).error == ""

    rig.tell(driver, m.KillActor(spec.actor, True))
    rig.create(driver, name="counter", placement_resources={})
    assert rig.one(m.CreateActorReply).error == ""


def test_get_if_exists_gives_the_existing_one_with_a_count(rig: Rig) -> None:
    driver = rig.driver()
    spec, _ = rig.living_actor(driver, name="counter")

    rig.create(driver, name="counter", get_if_exists=True)

    assert rig.one(m.CreateActorReply).existing == spec.actor
    assert rig.one(e.AddHolder) == e.AddHolder(spec.actor, driver)


def test_names_are_listed_by_namespace(rig: Rig) -> None:
    driver = rig.driver()
    rig.create(driver, name="a", placement_resources={})
    rig.create(driver, name="b", namespace="other", placement_resources={})

    rig.tell(driver, m.ListNamedActors(1, "ns", False))
    assert rig.one(m.NamedActors).names == [("ns", "a")]
    rig.tell(driver, m.ListNamedActors(1, "ns", True))
    assert len(rig.one(m.NamedActors).names) == 2


def test_a_call_to_an_actor_that_is_created_later_on_another_socket_waits_for_it(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    spec = rig.spec(driver)
    assert rig.tell(other, m.ConnectActor(spec.actor)) == []

    rig.tell(driver, m.CreateActor(1, spec))
    rig.tell(rig.one(e.StartActor).worker, m.ActorReady(spec.actor))

    assert rig.one(e.OpenActorChannel).client == other


def test_an_actor_that_overtakes_its_group_waits_and_so_do_its_callers(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    group = rig.new_id(driver)
    spec = rig.create(other, placement_group=group)
    rig.create(other, placement_resources={})
    assert rig.tell(other, m.ConnectActor(spec.actor)) == []

    rig.tell(driver, m.CreatePlacementGroup(group, [{"CPU": 10_000}], "PACK", "", "ns", False))

    assert rig.one(e.StartActor).spec == spec
    rig.tell(rig.one(e.StartActor).worker, m.ActorReady(spec.actor))
    assert rig.one(e.OpenActorChannel).client == other


def test_a_call_to_an_actor_whose_creator_died_before_creating_it_is_told_so(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    spec = rig.spec(driver)
    rig.tell(other, m.ConnectActor(spec.actor))

    rig.tell(0, e.ClientGone(driver, True))

    assert _update(rig).state == "DEAD"


def test_late_callers_are_told_why_an_actor_died(rig: Rig) -> None:
    driver = rig.driver()
    spec, _ = rig.living_actor(driver)
    rig.tell(driver, m.KillActor(spec.actor, True))

    rig.tell(driver, m.ConnectActor(spec.actor))

    assert (_update(rig).state, _update(rig).kind) == ("DEAD", "killed")


def test_an_actor_whose_worker_does_not_come_up_loses_no_restart(rig: Rig) -> None:
    driver = rig.driver()
    rig.create(driver)

    rig.die(rig.one(e.StartActor).worker, "exit_code", "it exited with status 70")

    assert rig.one(e.StartActor).incarnation == 0


def test_a_thousand_waiting_actors_cost_little_per_event(rig: Rig) -> None:
    driver = rig.driver()
    for _ in range(1000):
        rig.scheduler.handle(driver, m.CreateActor(1, rig.spec(driver)), rig.now_s)
    starting = [worker for worker in rig.scheduler.state.workers.values() if worker.actor is not None]
    assert len(starting) == 2

    assert starting[0].actor is not None
    rig.tell(starting[0].number, m.ActorReady(starting[0].actor.id))

    assert rig.one(e.StartActor)
