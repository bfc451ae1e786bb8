"""The runtime context shows what the backend says."""

from __future__ import annotations

from typing import Any

import pytest

import skate


def test_in_a_driver(backend: Any) -> None:
    context = skate.get_runtime_context()
    assert (context.get_job_id(), context.get_node_id(), context.get_worker_id()) == ("00000001", b"node".hex(), b"work".hex())
    assert (context.get_task_id(), context.get_actor_id(), context.get_actor_name(), context.get_placement_group_id()) == (
        None,
    ) * 4
    assert context.namespace == "here"
    assert context.get_assigned_resources() == {}
    assert context.get_accelerator_ids() == {"GPU": []}
    with pytest.raises(RuntimeError, match="in a driver"):
        context.is_canceled()
    with pytest.raises(RuntimeError, match="outside of an actor"):
        _ = context.current_actor
    with pytest.raises(RuntimeError, match="outside of an actor"):
        _ = context.was_current_actor_reconstructed


def test_in_a_task(backend: Any) -> None:
    backend.context |= {
        "mode": "worker", "task_id": b"t" * 16, "task_name": "square", "function_name": "app.square", "resources": {"CPU": 1.0},
        "accelerator_ids": {"GPU": [1]}, "runtime_env": {"env_vars": {"A": "1"}}, "labels": {"zone": "b"},
        "placement_group_id": b"p" * 16, "capture_child_tasks": True, "session_name": "s",
    }  # fmt: skip
    context = skate.get_runtime_context()
    assert context.get_task_id() == (b"t" * 16).hex()
    assert (context.get_task_name(), context.get_task_function_name()) == ("square", "app.square")
    assert context.get_assigned_resources() == {"CPU": 1.0}
    assert context.get_accelerator_ids() == {"GPU": ["1"]}
    assert context.runtime_env == {"env_vars": {"A": "1"}}
    assert context.get_runtime_env_string() == '{"env_vars": {"A": "1"}}'
    assert context.get_node_labels() == {"zone": "b"}
    assert context.get_placement_group_id() == (b"p" * 16).hex()
    assert context.should_capture_child_tasks_in_placement_group
    assert context.get_session_name() == "s"
    assert context.get_temp_dir()
    assert context.is_canceled() is False


def test_in_an_actor(backend: Any) -> None:
    class Thing:
        def f(self) -> int:
            return 1

    handle = skate.remote(Thing).remote()
    actor_id = handle._actor_id.binary()
    backend.context |= {"mode": "worker", "actor_id": actor_id, "handle_meta": backend.actor_specs[actor_id].handle_meta}
    context = skate.get_runtime_context()
    assert context.get_actor_name() == ""
    assert context.current_actor == handle
    assert skate.get(context.current_actor.f.remote()) == 1
    assert context.was_current_actor_reconstructed is False
    backend.context |= {"was_reconstructed": True, "actor_name": "n"}
    assert context.was_current_actor_reconstructed
    assert context.get_actor_name() == "n"


def test_old_names_warn(backend: Any) -> None:
    context = skate.get_runtime_context()
    for name in ("job_id", "node_id", "task_id", "actor_id", "current_placement_group_id", "worker_id"):
        with pytest.warns(DeprecationWarning, match=name):
            getattr(context, name)
    with pytest.warns(DeprecationWarning):
        assert context.get_resource_ids() == {"GPU": []}
    with pytest.warns(DeprecationWarning):
        assert context.get()["job_id"] == skate.JobID(b"\0\0\0\1")
