"""Options: what is refused says which option, which value and what to write; what is accepted becomes a spec."""

from __future__ import annotations

from typing import Any

import pytest

from skate import options
from skate._ids import PlacementGroupID
from skate.backends.base import DYNAMIC, STREAMING, Placement
from skate.placement_group import PlacementGroup
from skate.scheduling_strategies import (
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)


def function() -> None: ...


def task(backend: Any, **written: Any) -> Any:
    checked = options.check_task(written)
    return options.task_spec(function, "function", options.returns_of(checked, "function", is_generator=False), checked, backend)


def actor(backend: Any, **written: Any) -> Any:
    return options.actor_spec(object, "Thing", b"meta", options.check_actor(written), backend, is_async=False)


def test_the_defaults_of_a_task(backend: Any) -> None:
    spec = task(backend)
    assert spec.placement == Placement({"CPU": 1.0})
    assert (spec.name, spec.num_returns, spec.max_retries, spec.retry_exceptions, spec.max_calls) == ("function", 1, 3, False, 0)


def test_none_means_the_default(backend: Any) -> None:
    assert task(backend, num_cpus=None, num_returns=None, max_retries=None, scheduling_strategy=None) == task(backend)


def test_resources_of_a_task(backend: Any) -> None:
    spec = task(backend, num_cpus=0.5, num_gpus=2, memory=1 << 30, resources={"license": 1}, accelerator_type="A100")
    assert spec.placement.resources == {
        "CPU": 0.5, "GPU": 2.0, "memory": float(1 << 30), "license": 1.0, "accelerator_type:A100": 0.001,
    }  # fmt: skip
    assert spec.max_calls == 1, "a GPU task gets a fresh process unless max_calls says otherwise"
    assert task(backend, num_gpus=1, max_calls=0).max_calls == 0


def test_an_actor_needs_a_cpu_to_be_placed_and_none_while_it_lives(backend: Any) -> None:
    spec = actor(backend)
    assert (spec.placement.resources, spec.running_resources) == ({"CPU": 1.0}, {})
    assert actor(backend, memory=100).placement.resources == {"CPU": 1.0, "memory": 100.0}


def test_an_actor_holds_what_was_asked_for(backend: Any) -> None:
    spec = actor(backend, num_gpus=1)
    assert spec.placement.resources == spec.running_resources == {"CPU": 1.0, "GPU": 1.0}
    spec = actor(backend, num_cpus=0)
    assert spec.placement.resources == spec.running_resources == {"CPU": 0.0}
    assert actor(backend, num_cpus=2).running_resources == {"CPU": 2.0}


