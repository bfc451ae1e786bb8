from __future__ import annotations

from typing import Any

import pytest

from skate import state
from skate.backends import current


class FakeBackend:
    name = "fake"

    def __init__(self, **rows: Any) -> None:
        self._rows = rows

    def query(self, what: str, params: Any) -> Any:
        return self._rows.get(what, [])


def task(number: int, name: str, state_: str) -> dict[str, Any]:
    return {
        "task_id": f"{number:04x}",
        "attempt_number": 0,
        "name": name,
        "func_or_class_name": name,
        "state": state_,
        "type": "NORMAL_TASK",
        "worker_pid": 100 + number,
        "start_time_ms": 1.0,
    }


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeBackend(
        tasks=[task(1, "a", "RUNNING"), task(2, "a", "FINISHED"), task(3, "b", "RUNNING")],
        actors=[{"actor_id": "aa", "class_name": "Counter", "state": "ALIVE", "pid": 7, "is_detached": True}],
        objects=[{"object_id": "0b", "size_bytes": 2_000_000, "state": "SEALED", "owner": 1}],
        workers=[{"worker_id": "1", "pid": 7, "state": "idle"}],
        logs={101: "one\ntwo\nthree\n"},
    )
    monkeypatch.setattr(current, "peek", lambda: fake)


pytestmark = pytest.mark.usefixtures("backend")


def test_rows_answer_to_attributes_and_items() -> None:
    row = state.list_tasks()[0]

    assert row.task_id == row["task_id"] == row.get("task_id") == "0001"
    assert "task_id" in row and dict(row.items())["state"] == "RUNNING"
    with pytest.raises(KeyError):
        row["nothing"]


def test_filters_must_all_hold() -> None:
    assert len(state.list_tasks(filters=[("state", "=", "RUNNING")])) == 2
    assert [row.name for row in state.list_tasks(filters=[("state", "=", "running"), ("name", "!=", "a")])] == ["b"]
    assert len(state.list_tasks(filters=[("worker_pid", "=", "101")])) == 1


def test_wrong_filters_are_refused() -> None:
    with pytest.raises(ValueError, match="predicate"):
        state.list_tasks(filters=[("state", "<", "x")])
    with pytest.raises(ValueError, match="no column 'colour'"):
        state.list_tasks(filters=[("colour", "=", "red")])
    with pytest.raises(ValueError, match="limit"):
        state.list_tasks(limit=0)


def test_limit_and_detail() -> None:
    assert len(state.list_tasks(limit=2)) == 2
    assert state.list_tasks()[0].start_time_ms is None
    assert state.list_tasks(detail=True)[0].start_time_ms == 1.0


def test_get_finds_one_or_none() -> None:
    actor = state.get_actor("aa")
    assert actor is not None and actor.class_name == "Counter" and actor.is_detached
    assert state.get_actor("bb") is None
    assert state.get_task("0002").state == "FINISHED"  # type: ignore[union-attr]
    assert state.get_objects("0b")[0].object_size == 2_000_000
    worker = state.get_worker("1")
    assert worker is not None and worker.is_alive and worker.worker_type == "WORKER"


def test_summaries_count_by_name() -> None:
    tasks = state.summarize_tasks()["cluster"]
    assert tasks["summary"]["a"]["state_counts"] == {"RUNNING": 1, "FINISHED": 1}
    assert tasks["total_tasks"] == 3
    assert state.summarize_actors()["cluster"]["summary"]["Counter"]["state_counts"] == {"ALIVE": 1}
    assert state.summarize_objects()["cluster"]["total_size_mb"] == 2.0


def test_logs_by_pid_file_and_task() -> None:
    assert state.list_logs() == {"worker_out": ["worker-101"]}
    assert list(state.get_log(pid=101, tail=2)) == ["two\n", "three\n"]
    assert list(state.get_log(filename="worker-101", tail=1)) == list(state.get_log(task_id="0001", tail=1)) == ["three\n"]
    with pytest.raises(ValueError, match="no log"):
        state.get_log(pid=5)


def test_without_a_session_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "peek", lambda: None)
    with pytest.raises(state.RayStateApiException, match=r"skate\.init"):
        state.list_tasks()
