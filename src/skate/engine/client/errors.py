"""What failed, in words: errors as they are packed by whoever notices, travel as kind ERROR, and are raised by `get`.

    pack_task_error, worker_crashed, actor_died, …  ─► bytes (a pickle of one dict) ─► unpack_error ─► exception

A task's error carries the text of its traceback, made where it was raised, without the engine's frames; and the exception itself, pickled
apart, so that a failure to unpickle it does not lose the text. Every text names the task, the process, the cause and what to try.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skate import exceptions as x

if TYPE_CHECKING:
    import traceback

    from skate.engine.client.actor_calls import Connection
    from skate.engine.client.objects import Entry
    from skate.engine.client.tasks import Lease, Task
    from skate.engine.spec import messages as m

_dumps = pickle.dumps
_PACKAGE = os.path.dirname(os.path.abspath(x.__file__))
_NAMES_SHOWN_MAX = 3
SHUT_DOWN = "the session was shut down"  # How the reason begins when the program itself has ended it.


# ---------------------------------------------------------------- a task raised


def pack_task_error(
    error: BaseException,
    *,
    name: str,
    task: bytes,
    pid: int,
    worker: int,
    actor_class: str,
    attempt: int,
    duration_s: float,
    arguments: str = "",
) -> bytes:
    """An exception that user code raised, with the traceback as it is here."""
    where = f"{'actor call' if actor_class else 'task'} {name}{arguments} · worker {worker} · pid {pid} · {_duration(duration_s)} · attempt {attempt + 1}"
    text = _traceback_text(error, where)
    # A task that met another task's error passes on what was raised in the first place; the text tells the whole way.
    cause = error
    while isinstance(cause, x.RayTaskError) and cause.cause is not None:
        cause = cause.cause
    fields = {
        "kind": "task", "name": name, "task": task, "pid": pid, "worker": worker, "attempt": attempt, "duration_s": duration_s,
        "traceback": text, "type": type(cause).__name__, "cause": _pack_cause(cause),
    }  # fmt: skip
    return _dumps(fields, 5)


def _unpack_task_error(fields: dict[str, Any]) -> BaseException:
    try:
        cause = pickle.loads(fields["cause"])
    except Exception:
        cause = None
    if not isinstance(cause, BaseException):
        cause = x.UnserializableException(
            f"{fields['type']} (it could not be unpickled here; its traceback is in `traceback_str`)"
        )
    text = _with_source_lines(fields["traceback"])
    error = x.RayTaskError(fields["name"], text, cause, pid=fields["pid"])
    error.worker, error.task_id = fields["worker"], fields["task"]
    error.attempt, error.duration_s = fields["attempt"], fields["duration_s"]
    error.__cause__ = x.RemoteTraceback(text)
    for note in fields.get("notes", ()):
        error.add_note(note)
    return error.as_instanceof_cause()


def _with_source_lines(text: str) -> str:
    """Notebooks and interactive sessions keep their source in this process only: fill in what the other one could not show."""
    cache = sys.modules.get("linecache")
    if cache is None or ("<" not in text and "ipykernel" not in text):
        return text
    lines = text.split("\n")
    filled: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        filled.append(line)
        if line.startswith('  File "') and not following.startswith("    "):
            filename, _, rest = line[8:].partition('", line ')
            number = rest.partition(",")[0]
            source = cache.getline(filename, int(number)).strip() if number.isdigit() else ""
            if source:
                filled.append(f"    {source}")
    return "\n".join(filled)


def argument_failed(data: bytes, name: str) -> bytes:
    """The error of an argument, for the task that was not run because of it."""
    fields = pickle.loads(data)
    notes = fields.setdefault("notes", [])
    if len(notes) < _NAMES_SHOWN_MAX:
        notes.append(f"{name}() was never run: its argument failed")
    return _dumps(fields, 5)


def _traceback_text(error: BaseException, where: str) -> str:
    import traceback

    header = f"{x.REMOTE_HEADER}{where}\n"
    try:
        told = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        _hide_engine_frames(told, set())
        text = "".join(told.format())
    except Exception as trouble:  # Exceptions with a hostile __str__, __cause__, …
        text = f"{type(error).__name__} (its traceback can't be made: {type(trouble).__name__})\n"
    lines = [header if line == "Traceback (most recent call last):\n" else line for line in text.splitlines(keepends=True)]
    text = "".join(lines)
    return text if text.startswith(x.REMOTE_HEADER) else header + text


def _hide_engine_frames(told: traceback.TracebackException, seen: set[int]) -> None:
    import traceback

    if id(told) in seen:
        return
    seen.add(id(told))
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other is not None:
            _hide_engine_frames(other, seen)
    stack = told.stack or ()
    shown = [frame for frame in stack if not is_engine_frame(frame.filename)]
    if shown and not all(map(_is_of_picklers, shown)):
        told.stack = traceback.StackSummary.from_list(shown)
    elif not stack or _is_of_picklers(stack[-1]) or (stack[-1].line or "").startswith("raise "):
        # Raised by the engine itself on purpose: the text says it all, also of what led to it. No stack prints no header.
        told.stack = None  # type: ignore[assignment]
        if told.__cause__ is not None and not told.__cause__.stack:
            told.__cause__ = None
        if told.__context__ is not None and not told.__context__.stack:
            told.__context__ = None
    else:
        # Perhaps a bug of ours: where it is, without the way there.
        told.stack = traceback.StackSummary.from_list(told.stack[-1:])


def _is_of_picklers(frame: traceback.FrameSummary) -> bool:
    """Our way to pickle a value leads through them; user code in it (a `__reduce__`) has frames of its own."""
    return frame.filename.endswith("/cloudpickle/cloudpickle.py")


def is_engine_frame(filename: str) -> bool:
    """Whether a file belongs to the engine or the public API; libraries that stand on them (skate.pandas, …) are user code here."""
    if not filename.startswith(_PACKAGE):
        return False
    parts = filename[len(_PACKAGE) + 1 :].split(os.sep)
    return len(parts) == 1 or parts[0] in ("engine", "backends", "util", "experimental")


def _pack_cause(cause: BaseException) -> bytes:
    """The exception as a pickle that was tried; a copy made by hand when its own pickling is broken; b"" when nothing helps."""
    for dump in (_dumps_plain, _dumps_thoroughly):
        try:
            data = dump(cause)
            if type(pickle.loads(data)).__name__ == type(cause).__name__:
                return data
        except Exception:  # Many exceptions can't be pickled, or can't be made again from their args.
            continue
    for state in ({key: value for key, value in vars(cause).items() if _can_travel(value)}, {}):
        try:
            args = tuple(arg if _can_travel(arg) else repr(arg) for arg in cause.args)
            data = _dumps_thoroughly(_Remade(type(cause), args, state))
            if isinstance(pickle.loads(data), BaseException):
                return data
        except Exception:
            continue
    return b""


class _Remade:
    """Pickles as an exception that is made without calling its class."""

    def __init__(self, kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> None:
        self._content = (kind, args, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, self._content


def _remake(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _dumps_plain(value: Any) -> bytes:
    data = _dumps(value, 5)
    if b"__main__" in data or b"__mp_main__" in data:
        raise pickle.PicklingError("it belongs to the program itself, which is another one in each process")
    return data


def _dumps_thoroughly(value: Any) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(value, 5)
    return data


def _can_travel(value: Any) -> bool:
    try:
        pickle.loads(_dumps_thoroughly(value))
    except Exception:
        return False
    return True


# ---------------------------------------------------------------- everything else is an error of skate


def pack(error: x.RayError, cause: bytes = b"") -> bytes:
    """An error that the engine itself has found. `cause`: another packed error."""
    return _dumps({"kind": "skate", "error": error, "cause": cause}, 5)


def unpack_error(data: bytes) -> BaseException:
    """The exception to raise; a new one each time, since raising changes it."""
    try:
        fields = pickle.loads(data)
        if fields["kind"] == "task":
            return _unpack_task_error(fields)
        error: BaseException = fields["error"]
        if fields["cause"]:
            error.__cause__ = unpack_error(fields["cause"])
        for note in fields.get("notes", ()):
            error.add_note(note)
    except Exception as trouble:
        return x.RaySystemError(f"an error came whose description can't be read: {type(trouble).__name__}: {trouble}")
    return error


def pack_cancelled(name: str, task: bytes) -> bytes:
    return pack(x.TaskCancelledError(task, f"{name}() was cancelled (task {task.hex()})"))


def cancelled(task: Task) -> bytes:
    return pack_cancelled(_name(task), task.task_id)


def pack_exit(name: str, task: bytes) -> bytes:
    text = f"the actor ended on purpose while it ran {name}() (task {task.hex()}): exit_actor() or sys.exit() was called there"
    return pack(x.ActorDiedError(text))


def pack_system_error(kind: str, text: str) -> bytes:
    """`kind`: "runtime_env", or anything else for an error of the engine's own."""
    return pack(x.RuntimeEnvSetupError(text) if kind == "runtime_env" else x.RaySystemError(text))


