"""`skate.timeline(filename)`: what ran where and when, as a Chrome trace (open it at https://ui.perfetto.dev or chrome://tracing).

A row for each worker; a box for each attempt of a task or actor call; arrows from a task to the tasks it started. Times are
microseconds since the epoch.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from skate.backends import current

_KINDS = ("task", "actor_creation", "actor_call")
_STATES = ("running", "finished", "failed", "cancelled")
_COLOURS = {"failed": "terrible", "cancelled": "grey", "running": "yellow"}  # Chrome's names; others are coloured by name.


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """Write the trace to a file, or return its events when no name is given.

    Raises:
        RuntimeError: Nothing is running.
    """
    backend = current.peek()
    if backend is None:
        raise RuntimeError("no session is running: skate.timeline() has to be called before skate.shutdown()")
    rows = backend.query("timeline", {}) or []
    # A Ray cluster's are Chrome's events already.
    events = rows if backend.name == "ray" else chrome_events(rows, backend.query("workers", {}) or [])
    if filename is None:
        return list(events)
    with open(filename, "w", encoding="utf-8") as file:
        file.write("[\n")
        separator = ""
        for event in events:
            file.write(separator)
            file.write(json.dumps(event, separators=(",", ":")))
            separator = ",\n"
        file.write("\n]\n")
    return None


def chrome_events(rows: Iterable[Any], workers: Iterable[dict[str, Any]] = ()) -> Iterator[dict[str, Any]]:
    """Chrome trace events of task event rows.

    Args:
        rows: As in `engine/spec/task_events.py`, with ids as bytes or as hex.
        workers: To name the rows; of the workers that still live.
    """
    pids = {_number(worker.get("worker_id")): worker.get("pid") for worker in workers}
    rows = list(rows)
    # A long attempt is reported twice: when it runs, and when it has ended.
    ended = {(row[0], row[1]) for row in rows if isinstance(row, (tuple, list)) and row[9]}
    yield {"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "skate"}}
    seen: set[Any] = set()
    places: dict[str, tuple[Any, int]] = {}  # task → (row, start): where arrows begin
    arrows: list[tuple[str, str, Any, int]] = []
    for row in rows:
        if isinstance(row, (tuple, list)) and not row[9] and (row[0], row[1]) in ended:
            continue
        task, attempt, name, kind, state, worker, actor, parent, start_us, end_us, error, owner = _fields(row)
        if worker not in seen:
            seen.add(worker)
            pid = pids.get(_number(worker))
            yield {
                "name": "thread_name",
                "ph": "M",
                "pid": 1,
                "tid": worker,
                "args": {"name": f"worker {worker}" + (f" (pid {pid})" if pid else "")},
            }
        arguments = {"task_id": task, "attempt": attempt, "state": state, "owner": owner}
        arguments.update(
            {key: value for key, value in (("actor_id", actor), ("parent_task_id", parent), ("error", error)) if value}
        )
        event = {"name": name, "cat": kind, "pid": 1, "tid": worker, "ts": start_us, "args": arguments}
        if end_us:
            event |= {"ph": "X", "dur": max(end_us - start_us, 1)}
        else:
            event["ph"] = "B"
        if state in _COLOURS:
            event["cname"] = _COLOURS[state]
        yield event
        places[task] = (worker, start_us)
        if parent:
            arrows.append((parent, task, worker, start_us))
    for number, (parent, _task, worker, start_us) in enumerate(arrows):
        if parent in places:
            parent_worker, parent_start_us = places[parent]
            common = {"name": "starts", "cat": "submit", "id": number, "pid": 1}
            yield common | {"ph": "s", "tid": parent_worker, "ts": min(max(parent_start_us, start_us - 1), start_us)}
            yield common | {"ph": "f", "bp": "e", "tid": worker, "ts": start_us}


def _fields(row: Any) -> tuple[Any, ...]:
    if isinstance(row, dict):
        start_us = row.get("start_us") or int(1000 * (row.get("start_time_ms") or 0))
        end_us = row.get("end_us") or int(1000 * (row.get("end_time_ms") or 0))
        row = (
            *(row.get(key) for key in ("task_id", "attempt", "name", "kind", "status", "worker", "actor_id", "parent_task_id")),
            start_us,
            end_us,
            row.get("error") or row.get("error_message") or "",
            row.get("owner"),
        )
    task, attempt, name, kind, status, worker, actor, parent, start_us, end_us, error, owner = row
    return (
        _text(task),
        attempt or 0,
        name,
        _KINDS[kind] if isinstance(kind, int) else str(kind),
        _STATES[status] if isinstance(status, int) else str(status).lower(),
        worker if isinstance(worker, int) else _text(worker),
        _text(actor),
        _text(parent),
        start_us,
        end_us,
        error,
        owner,
    )


def _number(worker: Any) -> int:
    """A worker's number: rows have it as it is, lists of workers as hex."""
    return worker if isinstance(worker, int) else int(_text(worker) or "0", 16)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.hex() if isinstance(value, bytes) else str(value)


class _CallableModule(types.ModuleType):
    """Importing this module puts it into the package as `skate.timeline`, where users expect the function: so the module is

    callable.
    """

    def __call__(self, filename: str | None = None) -> list[dict[str, Any]] | None:
        return timeline(filename)


sys.modules[__name__].__class__ = _CallableModule
