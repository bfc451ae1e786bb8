"""A session that is only data: commands are run against it, and what they print is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from skate.cli import main as cli

Run = Callable[..., tuple[int, str, str]]

TASKS = [
    {
        "task_id": f"0{i}" * 16, "name": name, "func_or_class_name": name, "type": "NORMAL_TASK", "state": state, "worker_pid": 100 + i,
        "attempt_number": 0, "error_type": "KeyError" if state == "FAILED" else None, "error_message": "'b'" if state == "FAILED" else None,
        "start_time_ms": 1000.0, "end_time_ms": None if state == "RUNNING" else 1004.0, "actor_id": None, "job_id": "00000001",
        "parent_task_id": None,
    }
    for i, (name, state) in enumerate([("prep", "FINISHED"), ("train", "FAILED"), ("train", "RUNNING")])
]  # fmt: skip
ACTORS = [
    {
        "actor_id": "aa" * 16,
        "class_name": "Model",
        "name": "model",
        "state": "ALIVE",
        "pid": 200,
        "num_restarts": 0,
        "ray_namespace": "shop",
    },
    {
        "actor_id": "ab" * 16,
        "class_name": "Queue",
        "name": "",
        "state": "DEAD",
        "pid": None,
        "num_restarts": 1,
        "ray_namespace": "shop",
    },
]
SUMMARY = {
    "session": {
        "name": "one", "pid": 1, "driver_pid": 2, "is_embedded": True, "uptime_s": 65.0, "version": "0.1.0", "python": "3.11.7",
        "task_events": 1200, "task_events_dropped": 0, "session_dir": "/nowhere",
    },
    "resources": {"total": {"CPU": 4.0, "memory": 8e9}, "available": {"CPU": 1.5, "memory": 8e9}},
    "objects": {"objects": 3, "used_bytes": 8_000_000, "capacity_bytes": 2_000_000_000, "pinned_bytes": 0, "spilled_objects": 1, "spilled_bytes": 5e6},
    "demand": [{"kind": "task", "name": "big", "count": 2, "resources": {"GPU": 4.0}, "is_feasible": False}],
    "actors": {"ALIVE": 1},
    "workers": {"idle": 1, "leased": 2},
    "jobs": {"RUNNING": 1},
}  # fmt: skip


class FakeLink:
    """Answers from data; remembers what it was told."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "tasks": TASKS, "actors": ACTORS, "objects": [], "workers": [], "placement_groups": [], "summary": SUMMARY,
            "session": SUMMARY["session"], "logs": {100: ["hello", "world"]}, "stacks": {100: "File x, line 1"},
            "metrics": [["counter", "hits", "how many", {"page": "a"}, 3.0]], "timeline": [],
        }  # fmt: skip
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.killed: list[tuple[bytes, bool]] = []

    def query(self, what: str, params: dict[str, Any] | None = None) -> Any:
        self.asked.append((what, params or {}))
        return self.answers[what]

    def kill_actor(self, actor: bytes, *, no_restart: bool) -> None:
        self.killed.append((actor, no_restart))

    def __enter__(self) -> FakeLink:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLink]:
    from skate.cli import kill_actor, listing, logs, memory, metrics, stack, status, summary, timeline

    fake = FakeLink()
    for module in (kill_actor, listing, logs, memory, metrics, stack, status, summary, timeline):
        monkeypatch.setattr(module, "open_link", lambda name: fake)
    yield fake


@pytest.fixture
def run(link: FakeLink, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command: (exit status, what it printed, what it complained of)."""

    def run(*words: str) -> tuple[int, str, str]:
        status = cli.main(list(words))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run
