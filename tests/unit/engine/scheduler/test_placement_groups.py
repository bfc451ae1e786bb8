"""Claims about placement groups."""

from __future__ import annotations

import pytest

from skate.engine.spec import events as e, messages as m
from tests.unit.engine.scheduler.rig import Rig

OTHER = b"m" * 16


def _states(rig: Rig) -> list[str]:
    return [update.state for update in rig.all(m.PlacementGroupUpdate)]


def test_a_group_reserves_its_bundles(rig: Rig) -> None:
    driver = rig.driver()

    rig.group(driver, {"CPU": 1}, {"CPU": 1})

    assert _states(rig) == ["CREATED"]
    assert rig.free() == 0


def test_a_task_in_a_group_takes_from_its_bundles(rig: Rig) -> None:
    driver = rig.driver()
    group = rig.group(driver, {"CPU": 1}, {"CPU": 1})

    first = rig.lease(driver, placement_group=group, bundle=0, capture_child_tasks=True)
    assert (first.placement_group, first.capture_child_tasks) == (group, True)
    request = rig.request(driver, placement_group=group, bundle=0)
    assert not rig.all(e.Grant)
    assert rig.lease(driver, placement_group=group)

    rig.give_back(first)
    assert rig.one(e.Grant).request == request


def test_a_task_outside_does_not_take_what_a_group_has_reserved(rig: Rig) -> None:
    driver = rig.driver()
    rig.group(driver, {"CPU": 2})

    rig.request(driver)

    assert not rig.all(e.Grant)


def test_a_group_that_does_not_fit_now_is_created_later_and_tasks_in_it_wait(rig: Rig) -> None:
    driver = rig.driver()
    grant = rig.lease(driver)
    group = rig.group(driver, {"CPU": 2})
    request = rig.request(driver, {"CPU": 2}, placement_group=group)
    assert not rig.commands

    rig.give_back(grant)

    assert _states(rig) == ["CREATED"]
    assert rig.one(e.Grant).request == request


def test_idle_leases_are_called_back_for_a_waiting_group(rig: Rig) -> None:
    driver = rig.driver()
    grants = [rig.lease(driver), rig.lease(driver)]
    rig.group(driver, {"CPU": 1}, {"CPU": 1})

    rig.wait(0.01)
    assert len(rig.all(m.LeaseRevoked)) == 2

    rig.give_back(grants[0])
    rig.request(driver)
    assert not rig.all(e.Grant), "held back until the group is reserved"
    rig.give_back(grants[1])
    assert _states(rig) == ["CREATED"]


def test_removing_a_group_kills_what_runs_in_it_and_refuses_what_waits(rig: Rig) -> None:
    driver = rig.driver()
    group = rig.group(driver, {"CPU": 1})
    grant = rig.lease(driver, placement_group=group)
    rig.request(driver, placement_group=group)

    rig.tell(driver, m.RemovePlacementGroup(group))

    assert rig.one(e.StopWorker).worker == grant.worker
    assert rig.one(m.LeaseRejected).kind == "placement_group_removed"
    assert _states(rig) == ["REMOVED"]
    assert rig.free() == 1, "what runs in it is still running"
    rig.die(grant.worker, "killed", "")
    assert rig.one(m.LeaseLost).kind == "placement_group_removed"
    assert rig.free() == 2


def test_actors_in_a_removed_group_die_whether_they_run_or_wait(rig: Rig) -> None:
    driver = rig.driver()
    group = rig.group(driver, {"CPU": 1})
    running = {"CPU": 10_000}
    spec, _ = rig.living_actor(driver, placement_group=group, running_resources=running, max_restarts=-1)
    waiting = rig.create(driver, placement_group=group, running_resources=running)
    rig.tell(driver, m.ConnectActor(waiting.actor))

    rig.tell(driver, m.RemovePlacementGroup(group))

    assert {(u.actor, u.kind) for u in rig.all(m.ActorUpdate)} == {
        (spec.actor, "placement_group_removed"), (waiting.actor, "placement_group_removed"),
    }  # fmt: skip


def test_a_request_no_bundle_can_hold_is_refused(rig: Rig) -> None:
    driver = rig.driver()
    group = rig.group(driver, {"CPU": 1})

    rig.request(driver, {"GPU": 1}, placement_group=group)
    assert "more than any bundle" in rig.one(m.LeaseRejected).error
    rig.request(driver, placement_group=group, bundle=3)
    assert "bundle 3" in rig.one(m.LeaseRejected).error


def test_a_request_in_a_removed_group_is_refused(rig: Rig) -> None:
    driver = rig.driver()
    group = rig.group(driver, {"CPU": 1})
    rig.tell(driver, m.RemovePlacementGroup(group))

    rig.request(driver, placement_group=group)

    assert rig.one(m.LeaseRejected).kind == "placement_group_removed"


