"""Claims about leases: who gets a worker, and what happens when one is lost."""

from __future__ import annotations

from skate.engine.spec import events as e, messages as m
from tests.unit.engine.scheduler.rig import Rig


def test_a_lease_is_granted_with_a_new_worker_when_there_is_room(rig: Rig) -> None:
    driver = rig.driver()

    grant = rig.lease(driver)

    assert rig.one(e.StartWorker).worker == grant.worker
    assert grant.resources == {"CPU": 10_000}
    assert rig.free() == 1


def test_a_returned_worker_is_used_again(rig: Rig) -> None:
    driver = rig.driver()
    first = rig.lease(driver)
    rig.give_back(first)

    assert rig.lease(driver).worker == first.worker
    assert not rig.all(e.StartWorker)


def test_a_worker_serves_one_job_and_one_environment(rig: Rig) -> None:
    one, other = rig.driver(), rig.driver()
    worker = rig.lease(one).worker
    rig.give_back(e.Grant(1, 1, one, worker, one, b"", (), {}))

    assert rig.lease(other).worker != worker
    assert rig.lease(one, env='{"env_vars": {"A": "1"}}').worker != worker


def test_a_request_without_room_waits_for_a_return(rig: Rig) -> None:
    driver = rig.driver()
    first, _ = rig.lease(driver), rig.lease(driver)
    request = rig.request(driver)
    assert not rig.all(e.Grant)

    rig.give_back(first)

    assert rig.one(e.Grant).request == request


def test_a_cancelled_request_is_not_granted(rig: Rig) -> None:
    driver = rig.driver()
    first, _ = rig.lease(driver), rig.lease(driver)
    rig.tell(driver, m.CancelLeaseRequest(rig.request(driver)))

    rig.give_back(first)

    assert not rig.all(e.Grant)


def test_a_request_that_fits_overtakes_one_that_does_not(rig: Rig) -> None:
    driver = rig.driver()
    rig.lease(driver)
    rig.request(driver, {"CPU": 2})

    assert rig.lease(driver, {"CPU": 0.5})


def test_fractions_add_up_exactly(rig: Rig) -> None:
    driver = rig.driver()

    for _ in range(20):
        rig.lease(driver, {"CPU": 0.1})

    assert rig.free() == 0
    rig.request(driver, {"CPU": 0.1})
    assert not rig.all(e.Grant)


def test_custom_resources_are_counted() -> None:
    rig = Rig()
    rig.node(CPU=8, licence=1)
    driver = rig.driver()
    rig.lease(driver, {"licence": 1})

    rig.request(driver, {"licence": 1})

    assert not rig.all(e.Grant)


def test_gpus_are_exclusive_and_numbered() -> None:
    rig = Rig()
    rig.node(CPU=8, GPU=2)
    driver = rig.driver()

    assert rig.lease(driver, {"GPU": 1}).gpu_ids == (0,)
    assert rig.lease(driver, {"GPU": 1}).gpu_ids == (1,)
    rig.request(driver, {"GPU": 0.5})
    assert not rig.all(e.Grant)


def test_halves_of_a_gpu_share_one() -> None:
    rig = Rig()
    rig.node(CPU=8, GPU=2)
    driver = rig.driver()

    assert rig.lease(driver, {"GPU": 0.5}).gpu_ids == (0,)
    assert rig.lease(driver, {"GPU": 0.5}).gpu_ids == (0,)
    assert rig.lease(driver, {"GPU": 0.75}).gpu_ids == (1,)


def test_a_retired_worker_ends_and_holds_what_it_had_until_then(rig: Rig) -> None:
    driver = rig.driver()
    grant = rig.lease(driver)

    rig.give_back(grant, retire=True)

    assert rig.one(e.StopWorker).how == "graceful"
    assert rig.free() == 1
    rig.die(grant.worker, "exit", "it exited with status 0")
    assert rig.free() == 2


def test_a_retired_worker_that_owns_an_actor_lives_until_that_is_dead(rig: Rig) -> None:
    driver = rig.driver()
    grant = rig.lease(driver)
    spec = rig.create(grant.worker, placement_resources={})

    rig.give_back(grant, retire=True)
    assert not rig.all(e.StopWorker)

    rig.tell(driver, m.KillActor(spec.actor, True))
    rig.wait(1.1)
    assert grant.worker in [command.worker for command in rig.all(e.StopWorker)]