@pytest.mark.parametrize(
    ("written", "error", "message"),
    [
        ({"num_cpus": -1}, ValueError, r"num_cpus=-1: .*not negative"),
        ({"num_cpus": "2"}, TypeError, r"num_cpus='2': .*a number"),
        ({"num_cpus": True}, TypeError, "num_cpus=True"),
        ({"num_cpus": float("nan")}, ValueError, "num_cpus=nan"),
        ({"num_cpus": 0.00001}, ValueError, "multiple of 0.0001"),
        ({"num_gpus": 1.5}, ValueError, r"num_gpus=1.5: .*whole above 1"),
        ({"resources": {"CPU": 1}}, ValueError, "write num_cpus=1 instead"),
        ({"resources": {"GPU": 2}}, ValueError, "write num_gpus=2 instead"),
        ({"resources": {"a": -1}}, ValueError, r"resources\['a'\]=-1"),
        ({"resources": ["a"]}, TypeError, "a dict of name → amount"),
        ({"num_returns": -1}, ValueError, "num_returns=-1"),
        ({"num_returns": "streamin"}, ValueError, "did you mean 'streaming'"),
        ({"num_returns": 1.0}, TypeError, "num_returns=1.0"),
        ({"num_returns": "streaming"}, ValueError, "not a generator"),
        ({"max_retries": -2}, ValueError, "max_retries=-2: max_retries must be -1"),
        ({"retry_exceptions": [1]}, ValueError, "a list of exception classes"),
        ({"retry_exceptions": "yes"}, TypeError, "a list of exception classes"),
        ({"name": 1}, TypeError, "name=1"),
        ({"placement_group": "here"}, TypeError, "placement_group='here'"),
        ({"scheduling_strategy": "spread"}, ValueError, "did you mean 'SPREAD'"),
        ({"scheduling_strategy": 3}, TypeError, "skate.util.scheduling_strategies"),
        ({"runtime_env": {"env_vars": {"A": 1}}}, TypeError, r"write \{'A': '1'\}"),
        ({"runtime_env": {"env_var": {}}}, ValueError, "did you mean 'env_vars'"),
        ({"runtime_env": "x"}, TypeError, "a dict such as"),
        ({"label_selector": {"a": 1}}, TypeError, "strings"),
        ({"fallback_strategy": [{"x": 1}]}, ValueError, "label_selector"),
        ({"_generator_backpressure_num_objects": 0}, ValueError, "from 1 on"),
        ({"num_cpu": 2}, ValueError, "'num_cpu' is not an option of a remote function; did you mean 'num_cpus'"),
        ({"max_restarts": 2}, ValueError, "'max_restarts' is not an option of a remote function"),
        ({"lifetime": "detached"}, ValueError, "an option of actors"),
    ],
)
def test_what_a_task_refuses(backend: Any, written: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        task(backend, **written)


@pytest.mark.parametrize(
    ("written", "error", "message"),
    [
        ({"max_concurrency": 0}, ValueError, "max_concurrency=0: .*positive"),
        ({"max_pending_calls": 0}, ValueError, "max_pending_calls=0"),
        ({"lifetime": "forever"}, ValueError, "detached"),
        ({"get_if_exists": True}, ValueError, "needs the actor's name"),
        ({"namespace": ""}, ValueError, "not empty"),
        ({"name": ""}, ValueError, "not empty"),
        ({"max_retries": 1}, ValueError, "'max_retries' is not an option of an actor; did you mean 'max_task_retries'"),
        ({"concurrency_groups": {"io": 0}}, ValueError, r"concurrency_groups\['io'\]=0"),
        ({"concurrency_groups": 3}, TypeError, "a dict of group name"),
        ({"max_calls": 1}, ValueError, "'max_calls' is not an option of an actor"),
    ],
)
def test_what_an_actor_refuses(backend: Any, written: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        actor(backend, **written)


def test_some_options_belong_to_the_definition() -> None:
    with pytest.raises(ValueError, match="at the definition"):
        options.check_task({"max_calls": 1}, in_options=True)
    with pytest.raises(ValueError, match="at the class"):
        options.check_actor({"concurrency_groups": {"io": 1}}, in_options=True)


def test_num_returns() -> None:
    def returns(value: Any, *, is_generator: bool) -> int:
        return options.returns_of({"num_returns": value}, "f", is_generator=is_generator)

    assert returns(None, is_generator=True) == STREAMING
    assert returns("dynamic", is_generator=True) == DYNAMIC
    assert [returns(n, is_generator=False) for n in (None, 0, 1, 5)] == [1, 0, 1, 5]


def test_concurrency_groups_in_both_forms(backend: Any) -> None:
    assert actor(backend, concurrency_groups={"io": 2}).concurrency_groups == {"io": 2}
    assert actor(backend, concurrency_groups=[{"name": "io", "max_concurrency": 3}]).concurrency_groups == {"io": 3}


def test_strategies_become_placements(backend: Any) -> None:
    def placed(strategy: Any) -> Placement:
        placement: Placement = task(backend, scheduling_strategy=strategy).placement
        return placement

    cpu = {"CPU": 1.0}
    assert placed("SPREAD") == Placement(cpu, strategy="SPREAD")
    assert placed(NodeAffinitySchedulingStrategy("ab01", soft=True)) == Placement(cpu, node=b"\xab\x01", soft=True)
    group = PlacementGroup(PlacementGroupID(b"g" * 16), [{"CPU": 1}, {"CPU": 1, "GPU": 1}])
    assert placed(PlacementGroupSchedulingStrategy(group, 1, True)) == Placement(
        cpu, placement_group=b"g" * 16, bundle=1, capture_child_tasks=True
    )
    assert placed(PlacementGroupSchedulingStrategy(None)) == Placement(cpu)
    labels = placed(NodeLabelSchedulingStrategy({"zone": In("a", "b"), "arch": NotIn("arm"), "gpu": Exists()})).labels
    assert labels == {"zone": "in(a, b)", "arch": "!in(arm)", "gpu": "exists()"}


def test_a_group_that_can_never_fit_is_refused(backend: Any) -> None:
    group = PlacementGroup(PlacementGroupID(b"g" * 16), [{"CPU": 1}])
    with pytest.raises(ValueError, match="will never fit any bundle"):
        task(backend, num_cpus=2, scheduling_strategy=PlacementGroupSchedulingStrategy(group))
    with pytest.raises(ValueError, match="the group has 1 bundles"):
        task(backend, scheduling_strategy=PlacementGroupSchedulingStrategy(group, 1))


def test_a_node_id_that_is_none_is_refused(backend: Any) -> None:
    with pytest.raises(ValueError, match="not a node id"):
        task(backend, scheduling_strategy=NodeAffinitySchedulingStrategy("here", soft=False))


def test_a_captured_task_goes_into_its_parents_group(backend: Any) -> None:
    backend.context |= {"mode": "worker", "placement_group_id": b"p" * 16, "capture_child_tasks": True}
    assert task(backend).placement == Placement({"CPU": 1.0}, placement_group=b"p" * 16, capture_child_tasks=True)
    assert task(backend, scheduling_strategy="DEFAULT").placement == Placement({"CPU": 1.0})


def test_the_first_fallback_that_some_node_matches_is_taken(backend: Any) -> None:
    written = {"label_selector": {"zone": "a"}, "fallback_strategy": [{"label_selector": {"zone": "b"}}]}
    assert task(backend, **written).placement.labels == {"zone": "b"}
    written["fallback_strategy"] = [{"label_selector": {"zone": "c"}}]
    assert task(backend, **written).placement.labels == {"zone": "a"}


def test_soft_labels_are_dropped_when_no_node_has_them(backend: Any) -> None:
    def labels(zone: str) -> Any:
        strategy = NodeLabelSchedulingStrategy({"zone": In("b")}, soft={"zone": In(zone)})
        return task(backend, scheduling_strategy=strategy).placement.labels

    assert labels("b") == {"zone": "in(b)"}
    assert labels("x") == {"zone": "in(b)"}


def test_the_deprecated_placement_group_option(backend: Any) -> None:
    group = PlacementGroup(PlacementGroupID(b"g" * 16), [{"CPU": 1}])
    placement = task(backend, placement_group=group, placement_group_bundle_index=0).placement
    assert (placement.placement_group, placement.bundle) == (b"g" * 16, 0)
    with pytest.raises(ValueError, match="give one of them"):
        task(backend, placement_group=group, scheduling_strategy="SPREAD")
