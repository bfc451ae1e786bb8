"""The errors of skate: one tree, with the names Ray's users know.

    RayError (SkateError)
    │
    ├─ a task's own failure
    │    RayTaskError                        a task or actor call raised; also an instance of what it raised: RayTaskError(ValueError)
    │    TaskCancelledError                  somebody called skate.cancel
    │    UserCodeException                   for libraries that wrap user code
    │
    ├─ a process was lost
    │    WorkerCrashedError                  the worker that ran the task died
    │    RayActorError                       ActorDiedError (for good), ActorUnavailableError (for now)
    │    LocalRayletDiedError, NodeDiedError the node process died
    │    OutOfMemoryError                    the worker was ended because the machine was short of memory
    │
    ├─ a value was lost
    │    ObjectLostError                     ObjectFetchTimedOutError, ReferenceCountingAssertionError, ObjectFreedError, OwnerDiedError,
    │                                        ObjectReconstructionFailedError (…MaxAttemptsExceededError, …LineageEvictedError)
    │    PlasmaObjectNotAvailable
    │
    ├─ there is no room, or not in time
    │    ObjectStoreFullError, OutOfDiskError, GetTimeoutError (a TimeoutError), PendingCallsLimitExceeded
    │
    ├─ it can't be placed or set up
    │    TaskUnschedulableError, ActorUnschedulableError, TaskPlacementGroupRemoved, ActorPlacementGroupRemoved, RuntimeEnvSetupError
    │
    ├─ the caller's mistake
    │    ActorAlreadyExistsError, ActorHandleNotFoundError (both are ValueErrors), UnserializableException, AuthenticationError,
    │    OufOfBandObjectRefSerializationException, CrossLanguageError
    │
    ├─ ends that are not errors
    │    AsyncioActorExit, ObjectRefStreamEndOfStreamError
    │
    └─ ours
         RaySystemError                      RayChannelError (RayChannelTimeoutError), RayCgraphCapacityExceeded, RayDirectTransportError,
                                             StreamingGeneratorReplayInconsistentError
         RpcError

Wrong arguments raise Python's TypeError and ValueError. Texts are made where the facts are known: for the engine in `engine/client/errors.py`.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = [
    "ActorAlreadyExistsError", "ActorDiedError", "ActorHandleNotFoundError", "ActorPlacementGroupRemoved", "ActorUnavailableError",
    "ActorUnschedulableError", "AsyncioActorExit", "AuthenticationError", "CrossLanguageError", "GetTimeoutError", "LocalRayletDiedError",
    "NodeDiedError", "ObjectFetchTimedOutError", "ObjectFreedError", "ObjectLostError", "ObjectReconstructionFailedError",
    "ObjectReconstructionFailedLineageEvictedError", "ObjectReconstructionFailedMaxAttemptsExceededError",
    "ObjectRefStreamEndOfStreamError", "ObjectStoreFullError", "OufOfBandObjectRefSerializationException", "OutOfDiskError",
    "OutOfMemoryError", "OwnerDiedError", "PendingCallsLimitExceeded", "PlasmaObjectNotAvailable", "RayActorError",
    "RayCgraphCapacityExceeded", "RayChannelError", "RayChannelTimeoutError", "RayDirectTransportError", "RayError", "RaySystemError",
    "RayTaskError", "ReferenceCountingAssertionError", "RemoteTraceback", "RpcError", "RuntimeEnvSetupError", "SkateError",
    "StreamingGeneratorReplayInconsistentError", "TaskCancelledError", "TaskPlacementGroupRemoved", "TaskUnschedulableError",
    "UnserializableException", "UserCodeException", "WorkerCrashedError",
]  # fmt: skip


class RayError(Exception):
    """Base of all errors of skate."""

    summary = ""  # What `str` says of an error that was made without a text.

    def __str__(self) -> str:
        return super().__str__() or self.summary


SkateError = RayError


# ---------------------------------------------------------------- a task's own failure


class RayTaskError(RayError):
    """A task, or a call of an actor, raised an exception.

    What `get` raises is also an instance of the exception's own class, so that `except ValueError` catches a remote ValueError.

    Attributes:
        function_name: "square", or "Counter.add".
        traceback_str: The remote traceback, without the engine's own frames.
        cause: The exception itself, as it was unpickled here; None when it could not be.
        pid, worker, task_id, attempt, duration_s: Where and how it ran, as far as it is known.
    """

    function_name = ""
    traceback_str = ""
    cause: BaseException | None = None
    pid = 0
    actor_id: str | None = None
    worker = 0
    task_id = b""
    attempt = 0
    duration_s = 0.0

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException | None,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        self.args = (function_name, traceback_str, cause, proctitle, pid, ip, actor_repr, actor_id)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or f"skate::{function_name}"
        self.pid = pid or 0
        self.ip = ip or "127.0.0.1"
        self.actor_repr = actor_repr
        self.actor_id = actor_id

    def as_instanceof_cause(self) -> RayTaskError:
        """The same error as an instance of its cause's class too; itself when that can't be, or the cause is an error of skate."""
        cause = self.cause
        if (
            not isinstance(cause, Exception)
            or isinstance(cause, (RayError, StopIteration, StopAsyncIteration))
            or type(cause) is Exception
        ):
            return self  # Python itself acts on KeyboardInterrupt, StopIteration and the like.
        try:
            return _make_dual(self, cause)
        except Exception:  # A class that can't be derived from, or whose __new__ refuses.
            return self

    make_dual_exception_instance = as_instanceof_cause

    def last_line(self) -> str:
        """What was raised, in short."""
        if self.cause is not None:
            text = str(self.cause)
            return f"{type(self.cause).__name__}: {text}" if text else type(self.cause).__name__
        return self.traceback_str.rstrip().rpartition("\n")[2]

    def _render_traceback_(self) -> list[str] | None:
        """Notebooks show this."""
        import importlib

        display = importlib.import_module("skate.engine.client.error_display")  # It stands above this module.
        shown: list[str] | None = None if display.is_full() else display.render(self, self.__traceback__)
        return shown

    def __str__(self) -> str:
        if _is_printed_with_its_cause(self):
            return self.last_line()
        return self.traceback_str.rstrip()


class RemoteTraceback(Exception):
    """The `__cause__` of a task's error: the traceback of the other process, as text, so that Python prints it first."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text.removeprefix(REMOTE_HEADER).strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _remote_traceback, (self.text,)