# ---------------------------------------------------------------- the engine is gone


def node_died_exception(reason: str) -> x.RayError:
    if reason.startswith(SHUT_DOWN):
        return x.RaySystemError(f"{reason}: its refs and handles are no longer valid; call skate.init() and make new ones")
    if reason.startswith("this process was forked"):
        return x.RaySystemError(reason)
    return x.NodeDiedError(
        f"the engine has ended: {reason}; what was not finished is lost. Call skate.shutdown() and skate.init() to start a new session"
    )


def node_died(reason: str) -> bytes:
    return pack(node_died_exception(reason))


# ---------------------------------------------------------------- workers and leases


def worker_crashed(message: m.LeaseLost, task: Task, lease: Lease) -> bytes:
    """The worker died while it ran this task, and there are no retries left."""
    name = _name(task)
    allowed = task.token.max_retries
    tries = f"attempt {task.attempt + 1} of {allowed + 1}" if allowed >= 0 else f"attempt {task.attempt + 1}"
    who = f"worker {lease.worker} (pid {lease.pid})"
    detail = message.detail or message.kind
    task_text = f"task {task.task_id.hex()}, {tries}"
    if message.kind == "oom":
        return pack(
            x.OutOfMemoryError(
                f"{who} was ended while it ran {name}() ({task_text}): {detail}; run fewer of them at once "
                f"(a larger num_cpus, or memory=… per task), or give it less data"
            )
        )
    if message.kind == "placement_group_removed":
        return pack(x.TaskPlacementGroupRemoved(f"{name}() was ended ({task_text}): its placement group was removed"))
    if message.kind == "node_removed":
        return pack(x.NodeDiedError(f"{name}() was lost ({task_text}): its node was removed"))
    hint = "raise max_retries if that may happen"
    if message.kind in ("exit", "exit_code"):
        hint = "tasks must return or raise: look for sys.exit(), os._exit() or a crash in native code"
    elif "SIGSEGV" in detail or "SIGABRT" in detail or "SIGBUS" in detail:
        hint = "the fault is in native code: its stack is in the worker's output (skate logs)"
    elif "SIGKILL" in detail and message.kind != "killed":
        hint = "somebody killed it, or the kernel did for lack of memory (see dmesg); raise max_retries if that may happen"
    return pack(x.WorkerCrashedError(f"{who} died while it ran {name}() ({task_text}): {_process(detail)}; {hint}"))


