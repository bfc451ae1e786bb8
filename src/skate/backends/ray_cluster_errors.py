"""Errors of a Ray cluster as Skate's own: what a task raised travels packed, what Ray itself says is told by the class of the same name."""

from __future__ import annotations

from typing import Any

from skate import exceptions as x
from skate.engine.client import errors


class CallFailedError(Exception):
    """How a task's exception travels through Ray: packed as everywhere in Skate, with its traceback as text. Ray does not try the call again."""

    def __init__(self, packed: bytes, text: str) -> None:
        super().__init__(packed, text)
        self.packed = packed
        self.text = text

    def __str__(self) -> str:
        return self.text


class RetriedCallFailedError(CallFailedError):
    """The same for a call that Ray is to try again, while it has retries left."""


def translate(error: BaseException) -> BaseException:
    """Skate's error for one that Ray raised; any other is returned as it is."""
    import ray.exceptions as theirs

    if not isinstance(error, theirs.RayError):
        return error
    cause: Any = getattr(error, "cause", None)
    if isinstance(error, theirs.RayTaskError):
        if isinstance(cause, CallFailedError):
            return errors.unpack_error(cause.packed)
        if isinstance(cause, theirs.RayError):
            return translate(cause)
        text = str(error)
        if isinstance(cause, ModuleNotFoundError):
            text = (
                f"the cluster lacks a module that this call needs: {cause}. Give it with skate.init(runtime_env={{'working_dir': '.'}}), "
                f"{{'py_modules': […]}} or {{'pip': […]}}\n{text}"
            )
        made = x.RayTaskError(getattr(error, "function_name", ""), text, cause if isinstance(cause, BaseException) else None)
        made.__cause__ = x.RemoteTraceback(text)
        return made.as_instanceof_cause()
    text = str(error)
    kind = _kind_of(error)
    made_error: BaseException
    if kind is x.TaskCancelledError:
        made_error = x.TaskCancelledError(None, text)
    elif issubclass(kind, x.ActorDiedError):
        made_error = x.ActorDiedError(text, getattr(error, "actor_id", None))
        made_error._actor_init_failed = bool(getattr(error, "actor_init_failed", False))
    elif issubclass(kind, x.RayActorError) and not issubclass(kind, x.ActorUnavailableError):
        made_error = x.RayActorError(getattr(error, "actor_id", None), text)
    elif issubclass(kind, x.ObjectLostError):
        made_error = kind(getattr(error, "object_ref_hex", ""))
        made_error.reason = text
    else:
        made_error = kind(text)
    return made_error


def _kind_of(error: BaseException) -> type[BaseException]:
    for base in type(error).__mro__:
        kind = getattr(x, base.__name__, None)
        if isinstance(kind, type) and issubclass(kind, x.RayError):
            return kind
    return x.RaySystemError