# Python prints "<module>.<name of the class>: <text>", and no module for built-in ones: so the first line reads like that of any traceback.
_HEADER_NAME = "Remote traceback (most recent call last)"
REMOTE_HEADER = f"{_HEADER_NAME}: "
RemoteTraceback.__module__ = "builtins"
RemoteTraceback.__qualname__ = _HEADER_NAME


def _remote_traceback(text: str) -> RemoteTraceback:
    return RemoteTraceback(text)


def _is_printed_with_its_cause(error: BaseException) -> bool:
    """Whether Python is about to print this error below its cause, the remote traceback: then `str` must not repeat it.

    Asked two calls above: by the `traceback` module, or by nobody (the interpreter's own display of an uncaught error, in C).
    """
    if not isinstance(error.__cause__, RemoteTraceback):
        return False
    try:
        caller = sys._getframe(2)
    except ValueError:
        return True
    return caller.f_globals.get("__name__") in _PRINTERS


_PRINTERS = frozenset({"traceback", "rich.traceback", "IPython.core.ultratb", "exceptiongroup._formatting"})
_dual_classes: dict[type, type] = {}
# What the attributes of classes written in C, and slots, are.
_BUILT_IN_MEMBERS = (type(vars(OSError)["errno"]), type(vars(OSError)["characters_written"]))


def _make_dual(error: RayTaskError, cause: BaseException) -> RayTaskError:
    kind = type(cause)
    dual: Any = _dual_classes.get(kind)
    if dual is None:
        dual = _dual_classes[kind] = _derive(kind)
    # Neither class's __init__ is called: nobody knows what the cause's wants.
    if isinstance(cause, BaseExceptionGroup):
        made: RayTaskError = dual.__new__(dual, cause.message, cause.exceptions)
    else:
        made = dual.__new__(dual)
    for base in kind.__mro__:
        for name, member in vars(base).items():
            if isinstance(member, _BUILT_IN_MEMBERS) and not name.startswith("__") and base is not BaseException:
                try:
                    setattr(made, name, getattr(cause, name))
                except Exception:  # Not set, or read-only.
                    continue
    made.__dict__.update(cause.__dict__)
    made.__dict__.update(error.__dict__)
    made.args = cause.args
    made.__cause__ = error.__cause__
    return made