def lease_rejected(message: m.LeaseRejected, task: Task) -> bytes:
    """No worker will ever be given to this task."""
    text = f"{_name(task)}() can't run: {message.error}"
    match message.kind:
        case "env":
            return pack(x.RuntimeEnvSetupError(text))
        case "placement_group_removed":
            return pack(x.TaskPlacementGroupRemoved(text))
        case "unschedulable":
            return pack(x.TaskUnschedulableError(text))
        case _:
            return pack(x.RaySystemError(text))


# ---------------------------------------------------------------- actors


def actor_died(connection: Connection, task: Task, was_sent: bool = False) -> bytes:
    """The actor is dead for good. `was_sent`: this call may have run."""
    death = connection.death
    actor = connection.actor_id.hex()
    kind, cause = (death.kind, death.cause) if death is not None else ("died", "it has ended")
    fate = "may or may not have run" if was_sent else "was not run"
    who = f"actor {connection.class_name or actor}" + (f" (pid {connection.pid})" if connection.pid else "")
    text = f"{_name(task)}() {fate}: {who} is dead: {cause}; actor id {actor}"
    match kind:
        case "creation":
            assert death is not None
            failure = unpack_error(death.error) if death.error else None
            if failure is not None:
                why = failure.last_line() if isinstance(failure, x.RayTaskError) else str(failure)
                text = f"{_name(task)}() {fate}: {who} is dead: its constructor raised {why}; actor id {actor}"
            error = x.ActorDiedError(text, actor)
            error._actor_init_failed = True
            return pack(error, death.error)
        case "unschedulable":
            return pack(x.ActorUnschedulableError(text))
        case "env":
            return pack(x.RuntimeEnvSetupError(text))
        case "placement_group_removed":
            return pack(x.ActorPlacementGroupRemoved(text))
        case "oom":
            return pack(x.OutOfMemoryError(text))
        case "died" | "node_removed":
            hint = "pass max_restarts=… to have it started again" if death is not None and death.incarnation == 0 else ""
            return pack(x.ActorDiedError(f"{text}; {hint}" if hint else text, actor))
        case _:
            return pack(x.ActorDiedError(text, actor))


