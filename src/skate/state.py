"""State of the running session: `list_tasks()`, `get_actor(id)`, `summarize_tasks()` and their kin, with Ray's names and columns.

Rows are dataclasses that also answer to `row["name"]` and `row.get("name")`. What a row does not know is None. Everything is
asked from the node process at the moment of the call; nothing needs a dashboard.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from skate.backends import current
from skate.exceptions import RaySystemError

LIMIT = 100
_ROWS_MAX = 10_000_000
TIMEOUT_S = 30

Filter = tuple[str, str, Any]  # (column, "=" or "!=", value)


class RayStateApiException(RaySystemError):
    """State could not be had."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


@dataclass
class StateRow:
    """Base of all rows."""

    _detail: ClassVar[frozenset[str]] = frozenset()  # Columns that are None unless `detail=True`.

    def __getitem__(self, column: str) -> Any:
        try:
            return getattr(self, column)
        except AttributeError:
            raise KeyError(column) from None

    def __setitem__(self, column: str, value: Any) -> None:
        setattr(self, column, value)

    def __contains__(self, column: object) -> bool:
        return isinstance(column, str) and column in self.keys()

    def get(self, column: str, default: Any = None) -> Any:
        return getattr(self, column, default)

    def keys(self) -> list[str]:
        return list(vars(self))

    def items(self) -> list[tuple[str, Any]]:
        return list(vars(self).items())

    def asdict(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def columns(cls) -> set[str]:
        return {field.name for field in fields(cls)}


@dataclass
class TaskState(StateRow):
    """One attempt of a task or of an actor call."""

    _detail = frozenset(
        {"error_message", "start_time_ms", "end_time_ms", "creation_time_ms", "required_resources", "placement_group_id"}
    )

    task_id: str | None = None
    attempt_number: int | None = None
    name: str | None = None
    state: str | None = None
    job_id: str | None = None
    actor_id: str | None = None
    type: str | None = None
    func_or_class_name: str | None = None
    parent_task_id: str | None = None
    node_id: str | None = None
    worker_id: str | None = None
    worker_pid: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    start_time_ms: float | None = None
    end_time_ms: float | None = None
    creation_time_ms: float | None = None
    required_resources: dict[str, float] | None = None
    placement_group_id: str | None = None


@dataclass
class ActorState(StateRow):
    """An actor, living or dead."""

    _detail = frozenset({"death_cause", "is_detached", "num_restarts", "required_resources", "placement_group_id", "repr_name"})

    actor_id: str | None = None
    class_name: str | None = None
    state: str | None = None
    job_id: str | None = None
    name: str | None = None
    node_id: str | None = None
    pid: int | None = None
    ray_namespace: str | None = None
    is_detached: bool | None = None
    num_restarts: int | None = None
    death_cause: Any = None
    required_resources: dict[str, float] | None = None
    placement_group_id: str | None = None
    repr_name: str | None = None


@dataclass
class ObjectState(StateRow):
    """An object in the store. `object_size` is in bytes."""

    object_id: str | None = None
    object_size: int | None = None
    state: str | None = None
    task_status: str | None = None
    reference_type: str | None = None
    call_site: str | None = None
    type: str | None = None
    pid: int | None = None
    ip: str | None = None
    owner: Any = None
    reference_count: int | None = None
    is_spilled: bool | None = None


@dataclass
class NodeState(StateRow):
    """A node: this machine, or a logical part of it."""

    node_id: str | None = None
    node_ip: str | None = None
    is_head_node: bool | None = None
    state: str | None = None
    node_name: str | None = None
    resources_total: dict[str, float] | None = None
    labels: dict[str, str] | None = None


@dataclass
class WorkerState(StateRow):
    """A worker process."""

    worker_id: str | None = None
    is_alive: bool | None = None
    worker_type: str | None = None
    exit_type: str | None = None
    node_id: str | None = None
    ip: str | None = None
    pid: int | None = None
    state: str | None = None
    job_id: str | None = None
    rss_bytes: int | None = None


@dataclass
class JobState(StateRow):
    """A job: one driver program."""

    job_id: str | None = None
    submission_id: str | None = None
    entrypoint: str | None = None
    type: str | None = None
    status: str | None = None
    message: str | None = None
    error_type: str | None = None
    pid: int | None = None
    namespace: str | None = None
    start_time: float | None = None


@dataclass
class PlacementGroupState(StateRow):
    """A placement group."""

    _detail = frozenset({"bundles", "is_detached", "stats"})

    placement_group_id: str | None = None
    name: str | None = None
    creator_job_id: str | None = None
    state: str | None = None
    strategy: str | None = None
    bundles: list[Any] | None = None
    is_detached: bool | None = None
    stats: dict[str, Any] | None = None


@dataclass
class RuntimeEnvState(StateRow):
    """A runtime environment in use."""

    runtime_env: dict[str, Any] | None = None
    success: bool | None = None
    creation_time_ms: float | None = None
    node_id: str | None = None
    ref_cnt: int | None = None
    error: str | None = None


R = TypeVar("R", bound=StateRow)

# ---------------------------------------------------------------- list


def list_tasks(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = LIMIT,
    timeout: int = TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[TaskState]:
    """Attempts of tasks and actor calls.

    Args:
        address: Ignored: the session of this program is asked.
        filters: All must hold, such as `[("state", "=", "RUNNING")]`; predicates are `=` and `!=`.
        limit: At most so many rows.
        detail: Fill the columns that are left out otherwise (times, error messages).
    """
    return _list("tasks", TaskState, filters, limit, detail)


def list_actors(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = LIMIT,
    timeout: int = TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ActorState]:
    """Actors, with the dead ones. Arguments as for `list_tasks`."""
    return _list("actors", ActorState, filters, limit, detail)


def list_objects(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = LIMIT,
    timeout: int = TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ObjectState]:
    """Objects that the node knows: stored ones, and small ones that several processes refer to. Arguments as for `list_tasks`."""
    return _list("objects", ObjectState, filters, limit, detail)


def list_nodes(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = LIMIT,
    timeout: int = TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[NodeState]:
    """Nodes. Arguments as for `list_tasks`."""
    return _list("nodes", NodeState, filters, limit, detail)


def list_workers(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = LIMIT,
    timeout: int = TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[WorkerState]:
    """Worker processes. Arguments as for `list_tasks`."""
    return _list("workers", WorkerState, filters, limit, detail)


def list_jobs(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = LIMIT,
    timeout: int = TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[JobState]:
    """Driver programs. Arguments as for `list_tasks`."""
    return _list("jobs", JobState, filters, limit, detail)


def list_placement_groups(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = LIMIT,
    timeout: int = TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[PlacementGroupState]:
    """Placement groups. Arguments as for `list_tasks`."""
    return _list("placement_groups", PlacementGroupState, filters, limit, detail)


def list_runtime_envs(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = LIMIT,
    timeout: int = TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[RuntimeEnvState]:
    """The runtime environment of this program, when it has one. Environments of single tasks are not recorded."""
    env = dict(_backend().runtime_context().get("runtime_env") or {})
    rows = [RuntimeEnvState(runtime_env=env, success=True, ref_cnt=1)] if env else []
    return _select(rows, RuntimeEnvState, filters, limit)


def list_cluster_events(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = LIMIT,
    timeout: int = TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[dict[str, Any]]:
    """Events of a cluster's daemons: on one machine there are none."""
    return []


# ---------------------------------------------------------------- get


def get_task(
    id: Any, address: str | None = None, timeout: int = TIMEOUT_S, _explain: bool = False
) -> TaskState | list[TaskState] | None:
    """A task by its hex id, or by an ObjectRef of its result: a list when it had several attempts."""
    task_id = id.task_id().hex() if hasattr(id, "task_id") else str(id)
    rows = _list("tasks", TaskState, [("task_id", "=", task_id)], None, detail=True)
    return rows[0] if len(rows) == 1 else rows or None


def get_actor(id: str, address: str | None = None, timeout: int = TIMEOUT_S, _explain: bool = False) -> ActorState | None:
    return _first("actors", ActorState, "actor_id", id)


def get_node(id: str, address: str | None = None, timeout: int = TIMEOUT_S, _explain: bool = False) -> NodeState | None:
    return _first("nodes", NodeState, "node_id", id)


def get_worker(id: str, address: str | None = None, timeout: int = TIMEOUT_S, _explain: bool = False) -> WorkerState | None:
    return _first("workers", WorkerState, "worker_id", id)


def get_job(id: str, address: str | None = None, timeout: int = TIMEOUT_S, _explain: bool = False) -> JobState | None:
    return _first("jobs", JobState, "job_id", id)


def get_placement_group(
    id: str, address: str | None = None, timeout: int = TIMEOUT_S, _explain: bool = False
) -> PlacementGroupState | None:
    return _first("placement_groups", PlacementGroupState, "placement_group_id", id)


def get_objects(id: str, address: str | None = None, timeout: int = TIMEOUT_S, _explain: bool = False) -> list[ObjectState]:
    """What is known of one object; a list, as in Ray."""
    return _list("objects", ObjectState, [("object_id", "=", id)], None, detail=True)


# ---------------------------------------------------------------- summarize


def summarize_tasks(
    address: str | None = None, timeout: int = TIMEOUT_S, raise_on_missing_output: bool = True, _explain: bool = False
) -> dict[str, Any]:
    """How many attempts of each function are in which state: `{"cluster": {"summary": {function: {"state_counts": …}}, …}}`."""
    summary: dict[str, dict[str, Any]] = {}
    kinds: Counter[str] = Counter()
    for row in _list("tasks", TaskState, None, None, detail=False):
        name = row.func_or_class_name or row.name or "unknown"
        entry = summary.setdefault(name, {"func_or_class_name": name, "type": row.type, "state_counts": Counter()})
        entry["state_counts"][row.state] += 1
        kinds[row.type or ""] += 1
    return {
        "cluster": {
            "summary": _plain(summary),
            "total_tasks": kinds["NORMAL_TASK"],
            "total_actor_tasks": kinds["ACTOR_TASK"],
            "total_actor_scheduled": kinds["ACTOR_CREATION_TASK"],
            "summary_by": "func_name",
        }
    }


def summarize_actors(
    address: str | None = None, timeout: int = TIMEOUT_S, raise_on_missing_output: bool = True, _explain: bool = False
) -> dict[str, Any]:
    """How many actors of each class are in which state."""
    summary: dict[str, dict[str, Any]] = {}
    rows = _list("actors", ActorState, None, None, detail=False)
    for row in rows:
        name = row.class_name or "unknown"
        entry = summary.setdefault(name, {"class_name": name, "state_counts": Counter()})
        entry["state_counts"][row.state] += 1
    return {"cluster": {"summary": _plain(summary), "total_actors": len(rows), "summary_by": "class"}}


def summarize_objects(
    address: str | None = None, timeout: int = TIMEOUT_S, raise_on_missing_output: bool = True, _explain: bool = False
) -> dict[str, Any]:
    """How many objects there are, and how large.

    Call sites are not recorded: everything stands under "disabled", as in Ray's default.
    """
    rows = _list("objects", ObjectState, None, None, detail=False)
    total_mb = sum(row.object_size or 0 for row in rows) / 1e6
    entry = {
        "total_objects": len(rows),
        "total_size_mb": total_mb,
        "total_num_workers": len({str(row.owner) for row in rows}),
        "total_num_nodes": 1,
        "task_state_counts": dict(Counter(row.state for row in rows)),
        "ref_type_counts": {},
    }
    return {
        "cluster": {
            "summary": {"disabled": entry} if rows else {},
            "total_objects": len(rows),
            "total_size_mb": total_mb,
            "callsite_enabled": False,
            "summary_by": "callsite",
        }
    }


# ---------------------------------------------------------------- logs


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: int = TIMEOUT_S,
) -> dict[str, list[str]]:
    """Names for `get_log(filename=…)`: one for each worker whose output the node still keeps."""
    names = [f"worker-{pid}" for pid in sorted(_logs())]
    if glob_filter is not None:
        from fnmatch import fnmatch

        names = [name for name in names if fnmatch(name, glob_filter)]
    return {"worker_out": names}


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: int = TIMEOUT_S,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    attempt_number: int = 0,
    **_ignored: Any,
) -> Iterator[str]:
    """What a worker printed, line by line: the last lines, which the node keeps.

    Args:
        filename, pid, actor_id, task_id: Which worker; one of them.
        tail: Only so many lines from the end; -1 is all.
        follow: Not offered: worker output arrives at the driver as it is printed.

    Raises:
        ValueError: None of the four is given, or nothing is known of it.
    """
    if follow:
        raise ValueError(
            "get_log(follow=True) is not offered: the driver prints worker output as it comes; see `skate logs --follow`"
        )
    if filename is not None and pid is None:
        pid = int(filename.rpartition("-")[2])
    if pid is None and actor_id is not None:
        actor = get_actor(actor_id)
        pid = None if actor is None else actor.pid
    elif pid is None and task_id is not None:
        task = get_task(task_id)
        attempts = task if isinstance(task, list) else [task]
        pid = next((row.worker_pid for row in attempts if row is not None and row.attempt_number == attempt_number), None)
    lines = None if pid is None else _logs().get(pid)
    if lines is None:
        raise ValueError("no log: name a worker by pid, filename (see list_logs()), actor_id or task_id")
    return iter([line if line.endswith("\n") else line + "\n" for line in (lines if tail < 0 else lines[len(lines) - tail :])])


def _logs() -> dict[int, list[str]]:
    """pid → lines."""
    reply = _backend().query("logs", {})
    if isinstance(reply, dict):
        return {int(pid): _lines(text) for pid, text in reply.items()}
    found: dict[int, list[str]] = defaultdict(list)
    for row in reply or []:
        pid = row.get("worker_pid", row.get("pid", 0))
        found[int(pid or 0)] += _lines(row.get("lines", row.get("text", row.get("line", ""))))
    return dict(found)


def _lines(text: Any) -> list[str]:
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if isinstance(text, str):
        return text.splitlines(keepends=True)
    return [line.decode(errors="replace") if isinstance(line, bytes) else str(line) for line in text]


# ---------------------------------------------------------------- parts


class StateApiClient:
    """Ray's class of the same name: `list(resource, …)` and `get(resource, id)` by the name of the resource."""

    def __init__(self, address: str | None = None, **_options: Any) -> None:
        self.address = address

    def list(self, resource: Any, options: Any = None, raise_on_missing_output: bool = True, _explain: bool = False) -> list[Any]:
        return list(
            _LISTS[_resource_name(resource)](filters=getattr(options, "filters", None), limit=getattr(options, "limit", LIMIT))
        )

    def get(self, resource: Any, id: str, options: Any = None, _explain: bool = False) -> Any:
        return _GETS[_resource_name(resource)](id)


_LISTS: dict[str, Any] = {
    "tasks": list_tasks,
    "actors": list_actors,
    "objects": list_objects,
    "nodes": list_nodes,
    "workers": list_workers,
    "jobs": list_jobs,
    "placement_groups": list_placement_groups,
    "runtime_envs": list_runtime_envs,
    "cluster_events": list_cluster_events,
}
_GETS: dict[str, Any] = {
    "tasks": get_task,
    "actors": get_actor,
    "objects": get_objects,
    "nodes": get_node,
    "workers": get_worker,
    "jobs": get_job,
    "placement_groups": get_placement_group,
}

# What the node calls differently from Ray.
_RENAMED = {"objects": {"size_bytes": "object_size"}, "workers": {}, "jobs": {}}


def _resource_name(resource: Any) -> str:
    return str(getattr(resource, "value", resource))


def _backend() -> Any:
    backend = current.peek()
    if backend is None:
        raise RayStateApiException("no session is running: call skate.init(), or skate.init(address='auto') to join one")
    return backend


def _list(what: str, row_class: type[R], filters: Sequence[Filter] | None, limit: int | None, detail: bool) -> list[R]:
    # Filtering is done here: only without a filter may the node leave rows out. It gives the newest.
    params = {"limit": limit if limit and not filters else _ROWS_MAX}
    rows = [_row(row_class, what, plain) for plain in _backend().query(what, params) or []]
    selected = _select(rows, row_class, filters, limit)
    if not detail:
        for row in selected:
            for column in row_class._detail:
                setattr(row, column, None)
    return selected


def _row(row_class: type[R], what: str, plain: dict[str, Any]) -> R:
    row = row_class()
    renamed = _RENAMED.get(what, {})
    vars(row).update((renamed.get(name, name), value) for name, value in plain.items())
    if isinstance(row, WorkerState):
        row.is_alive = row.is_alive is None or row.is_alive
        row.worker_type = row.worker_type or "WORKER"
    elif isinstance(row, JobState):
        row.type = row.type or "DRIVER"
    elif isinstance(row, NodeState):
        row.node_ip = row.node_ip or "127.0.0.1"
        row.node_name = row.node_name or row.node_ip
    return row


def _first(what: str, row_class: type[R], key: str, value: str) -> R | None:
    rows = _list(what, row_class, [(key, "=", value)], 1, detail=True)
    return rows[0] if rows else None


def _select(rows: list[R], row_class: type[R], filters: Sequence[Filter] | None, limit: int | None) -> list[R]:
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    for column, predicate, value in filters or ():
        if predicate not in ("=", "!="):
            raise ValueError(f"unsupported filter predicate {predicate!r}: use '=' or '!='")
        known = row_class.columns()
        if column not in known and not any(column in vars(row) for row in rows[:1]):
            raise ValueError(f"{row_class.__name__} has no column {column!r}: filter by one of {', '.join(sorted(known))}")
        rows = [row for row in rows if _is_equal(row.get(column), value) == (predicate == "=")]
    return rows if limit is None else rows[:limit]


def _is_equal(actual: Any, wanted: Any) -> bool:
    """Text is compared without regard to case; filters from a command line are text altogether: "true", "3"."""
    if isinstance(wanted, str):
        return str(actual).lower() == wanted.lower()
    return bool(actual == wanted)


def _plain(summary: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {**entry, "state_counts": dict(entry["state_counts"])} for name, entry in summary.items()}
