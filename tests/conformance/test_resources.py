"""Resources, placement groups and strategies, and the runtime context."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

import skate
from skate.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from skate.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)
from tests.conformance.marks import processes_only, wait_until

pytestmark = pytest.mark.usefixtures("backend")


@skate.remote
def context(*names: str) -> Any:
    it = skate.get_runtime_context()
    return [getattr(it, name)() if callable(getattr(it, name)) else getattr(it, name) for name in names]


class Plain:
    def context(self, *names: str) -> Any:
        it = skate.get_runtime_context()
        return [getattr(it, name)() if callable(getattr(it, name)) else getattr(it, name) for name in names]

    def gpus(self) -> Any:
        return skate.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    def me(self) -> Any:
        return skate.get_runtime_context().current_actor

    def task_in_group(self) -> Any:
        return skate.get(context.remote("get_placement_group_id"))


Thing: Any = skate.remote(Plain)


# ---------------------------------------------------------------- resources


def test_totals() -> None:
    total = skate.cluster_resources()
    assert (total["CPU"], total["GPU"], total["license"]) == (4, 2, 2)
    assert skate.available_resources()["CPU"] <= 4
    [node] = skate.nodes()
    assert node["Alive"] is True
    assert node["NodeID"] == skate.get_runtime_context().get_node_id()
    assert node["Resources"]["CPU"] == 4


def test_what_a_task_holds() -> None:
    assert skate.get(context.remote("get_assigned_resources")) == [{"CPU": 1.0}]
    more = context.options(num_cpus=0.5, resources={"license": 1})
    assert skate.get(more.remote("get_assigned_resources")) == [{"CPU": 0.5, "license": 1.0}]


def test_an_actor_holds_nothing_by_default() -> None:
    assert skate.get(Thing.remote().context.remote("get_assigned_resources")) == [{}]
    held = Thing.options(num_cpus=2).remote()
    assert skate.get(held.context.remote("get_assigned_resources")) == [{"CPU": 2.0}]


@processes_only
def test_resources_are_taken_and_come_back() -> None:
    thing = Thing.options(resources={"license": 2}).remote()
    skate.get(thing.context.remote("namespace"))
    wait_until(lambda: skate.available_resources().get("license", 0) == 0)
    skate.kill(thing)
    wait_until(lambda: skate.available_resources().get("license", 0) == 2)


@processes_only
def test_gpus_are_exclusive_and_visible() -> None:
    things = [Thing.options(num_gpus=1, num_cpus=0).remote() for _ in range(2)]
    seen = skate.get([thing.gpus.remote() for thing in things], timeout=60)
    assert sorted(ids for ids, _env in seen) == [[0], [1]]
    assert [env for _ids, env in seen] == [str(ids[0]) for ids, _env in seen]


# ---------------------------------------------------------------- context


def test_the_context_of_a_driver() -> None:
    it = skate.get_runtime_context()
    assert it.namespace == "tests"
    assert it.get_task_id() is None
    assert it.get_actor_id() is None
    assert it.get_job_id()
    assert it.get_session_name()


def test_the_context_of_a_task() -> None:
    job, node, task, actor, namespace, name = skate.get(
        context.remote("get_job_id", "get_node_id", "get_task_id", "get_actor_id", "namespace", "get_task_name")
    )
    it = skate.get_runtime_context()
    assert (job, node, actor, namespace) == (it.get_job_id(), it.get_node_id(), None, "tests")
    assert name == "context"
    ref = context.remote("get_task_id")
    assert skate.get(ref) == [ref.task_id().hex()]
    assert task != skate.get(ref)[0]


def test_the_context_of_an_actor() -> None:
    thing = Thing.options(name="in-context").remote()
    actor, name, reconstructed = skate.get(
        thing.context.remote("get_actor_id", "get_actor_name", "was_current_actor_reconstructed")
    )
    assert (actor, name, reconstructed) == (thing._actor_id.hex(), "in-context", False)
    assert skate.get(thing.me.remote()) == thing
    assert skate.get(skate.get(thing.me.remote()).context.remote("get_actor_name")) == ["in-context"]
    assert skate.get(Thing.remote().context.remote("get_actor_name")) == [""]


# ---------------------------------------------------------------- placement groups


@pytest.fixture
def group() -> Iterator[PlacementGroup]:
    made = placement_group([{"CPU": 1}, {"CPU": 1, "license": 1}], name="pair")
    assert made.wait(20)
    yield made
    remove_placement_group(made)


def test_a_group_is_reserved(group: PlacementGroup) -> None:
    assert skate.get(group.ready(), timeout=60)
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 1.0, "license": 1.0}]
    assert get_placement_group("pair") == group
    assert placement_group_table(group)["state"] == "CREATED"
    wait_until(lambda: skate.available_resources()["license"] == 1)


def test_tasks_and_actors_run_in_a_group(group: PlacementGroup) -> None:
    inside = PlacementGroupSchedulingStrategy(group)
    assert skate.get(context.options(scheduling_strategy=inside).remote("get_placement_group_id")) == [group.id.hex()]
    thing = Thing.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, 1), resources={"license": 1}).remote()
    assert skate.get(thing.context.remote("get_placement_group_id"), timeout=60) == [group.id.hex()]
    assert skate.get(context.remote("get_placement_group_id")) == [None]
    assert get_current_placement_group() is None
    skate.kill(thing)


def test_children_are_captured_when_asked(group: PlacementGroup) -> None:
    def strategy(*, captures: bool) -> Any:
        return PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=captures)

    captured = Thing.options(num_cpus=0, scheduling_strategy=strategy(captures=True)).remote()
    free = Thing.options(num_cpus=0, scheduling_strategy=strategy(captures=False)).remote()
    assert skate.get(captured.task_in_group.remote(), timeout=60) == [group.id.hex()]
    assert skate.get(free.task_in_group.remote(), timeout=60) == [None]
    for thing in (captured, free):
        skate.kill(thing)


@processes_only
def test_a_group_that_does_not_fit_waits() -> None:
    first = placement_group([{"license": 2}])
    assert first.wait(20)
    second = placement_group([{"license": 2}])
    assert not second.wait(0.05)
    remove_placement_group(first)
    assert second.wait(20)
    remove_placement_group(second)
    wait_until(lambda: skate.available_resources().get("license", 0) == 2)


@processes_only
def test_removing_a_group_ends_what_runs_in_it() -> None:
    made = placement_group([{"license": 1}])
    assert made.wait(20)
    thing = Thing.options(
        num_cpus=0, scheduling_strategy=PlacementGroupSchedulingStrategy(made), resources={"license": 1}
    ).remote()
    skate.get(thing.context.remote("namespace"), timeout=60)
    remove_placement_group(made)
    with pytest.raises(skate.exceptions.ActorPlacementGroupRemoved):
        while True:
            skate.get(thing.context.remote("namespace"), timeout=60)


# ---------------------------------------------------------------- strategies


def test_strategies_on_one_node() -> None:
    node = skate.get_runtime_context().get_node_id()
    for strategy in ("DEFAULT", "SPREAD", NodeAffinitySchedulingStrategy(node, soft=False)):
        assert skate.get(context.options(scheduling_strategy=strategy).remote("get_node_id"), timeout=60) == [node]
    elsewhere = "ab" * 16
    soft = NodeAffinitySchedulingStrategy(elsewhere, soft=True)
    assert skate.get(context.options(scheduling_strategy=soft).remote("get_node_id"), timeout=60) == [node]
    labels = NodeLabelSchedulingStrategy({"zone": NotIn("moon")})
    assert skate.get(context.options(scheduling_strategy=labels).remote("get_node_id"), timeout=60) == [node]


@processes_only
def test_a_node_that_does_not_exist_is_an_error() -> None:
    hard = NodeAffinitySchedulingStrategy("ab" * 16, soft=False)
    with pytest.raises(skate.exceptions.TaskUnschedulableError):
        skate.get(context.options(scheduling_strategy=hard).remote(), timeout=60)
    with pytest.raises(skate.exceptions.ActorUnschedulableError):
        skate.get(Thing.options(scheduling_strategy=hard).remote().gpus.remote(), timeout=60)