def _derive(kind: type) -> type:
    """The class of errors that are both RayTaskErrors and `kind`s."""
    own: Any = kind  # Its methods, not RayTaskError's.

    def dual_init(self: Any, *args: Any, **kwargs: Any) -> None:
        # `raise type(error)("…")`, as code that knows only `kind` may write.
        own.__init__(self, *args, **kwargs)

    def dual_str(self: Any) -> str:
        if self.cause is None:
            text: str = own.__str__(self)
            return text
        return _text_of(self.cause) if _is_printed_with_its_cause(self) else str(self.traceback_str).rstrip()

    def dual_repr(self: Any) -> str:
        return own.__repr__(self) if self.cause is None else f"{name}({_text_of(self.cause)})"

    def dual_reduce(self: Any, protocol: int = 0) -> Any:
        if self.cause is None:
            return own.__reduce__(self)
        facts = {name: getattr(self, name) for name in ("worker", "task_id", "attempt", "duration_s")}
        return _rebuild_dual, (self.function_name, self.traceback_str, self.cause, self.pid, self.actor_id, facts)

    name = f"RayTaskError({kind.__name__})"
    members = {
        "__module__": __name__, "__qualname__": name, "__doc__": f"A task raised {kind.__name__}.", "__init__": dual_init,
        "__str__": dual_str, "__repr__": dual_repr, "__reduce__": dual_reduce, "__reduce_ex__": dual_reduce,
    }  # fmt: skip
    if issubclass(kind, BaseExceptionGroup):  # Its split and subgroup make groups of this class otherwise.
        members["derive"] = lambda self, exceptions: self.cause.derive(exceptions)
    return type(name, (RayTaskError, kind), members)


def _text_of(cause: BaseException) -> str:
    try:
        return str(cause)
    except Exception:
        return f"<{type(cause).__name__} whose text can't be made>"


def _rebuild_dual(
    function_name: str, traceback_str: str, cause: BaseException, pid: int, actor_id: str | None, facts: dict[str, Any]
) -> RayTaskError:
    error = RayTaskError(function_name, traceback_str, cause, pid=pid, actor_id=actor_id)
    error.__dict__.update(facts)
    error.__cause__ = RemoteTraceback(traceback_str)
    return error.as_instanceof_cause()


class TaskCancelledError(RayError):
    """The task, or one whose result it needs, was cancelled."""

    def __init__(self, task_id: Any = None, error_message: str | None = None) -> None:
        super().__init__(task_id, error_message)
        self.task_id = task_id
        self.error_message = error_message

    def __str__(self) -> str:
        if self.error_message:
            return self.error_message
        return "the task was cancelled" if self.task_id is None else f"task {_hex(self.task_id)} was cancelled"


class UserCodeException(RayError):
    """An exception in code that a library runs for its user."""


# ---------------------------------------------------------------- a process was lost


class WorkerCrashedError(RayError):
    """The worker process died while it ran the task."""

    summary = "the worker died while it ran this task"


class RayActorError(RayError):
    """An actor can't answer."""

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = "the actor died before it finished this call",
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        super().__init__(actor_id, error_msg, actor_init_failed, preempted)
        self.actor_id = actor_id
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    @property
    def actor_init_failed(self) -> bool:
        """Whether its constructor raised; then `__cause__` is that error."""
        return self._actor_init_failed

    @property
    def preempted(self) -> bool:
        return self._preempted

    def __str__(self) -> str:
        return self.error_msg


class ActorDiedError(RayActorError):
    """The actor is dead, and will not start again."""

    def __init__(self, cause: Any = None, actor_id: str | None = None) -> None:
        """`cause`: a text, or the error of its constructor."""
        failed = isinstance(cause, BaseException)
        text = (
            f"the constructor of the actor failed: {cause}" if failed else cause or "the actor died before it finished this call"
        )
        super().__init__(actor_id, text, failed)
        self.args = (cause, actor_id)
        if failed:
            self.__cause__ = cause

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        return ActorDiedError(task_error, task_error.actor_id)


class ActorUnavailableError(RayActorError):
    """The actor can't be reached now; it may come back. The call may have run, or not."""

    def __init__(self, error_message: str, actor_id: Any = None) -> None:
        super().__init__(_hex(actor_id) if actor_id else None, error_message)
        self.args = (error_message, actor_id)


class LocalRayletDiedError(RayError):
    """The node process died."""

    summary = "the node process died"


class NodeDiedError(RayError):
    """The machine, or its node process, died."""

    summary = "the node died"


class OutOfMemoryError(RayError):
    """The worker was ended because the machine was short of memory."""

    summary = "the worker was ended because the machine was short of memory"


# ---------------------------------------------------------------- a value was lost


class ObjectLostError(RayError):
    """The value is gone and can't be made again."""

    summary = "its value is lost"

    def __init__(self, object_ref_hex: str, owner_address: Any = None, call_site: str = "", reason: str = "") -> None:
        super().__init__(object_ref_hex, owner_address, call_site, reason)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site
        self.reason = reason

    def __str__(self) -> str:
        text = f"object {self.object_ref_hex}: {self.reason or self.summary}"
        return f"{text}; its ref was made at {self.call_site}" if self.call_site else text