def test_the_client_is_told_how_its_worker_died(rig: Rig) -> None:
    driver = rig.driver()
    grant = rig.lease(driver)

    rig.die(grant.worker, "exit_code", "it exited with status 3")

    lost = rig.one(m.LeaseLost)
    assert (lost.lease, lost.kind, lost.detail) == (grant.lease, "exit", "it exited with status 3")
    assert rig.one(e.CloseLease).lease == grant.lease
    assert rig.free() == 2


def test_kill_lease_kills_its_worker_and_only_its_holder_may(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    grant = rig.lease(driver)

    assert rig.tell(other, m.KillLease(grant.lease)) == []

    rig.tell(driver, m.KillLease(grant.lease))
    assert rig.one(e.StopWorker).how == "kill"


def test_when_a_worker_dies_the_workers_of_its_nested_tasks_are_killed(rig: Rig) -> None:
    driver = rig.driver()
    parent = rig.lease(driver)
    child = rig.lease(parent.worker)

    rig.die(parent.worker)

    assert rig.one(e.StopWorker).worker == child.worker
    assert rig.free() == 1, "the child's CPU is in use until its process is gone"
    rig.die(child.worker)
    assert rig.free() == 2


def test_hard_affinity_to_an_unknown_node_is_refused(rig: Rig) -> None:
    driver = rig.driver()

    rig.request(driver, node=b"x" * 16, name="square")

    rejected = rig.one(m.LeaseRejected)
    assert rejected.kind == "unschedulable"
    assert "square can never run" in rejected.error


def test_soft_affinity_to_an_unknown_node_runs_elsewhere(rig: Rig) -> None:
    assert rig.lease(rig.driver(), node=b"x" * 16, soft=True)


def test_spread_takes_turns_between_nodes(rig: Rig) -> None:
    rig.node(b"m" * 16, CPU=2)
    driver = rig.driver()

    nodes = [rig.lease(driver, strategy="SPREAD").node for _ in range(4)]

    assert nodes[0] != nodes[1]
    assert nodes[:2] == nodes[2:]


def test_labels_choose_the_node(rig: Rig) -> None:
    rig.node(b"m" * 16, {"zone": "b"}, CPU=2)
    driver = rig.driver()

    assert rig.lease(driver, labels={"zone": "in(a, b)"}).node == b"m" * 16
    assert rig.lease(driver, labels={"zone": "!b"}).node == b"n" * 16


def test_a_removed_node_takes_its_leases_along(rig: Rig) -> None:
    rig.node(b"m" * 16, CPU=2)
    driver = rig.driver()
    grant = rig.lease(driver, node=b"m" * 16)

    rig.tell(0, e.NodeRemoved(b"m" * 16))
    assert rig.one(e.StopWorker).worker == grant.worker

    rig.die(grant.worker, "killed", "")
    assert rig.one(m.LeaseLost).kind == "node_removed"


def test_messages_that_make_no_sense_change_nothing(rig: Rig) -> None:
    driver = rig.driver()
    grant = rig.lease(driver)

    for message in (
        m.ReturnLease(99), m.CancelLeaseRequest(99), m.KillLease(99), m.Blocked(), m.Unblocked(), m.ActorReady(b""), m.KillActor(b"", True),
        m.TerminateActor(b"x" * 16), m.RemovePlacementGroup(b"short"), m.Goodbye(),
    ):  # fmt: skip
        assert rig.tell(driver, message) == []
    assert rig.tell(777, m.ReturnLease(grant.lease)) == [], "from nobody"
    rig.give_back(grant)
    assert rig.give_back(grant) == [], "twice"
    rig.request(driver, {"CPU": 1})
    assert rig.tell(driver, m.RequestLease(99, {"CPU": -5})) != []
    assert rig.one(m.LeaseRejected).kind == "unschedulable"


def test_ten_thousand_requests_of_one_shape_cost_one_look_per_event(rig: Rig) -> None:
    driver = rig.driver()
    grants = [rig.lease(driver), rig.lease(driver)]
    scheduler = rig.scheduler
    for number in range(10_000):
        scheduler.handle(driver, m.RequestLease(1_000_000 + number, {"CPU": 10_000}), rig.now_s)
    looks = 0
    original = scheduler.state.nodes.alive[0].__class__.fits

    def counted(node: object, need: dict[str, int]) -> bool:
        nonlocal looks
        looks += 1
        return original(node, need)  # type: ignore[arg-type]

    scheduler.state.nodes.alive[0].__class__.fits = counted  # type: ignore[method-assign,assignment]
    try:
        rig.commands = scheduler.handle(driver, m.ReturnLease(grants[0].lease), rig.now_s)
    finally:
        scheduler.state.nodes.alive[0].__class__.fits = original  # type: ignore[method-assign]
    assert rig.one(e.Grant)
    assert looks <= 3