def test_a_request_that_overtakes_the_creation_of_its_group_waits(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    group = rig.new_id(driver)
    rig.request(other, placement_group=group)
    assert not rig.commands

    rig.tell(driver, m.CreatePlacementGroup(group, [{"CPU": 10_000}], "PACK", "", "ns", False))

    assert rig.one(e.Grant).client == other


@pytest.mark.parametrize(("strategy", "nodes"), [("PACK", 1), ("STRICT_PACK", 1), ("SPREAD", 2), ("STRICT_SPREAD", 2)])
def test_strategies_choose_nodes(rig: Rig, strategy: str, nodes: int) -> None:
    rig.node(OTHER, CPU=2)
    driver = rig.driver()

    group = rig.group(driver, {"CPU": 1}, {"CPU": 1}, strategy=strategy)

    bundles = rig.scheduler.state.groups[group].bundles_for(-1)
    assert len({bundle.node.id for bundle in bundles}) == nodes


def test_strict_strategies_do_not_give_way(rig: Rig) -> None:
    driver = rig.driver()
    rig.group(driver, {"CPU": 1}, {"CPU": 1}, strategy="STRICT_SPREAD")
    assert _states(rig) == []
    rig.node(OTHER, CPU=2)
    assert _states(rig) == ["CREATED"]

    rig.group(driver, {"CPU": 1}, {"CPU": 1}, strategy="STRICT_PACK")
    assert _states(rig) == []


def test_a_group_nobody_can_hold_is_announced_and_stays_pending(rig: Rig) -> None:
    driver = rig.driver()
    rig.group(driver, {"GPU": 1}, name="gpus")

    rig.wait(6)

    update = rig.one(m.PlacementGroupUpdate)
    assert update.state == "INFEASIBLE"
    assert "placement group 'gpus' (PACK of {GPU: 1}) can't be reserved: this machine has {CPU: 2}" in update.detail
    rig.node(OTHER, GPU=1)
    assert _states(rig) == ["CREATED"]


def test_a_group_is_found_by_name(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    group = rig.group(driver, {"CPU": 1}, name="mine")

    rig.tell(other, m.GetPlacementGroup(7, "mine", "ns"))

    reply = rig.one(m.PlacementGroupReply)
    assert (reply.group, reply.bundles, reply.strategy) == (group, [{"CPU": 10_000}], "PACK")
    rig.tell(other, m.GetPlacementGroup(8, "yours", "ns"))
    assert rig.one(m.PlacementGroupReply).group == b""


def test_asking_again_for_a_group_answers_with_its_state(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    group = rig.group(driver, {"CPU": 1})

    rig.tell(other, m.CreatePlacementGroup(group, [], "PACK", "", "ns", False))

    assert _states(rig) == ["CREATED"]


def test_asking_for_a_group_that_is_not_created_yet_is_answered_when_it_is(rig: Rig) -> None:
    driver, other = rig.driver(), rig.driver()
    group = rig.new_id(driver)
    assert rig.tell(other, m.CreatePlacementGroup(group, [], "PACK", "", "ns", False)) == []

    rig.tell(driver, m.CreatePlacementGroup(group, [{"CPU": 10_000}], "PACK", "", "ns", False))

    assert _states(rig) == ["CREATED", "CREATED"]


def test_a_group_dies_with_its_job_unless_it_is_detached(rig: Rig) -> None:
    driver = rig.driver()
    rig.group(driver, {"CPU": 1})
    rig.group(driver, {"CPU": 1}, detached=True)

    rig.tell(0, e.ClientGone(driver, False))

    assert rig.free() == 1


def test_gpus_of_a_bundle_are_its_own() -> None:
    rig = Rig()
    rig.node(CPU=4, GPU=2)
    driver = rig.driver()
    group = rig.group(driver, {"GPU": 1})

    assert rig.lease(driver, {"GPU": 1}).gpu_ids == (1,)
    assert rig.lease(driver, {"GPU": 1}, placement_group=group).gpu_ids == (0,)


def test_bundles_of_a_removed_node_are_reserved_elsewhere(rig: Rig) -> None:
    rig.node(OTHER, CPU=2)
    driver = rig.driver()
    group = rig.group(driver, {"CPU": 1}, {"CPU": 1}, strategy="SPREAD")

    rig.tell(0, e.NodeRemoved(OTHER))

    assert _states(rig) == ["CREATED"]
    assert {bundle.node.id for bundle in rig.scheduler.state.groups[group].bundles_for(-1)} == {b"n" * 16}