class ObjectFetchTimedOutError(ObjectLostError):
    """The value was not found anywhere in time."""

    summary = "its value was not found anywhere in time"


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The value was deleted although there were references: a bug in the counting."""

    summary = "its value was deleted although there are references to it: a bug in skate"


class ObjectFreedError(ObjectLostError):
    """The value was dropped by `internal.free`."""

    summary = "its value was dropped by free()"


class OwnerDiedError(ObjectLostError):
    """The process that made the object has died, and the value with it."""

    summary = "its owner, the process that made it, has died"


class ObjectReconstructionFailedError(ObjectLostError):
    """The value was lost, and making it again failed."""

    summary = "its value was lost and can't be made again"

    def __init__(
        self,
        object_ref_hex: str,
        reason: Any = None,
        reason_message: str | None = None,
        owner_address: Any = None,
        call_site: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site, reason_message or "")
        self.args = (object_ref_hex, reason, reason_message, owner_address, call_site)


class ObjectReconstructionFailedMaxAttemptsExceededError(ObjectReconstructionFailedError):
    """Its task has no retries left."""


class ObjectReconstructionFailedLineageEvictedError(ObjectReconstructionFailedError):
    """Nobody remembers how it was made."""


class PlasmaObjectNotAvailable(RayError):
    """The value was not in the object store in time."""


# ---------------------------------------------------------------- there is no room, or not in time


class ObjectStoreFullError(RayError):
    """There is no room in the object store, and none can be made."""

    summary = "the object store is full"


class OutOfDiskError(RayError):
    """There is no room on disk for what the object store has to move out."""

    summary = "the disk that the object store spills to is full"


class GetTimeoutError(RayError, TimeoutError):
    """`get` was given a timeout, and the value was not there in time."""


class PendingCallsLimitExceeded(RayError):
    """The actor has as many calls waiting as its `max_pending_calls` allows."""


# ---------------------------------------------------------------- it can't be placed or set up


class _ErrorWithMessage(RayError):
    """Ray's constructors call their text `error_message`."""

    def __init__(self, error_message: str | None = None) -> None:
        super().__init__(error_message or "")
        self.error_message = error_message


class RuntimeEnvSetupError(_ErrorWithMessage):
    """The runtime environment could not be set up."""

    summary = "the runtime environment could not be set up"


class TaskUnschedulableError(_ErrorWithMessage):
    """No node can ever run the task."""


class ActorUnschedulableError(_ErrorWithMessage):
    """No node can ever run the actor."""


class TaskPlacementGroupRemoved(RayError):
    """The placement group of the task was removed."""

    summary = "the placement group of this task was removed"


class ActorPlacementGroupRemoved(RayError):
    """The placement group of the actor was removed."""

    summary = "the placement group of this actor was removed"


# ---------------------------------------------------------------- the caller's mistake


class ActorAlreadyExistsError(ValueError, RayError):
    """An actor of this name exists already."""

    def __init__(self, error_message: str = "") -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return self.error_message


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to another session, or to an actor that ended long ago."""

    def __init__(self, error_message: str = "") -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return self.error_message


class UnserializableException(RayError):
    """Stands for an exception that can't be pickled."""

    def __init__(self, original_stack_trace: str = "") -> None:
        super().__init__(original_stack_trace)
        self._original_stack_trace = original_stack_trace


class AuthenticationError(RayError):
    """A cluster refused us."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class OufOfBandObjectRefSerializationException(RayError):
    """A ref was pickled by hand where that is not allowed. (The name is spelt as in Ray.)"""


class CrossLanguageError(RayError):
    """Raised by code in another language; on a Ray cluster only."""


# ---------------------------------------------------------------- ends that are not errors


class AsyncioActorExit(RayError):
    """An async actor was asked to exit."""


class ObjectRefStreamEndOfStreamError(RayError):
    """A generator has no more items."""


# ---------------------------------------------------------------- ours


class RaySystemError(RayError):
    """Something in the engine failed."""

    def __init__(self, client_exc: Any = "", traceback_str: str | None = None) -> None:
        super().__init__(client_exc, traceback_str)
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self) -> str:
        text = str(self.client_exc)
        return f"{text}\n{self.traceback_str}" if self.traceback_str else text


class RayChannelError(RaySystemError):
    """Of compiled graphs; on a Ray cluster only."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """Of compiled graphs; on a Ray cluster only."""


class RayCgraphCapacityExceeded(RaySystemError):
    """Of compiled graphs; on a Ray cluster only."""


class RayDirectTransportError(RaySystemError):
    """Of direct transports; on a Ray cluster only."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator that was run again yielded something else."""


class RpcError(RayError):
    """A call between processes failed; on a Ray cluster only."""

    def __init__(self, message: str = "", rpc_code: int | None = None) -> None:
        super().__init__(message)
        self.args = (message, rpc_code)
        self.message = message
        self.rpc_code = rpc_code

    def __str__(self) -> str:
        return self.message


def _hex(any_id: Any) -> str:
    return any_id.hex() if hasattr(any_id, "hex") else str(any_id)
