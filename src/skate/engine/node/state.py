"""State: the node's answers to `skate.state`, the CLI and the dashboard (message Query). Reads everything, changes nothing.

Answers are MessagePack; all ids are hex strings, times are seconds or milliseconds since the epoch as their names say, columns
have Ray's names. Task events stay as they came, encoded, until somebody asks; a long answer is worked out by a forked child
(which sees the same memory), so that whoever looks at a million tasks does not stop the scheduling.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from skate.config import LOG_LINES_KEPT_PER_WORKER, TASK_EVENTS_KEPT
from skate.engine.client.trail import task_numbers
from skate.engine.node.memory_monitor import rss_bytes
from skate.engine.node.worker_processes import flush_standard_streams, fork_child
from skate.engine.spec import messages as m, task_events as t
from skate.engine.spec.resources import to_amounts
from skate.run_format import ROW_BYTES

if TYPE_CHECKING:
    from skate.engine.node.clients import Client
    from skate.engine.node.shell import Shell
    from skate.engine.node.worker_processes import WorkerProcess

STACKS_WITHIN_S = 2.0
TASKS_LISTED_MAX = 100_000  # Unless the question says "limit".
JOBS_KEPT = 1000
ERRORS_KEPT = 10_000

_ROWS_ANSWERED_HERE_MAX = 5000
_WORKERS_KEPT = 100_000
_encode = msgspec.msgpack.Encoder().encode

_TASK_TYPES = ("NORMAL_TASK", "ACTOR_CREATION_TASK", "ACTOR_TASK")
_TASK_STATES = ("RUNNING", "FINISHED", "FAILED", "FAILED")


class TaskEvents:
    """The last TASK_EVENTS_KEPT rows, in the batches they came in."""

    def __init__(self, rows_max: int = TASK_EVENTS_KEPT, tag: bytes = b"\0\0\0\0") -> None:
        self._rows_max = rows_max
        self._tag = tag
        self.names: dict[int, str] = {}
        self.actors: dict[int, bytes] = {}  # By worker.
        self.errors: dict[tuple[int, int, int], str] = {}
        self._batches: deque[tuple[bytes, int]] = deque()
        self.count = 0
        self.dropped = 0

    def add(self, message: m.Events) -> None:
        self.names.update(message.strings)
        for task, attempt, _, text, _ in message.errors:
            self.errors[(*task_numbers(task), attempt)] = text
        while len(self.errors) > ERRORS_KEPT:
            del self.errors[next(iter(self.errors))]
        if message.count <= 0:
            return
        self._batches.append((message.data[: message.count * ROW_BYTES], message.count))
        self.count += message.count
        while self.count > self._rows_max and len(self._batches) > 1:
            _, count = self._batches.popleft()
            self.count -= count
            self.dropped += count

    def rows(self, count_max: int) -> list[t.Row]:
        """The newest rows, oldest first."""
        chosen: list[bytes] = []
        count = 0
        for data, size in reversed(self._batches):
            if count >= count_max:
                break
            chosen.append(data)
            count += size
        rows: list[t.Row] = []
        for data in reversed(chosen):
            rows += t.unpack_attempts(data, self._tag, self.names, self.actors, self.errors)
        return rows[-count_max:] if count_max else []


class Metrics:
    """Rows of `skate.metrics`, added up over all processes."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Any]] = {}

    def add(self, rows: list[Any]) -> None:
        for kind, name, description, tags, value in rows:
            key = (kind, name, tuple(sorted(tags.items())))
            old = self._series.get(key)
            if old is None:
                self._series[key] = [kind, name, description, tags, value]
            elif kind == "counter":
                old[4] += value
            elif kind == "histogram" and list(old[4][1]) == list(value[1]):
                total, bounds, counts = old[4]
                old[4] = [total + value[0], bounds, [a + b for a, b in zip(counts, value[2], strict=True)]]
            else:
                old[4] = value

    def rows(self) -> list[list[Any]]:
        return list(self._series.values())