def actor_unavailable(connection: Connection, task: Task, update: m.ActorUpdate | None) -> bytes:
    """The actor went away while this call was with it, and starts again."""
    cause = f": {update.cause}" if update is not None and update.cause else ""
    text = (
        f"{_name(task)}() may or may not have run: actor {connection.class_name} (pid {connection.pid}) died meanwhile and is being "
        f"started again{cause}; pass max_task_retries=… to have such calls repeated; actor id {connection.actor_id.hex()}"
    )
    return pack(x.ActorUnavailableError(text, connection.actor_id.hex()))


def too_many_pending_calls(connection: Connection) -> x.RayError:
    return x.PendingCallsLimitExceeded(
        f"actor {connection.class_name} has {connection.max_pending_calls} calls that are not finished, its max_pending_calls: "
        "get some results before you call it again, or raise the limit"
    )


# ---------------------------------------------------------------- values


def store_full(text: str) -> x.RayError:
    """`text`: "kind: words", as the directory writes it."""
    kind, colon, words = text.partition(": ")
    if not colon:
        words = text
    return x.OutOfDiskError(words) if kind == "out_of_disk" else x.ObjectStoreFullError(words)


def foreign_ref() -> Exception:
    return ValueError(
        "this ObjectRef belongs to a session that has ended, or was unpickled by hand after its value had gone: "
        "make the value again in this session"
    )


def get_timeout(timeout_s: float | None, refs: Sequence[Any], entries: Sequence[Entry | None]) -> x.RayError:
    """`refs`: those without a value."""
    shown = [_missing(ref, entry) for ref, entry in zip(refs[:_NAMES_SHOWN_MAX], entries[:_NAMES_SHOWN_MAX], strict=True)]
    more = f" and {len(refs) - len(shown)} more" if len(refs) > len(shown) else ""
    count = "1 value is" if len(refs) == 1 else f"{len(refs):,} values are"
    return x.GetTimeoutError(f"get() timed out after {timeout_s:g} s: {count} not there yet: {'; '.join(shown)}{more}")


def _missing(ref: Any, entry: Entry | None) -> str:
    task = entry.task if entry is not None else None
    if task is None or task.token is None:
        return f"object {ref.hex()}"
    lease = task.lease
    if lease is not None:
        state = f"with worker {lease.worker} (pid {lease.pid})"
    elif task.unresolved:
        state = f"waiting for {task.unresolved} of its arguments"
    elif hasattr(task.token, "actor"):
        state = "waiting for its actor to start" if task.token.actor.channel is None else "waiting for the actor's earlier calls"
    else:
        state = "waiting for a free worker"
    return f"{_name(task)}() (task {task.task_id.hex()}), {state}"


def object_lost(message: m.Fetched) -> bytes:
    """The node says that a value can't be had."""
    kinds = {"owner_died": x.OwnerDiedError, "freed": x.ObjectFreedError}
    kind = kinds.get(message.lost_kind, x.ObjectLostError)
    return pack(kind(message.id.hex(), None, "", message.lost))


def cannot_remake(object_id: bytes, task: Task | None) -> bytes:
    """The value of an object of ours is lost."""
    if task is None or task.token is None:
        text = "its value is lost and nobody can make it again: it came from put(), an actor, or a generator"
        return pack(x.ObjectReconstructionFailedLineageEvictedError(object_id.hex(), None, text))
    allowed = task.token.max_retries
    text = f"its value is lost, and {_name(task)}() (task {task.task_id.hex()}) has used all of its {allowed} retries; raise max_retries"
    if allowed == 0:
        text = f"its value is lost, and {_name(task)}() (task {task.task_id.hex()}) was made with max_retries=0, so it is not run again"
    return pack(x.ObjectReconstructionFailedMaxAttemptsExceededError(object_id.hex(), None, text))


# ---------------------------------------------------------------- words


def _name(task: Task) -> str:
    return str(getattr(task.token, "name", "") or "a task")


def _process(detail: str) -> str:
    return f"it {detail}" if detail.startswith(("exited", "was ", "killed")) else detail


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
