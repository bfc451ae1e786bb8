"""State, timeline, metrics, key-value store, named actors: what the session knows and keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skate
from skate import metrics, state
from skate.experimental import internal_kv as kv
from skate.util import deregister_serializer, list_named_actors, register_serializer


@skate.remote
def work(x: int) -> int:
    if x < 0:
        raise ValueError(x)
    return x


@skate.remote
class Counter:
    def add(self) -> int:
        return 1


def wait_until(condition: Callable[[], Any], timeout_s: float = 10) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, "the condition did not come true"
        time.sleep(0.02)
    return value


def test_tasks_and_actors_are_listed(process_session: str) -> None:
    skate.get([work.remote(x) for x in range(5)])
    with pytest.raises(ValueError):
        skate.get(work.remote(-1))
    counter = Counter.options(name="counter").remote()
    skate.get(counter.add.remote())

    finished = wait_until(
        lambda: len(rows := state.list_tasks(filters=[("state", "=", "FINISHED"), ("name", "=", "work")])) == 5 and rows
    )
    assert {row.type for row in finished} == {"NORMAL_TASK"}
    failed = wait_until(lambda: state.list_tasks(filters=[("state", "=", "FAILED")], detail=True))
    assert failed[0].error_type == "ValueError"
    (actor,) = state.list_actors(filters=[("class_name", "=", "Counter")])
    assert actor.state == "ALIVE" and actor.name == "counter"
    assert state.get_actor(actor.actor_id) is not None
    assert state.summarize_tasks()["cluster"]["summary"]["work"]["state_counts"] == {"FINISHED": 5, "FAILED": 1}
    assert state.summarize_actors()["cluster"]["total_actors"] == 1
    assert state.list_nodes()[0].is_head_node
    assert state.list_workers() and state.list_jobs()


def test_stored_objects_are_listed(process_session: str) -> None:
    ref = skate.put(bytes(1_000_000))
    (row,) = wait_until(lambda: state.list_objects(filters=[("object_id", "=", ref.hex())]))
    assert row.object_size >= 1_000_000
    assert state.get_objects(ref.hex())


def test_the_timeline_is_written(process_session: str, tmp_path: Path) -> None:
    skate.get([work.remote(x) for x in range(5)])
    path = tmp_path / "trace.json"

    def boxes() -> list[Any]:
        skate.timeline(str(path))
        return [event for event in json.loads(path.read_text()) if event["ph"] == "X" and event["name"].endswith("work")]

    assert wait_until(lambda: len(boxes()) == 5)
    assert isinstance(skate.timeline(), list)


def test_metrics_of_workers_and_driver_are_summed(process_session: str) -> None:
    @skate.remote
    def count() -> None:
        counter = metrics.Counter("jobs_done", tag_keys=("where",))
        counter.inc(2, tags={"where": "x"})
        metrics.flush()

    skate.get([count.remote() for _ in range(3)])
    metrics.Counter("jobs_done", tag_keys=("where",)).inc(tags={"where": "x"})

    assert wait_until(lambda: 'jobs_done_total{where="x"} 7' in metrics.export_text())


def test_keys_and_values(session: str) -> None:
    assert kv._internal_kv_initialized()
    assert kv._internal_kv_put("a", "1") is False
    assert kv._internal_kv_put("a", b"2") is True
    assert kv._internal_kv_get("a") == b"2"
    assert kv._internal_kv_put("a", "3", overwrite=False) is True
    assert kv._internal_kv_get(b"a") == b"2"
    assert kv._internal_kv_put("ab", "x", namespace="other") is False
    assert kv._internal_kv_list("a") == [b"a"]
    assert kv._internal_kv_list("", namespace="other") == [b"ab"]
    assert kv._internal_kv_exists("ab", namespace="other") and not kv._internal_kv_exists("ab")
    assert kv._internal_kv_del("a") == 1
    assert kv._internal_kv_del("a") == 0
    assert kv._internal_kv_del("a", del_by_prefix=True, namespace="other") == 1


def test_named_actors_are_listed(session: str) -> None:
    first = Counter.options(name="first").remote()
    second = Counter.options(name="second", namespace="elsewhere").remote()
    skate.get([first.add.remote(), second.add.remote()])

    assert list_named_actors() == ["first"]
    assert {"name": "second", "namespace": "elsewhere"} in list_named_actors(all_namespaces=True)


class Locked:
    """Cannot be pickled by itself."""

    def __init__(self, value: int) -> None:
        import threading

        self.value = value
        self.lock = threading.Lock()


@skate.remote
def value_of(locked: Locked) -> int:
    return locked.value


def test_a_registered_serializer_reaches_the_workers(process_session: str) -> None:
    with pytest.raises(TypeError):
        skate.put(Locked(3))
    register_serializer(Locked, serializer=lambda locked: locked.value, deserializer=Locked)
    try:
        assert skate.get(value_of.remote(Locked(3))) == 3
        assert skate.get(skate.put([Locked(4)]))[0].value == 4
    finally:
        deregister_serializer(Locked)