class State:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.events = TaskEvents(tag=shell.session_tag)
        self.metrics = Metrics()
        self._jobs: dict[int, dict[str, Any]] = {}
        self._known_workers: dict[int, tuple[int, int, str]] = {}  # client id → (pid, job, node id), also of dead ones
        self._stack_calls: dict[int, _StackCall] = {}
        self._stack_numbers = 0
        self._answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "tasks": lambda params: [],  # `on_query` answers these three itself.
            "timeline": lambda params: [],
            "stacks": lambda params: {},
            "actors": lambda params: self._actors(),
            "objects": lambda params: _plain(self._shell.directory.describe("objects")),
            "workers": lambda params: self._workers(),
            "nodes": lambda params: _plain(self._shell.scheduler.describe("nodes")),
            "placement_groups": lambda params: self._placement_groups(),
            "jobs": lambda params: list(self._jobs.values()),
            "leases": lambda params: _plain(self._shell.scheduler.describe("leases")),
            "demand": lambda params: _plain(self._shell.scheduler.describe("demand")),
            "resources": lambda params: self._resources(),
            "logs": self._logs,
            "metrics": lambda params: self.metrics.rows(),
            "summary": lambda params: self._summary(),
            "session": lambda params: self._session(),
        }

    # ------------------------------------------------------------ what the shell reports

    def on_client_joined(self, client: Client, hello: m.Hello) -> None:
        if client.job:
            self._jobs[client.job] = {
                "job_id": job_id(client.job), "pid": client.pid, "namespace": client.namespace, "start_time": client.started_s,
                "end_time": 0.0, "status": "RUNNING", "entrypoint": hello.main_path or hello.job_name, "name": hello.job_name,
            }  # fmt: skip
            while len(self._jobs) > JOBS_KEPT:
                del self._jobs[next(iter(self._jobs))]

    def on_client_gone(self, client: Client, *, crashed: bool) -> None:
        job = self._jobs.get(client.job)
        if job is not None:
            job["status"] = "FAILED" if crashed else "SUCCEEDED"
            job["end_time"] = time.time()
        for call in list(self._stack_calls.values()):
            if call.client == client.number:
                del self._stack_calls[call.number]

    def on_worker_started(self, worker: WorkerProcess) -> None:
        self._known_workers[worker.number] = (worker.pid, worker.job, worker.node.hex())
        if len(self._known_workers) > _WORKERS_KEPT:
            del self._known_workers[next(iter(self._known_workers))]

    def on_worker_gone(self, worker: int) -> None:
        for call in list(self._stack_calls.values()):
            call.missing.discard(worker)
            self._finish_stacks(call)

    def on_metrics(self, client: int, rows: list[Any]) -> None:
        """Of `skate.metrics`, and what `skate.report` and `skate.publish` were told (see `skate.report`)."""
        recorder = self._shell.recorder
        for row in rows:
            if not recorder.tell(client, row):
                self.metrics.add([row])

    def on_events(self, client: int, message: m.Events) -> None:
        recorder = self._shell.recorder
        self.events.add(message)
        for number, text in message.strings:
            recorder.add_string(number, text)
        recorder.add_rows(message.data)
        for _, _, _, text, document in message.errors:
            if document:
                recorder.error_json(client, text.partition(":")[0], document)

    # ------------------------------------------------------------ questions

    def on_query(self, client: int, query: m.Query) -> None:
        params = query.params
        if query.what == "stacks":
            self._ask_stacks(client, query.request, params)
        elif query.what == "timeline":
            self._answer_timeline(client, query.request)
        elif query.what == "tasks":
            self._answer_tasks(client, query.request, params)
        elif query.what in self._answers:
            self._shell.reply(client, query.request, self._answers[query.what](params))
        else:
            self._shell.reply(
                client,
                query.request,
                None,
                f"nothing is known about {query.what!r}: ask for one of {', '.join(sorted(self._answers))}",
            )

    def _answer_tasks(self, client: int, request: int, params: dict[str, Any]) -> None:
        limit = params.get("limit") or TASKS_LISTED_MAX
        # A task may have two rows (running, ended).
        rows_max = min(2 * limit, self.events.count)
        if rows_max <= _ROWS_ANSWERED_HERE_MAX:
            self._shell.reply(client, request, self._tasks(rows_max, limit))
        else:
            self._answer_in_child(client, request, lambda: self._tasks(rows_max, limit))

    def _answer_timeline(self, client: int, request: int) -> None:
        if self.events.count <= _ROWS_ANSWERED_HERE_MAX:
            self._shell.reply(client, request, self.events.rows(self.events.count))
        else:
            self._answer_in_child(client, request, lambda: self.events.rows(self.events.count))

    def _answer_in_child(self, client: int, request: int, work_out: Callable[[], Any]) -> None:
        """Fork, let the child work it out and leave it in a file without a name, and send that."""
        file = os.memfd_create("skate-answer", os.MFD_CLOEXEC)

        def run() -> None:
            data = memoryview(_encode(work_out()))
            while data:
                data = data[os.write(file, data) :]

        def on_exit(status: int) -> None:
            try:
                if status:
                    self._shell.reply(
                        client, request, None, f"the process that works out the answer failed (wait status {status})"
                    )
                    return
                size = os.fstat(file).st_size
                self._shell.send(client, m.Reply(request, os.pread(file, size, 0)))
            finally:
                os.close(file)

        try:
            flush_standard_streams()
            pid = fork_child(run, stdout=1, stderr=2, keep=(file,))
        except OSError:
            os.close(file)
            raise
        self._shell.pool.watch_child(pid, on_exit)

    # ------------------------------------------------------------ answers

    def _tasks(self, rows_max: int, limit: int) -> list[dict[str, Any]]:
        newest: dict[tuple[bytes, int], t.Row] = {}
        for row in self.events.rows(rows_max):
            key = (row[0], row[1])
            old = newest.get(key)
            if old is None or not old[9] or row[9]:  # A row that says how it ended is never replaced by one that says it runs.
                newest[key] = row
        rows = list(newest.values())[-limit:]
        return [self._task(row) for row in rows]

    def _task(self, row: t.Row) -> dict[str, Any]:
        task, attempt, name, kind, status, worker, actor, parent, start_us, end_us, error, owner = row
        error_type, _, error_message = error.partition(": ")
        if status == t.CANCELLED and not error:
            error_type = "TASK_CANCELLED"
        pid, job, node = self._known_workers.get(worker, (None, 0, None))
        return {
            "task_id": task.hex(), "attempt_number": attempt, "name": name, "func_or_class_name": name,
            "type": _TASK_TYPES[kind] if kind < len(_TASK_TYPES) else str(kind),
            "state": _TASK_STATES[status] if status < len(_TASK_STATES) else str(status),
            "actor_id": actor.hex() or None, "parent_task_id": parent.hex() or None,
            "worker_id": worker_id(worker), "worker_pid": pid, "node_id": node,
            "job_id": job_id(job) if job else None, "owner": owner,
            "start_time_ms": start_us / 1000, "end_time_ms": end_us / 1000 if end_us else None,
            "error_type": error_type or None, "error_message": error_message or None,
        }  # fmt: skip

    def _workers(self) -> list[dict[str, Any]]:
        rows = []
        for row in self._shell.scheduler.describe("workers"):
            plain = _plain(row)
            number = _number(row.get("worker_id", row.get("worker", 0)))
            process = self._shell.pool.workers.get(number)
            plain["worker_id"] = worker_id(number)
            plain["job_id"] = job_id(_number(row.get("job_id", row.get("job", 0))))
            plain["pid"] = process.pid if process is not None else None
            plain["rss_bytes"] = rss_bytes(process.pid) if process is not None else 0
            plain["start_time_ms"] = process.started_s * 1000 if process is not None else None
            rows.append(plain)
        return rows

    def _actors(self) -> list[dict[str, Any]]:
        rows = []
        for row in self._shell.scheduler.describe("actors"):
            plain = _plain(row)
            number = _number(row.get("worker_id", row.get("worker", 0)))
            process = self._shell.pool.workers.get(number)
            plain["pid"] = process.pid if process is not None else None
            if "job_id" in row or "job" in row:
                plain["job_id"] = job_id(_number(row.get("job_id", row.get("job", 0))))
            rows.append(plain)
        return rows

    def _placement_groups(self) -> list[dict[str, Any]]:
        rows = _plain(self._shell.scheduler.describe("placement_groups"))
        for row in rows:
            if "creator_job_id" in row:
                row["creator_job_id"] = job_id(_number(row["creator_job_id"]))
        return list(rows)

    def _resources(self) -> dict[str, Any]:
        described = self._shell.scheduler.describe("resources")
        return {"total": to_amounts(described["total"]), "available": to_amounts(described["available"])}

    def _logs(self, params: dict[str, Any]) -> dict[int, list[str]]:
        lines_max = params.get("tail") or LOG_LINES_KEPT_PER_WORKER
        wanted = params.get("worker_pid") or params.get("pid")
        logs = dict(self._shell.pool.dead_logs.values())
        logs.update((worker.pid, worker.log.kept) for worker in self._shell.pool.workers.values())
        return {
            pid: [line for _, _, line in kept.last(lines_max)]
            for pid, kept in logs.items()
            if wanted is None or int(wanted) == pid
        }

    def _session(self) -> dict[str, Any]:
        return {
            **self._shell.record,
            "uptime_s": time.time() - float(self._shell.record["started_s"]),
            "node_rss_bytes": rss_bytes(os.getpid()),
            "session_dir": self._shell.config.session_dir,
            "drivers": sum(1 for client in self._shell.clients.values() if client.job),
            "workers": len(self._shell.pool.workers),
            "task_events": self.events.count,
            "task_events_dropped": self.events.dropped,
        }

    def _summary(self) -> dict[str, Any]:
        return {
            "session": self._session(),
            "resources": self._resources(),
            "objects": _plain(self._shell.directory.describe("summary")),
            "demand": _plain(self._shell.scheduler.describe("demand")),
            "actors": _count(row.get("state") for row in self._shell.scheduler.describe("actors")),
            "workers": _count(row.get("state") for row in self._shell.scheduler.describe("workers")),
            "jobs": _count(row["status"] for row in self._jobs.values()),
        }

    # ------------------------------------------------------------ stacks

    def _ask_stacks(self, client: int, request: int, params: dict[str, Any]) -> None:
        wanted = params.get("worker_pid") or params.get("pid")
        workers = [w for w in self._shell.pool.workers.values() if wanted is None or w.pid == int(wanted)]
        self._stack_numbers += 1
        call = _StackCall(self._stack_numbers, client, request, {worker.number for worker in workers})
        self._stack_calls[call.number] = call
        for worker in workers:
            call.pids[worker.number] = worker.pid
            self._shell.send_control(worker.number, m.DumpStack(call.number))
        self._shell.loop.set_timer_after(STACKS_WITHIN_S, lambda: self._finish_stacks(call, is_late=True))
        self._finish_stacks(call)

    def on_stack(self, worker: int, message: m.StackDump) -> None:
        call = self._stack_calls.get(message.request)
        if call is not None and worker in call.missing:
            call.missing.discard(worker)
            call.texts[call.pids[worker]] = message.text
            self._finish_stacks(call)

    def _finish_stacks(self, call: _StackCall, *, is_late: bool = False) -> None:
        if call.missing and not is_late:
            return
        if self._stack_calls.pop(call.number, None) is None:
            return
        for worker in call.missing:
            call.texts[call.pids[worker]] = (
                f"(no answer within {STACKS_WITHIN_S:g} s: it holds the GIL in native code, or is stopped)"
            )
        self._shell.reply(call.client, call.request, call.texts)


class _StackCall:
    """One question for stacks that has not been answered yet."""

    __slots__ = ("client", "missing", "number", "pids", "request", "texts")

    def __init__(self, number: int, client: int, request: int, missing: set[int]) -> None:
        self.number = number
        self.client = client
        self.request = request
        self.missing = missing
        self.pids: dict[int, int] = {}
        self.texts: dict[int, str] = {}


def worker_id(number: int) -> str:
    return number.to_bytes(4, "big").hex()


def job_id(number: int) -> str:
    return number.to_bytes(4, "big").hex()


def _number(value: Any) -> int:
    """A worker or job as the scheduler names it: a number, or hex, or bytes, or nothing."""
    if isinstance(value, bytes):
        return int.from_bytes(value, "big")
    if isinstance(value, str):
        return int(value, 16) if value else 0
    return int(value or 0)


def _plain(value: Any) -> Any:
    """Bytes become hex, wherever they are."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    return value


def _count(values: Iterable[Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[str(value)] = counts.get(str(value), 0) + 1
    return counts
