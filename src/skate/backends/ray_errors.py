"""Ray's exceptions as Skate's: same names, the cause of a task's error kept, Ray's text inside."""

from __future__ import annotations

import re
from typing import Any

from skate import exceptions as x

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_WHO = re.compile(r"ray::(.+?)\(\) \(pid=(\d+)")


class _Translated:
    """A context manager that costs next to nothing: it stands around every call."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            ours = translate(error)
            if ours is not error:
                raise ours from ours.__cause__


_translated = _Translated()


def translated() -> _Translated:
    """Whatever Ray raises inside comes out as Skate's own."""
    return _translated


def translate(error: BaseException) -> BaseException:
    """The Skate exception for one of Ray's; anything else as it is."""
    import ray.exceptions as theirs

    if not isinstance(error, theirs.RayError):
        return error
    if isinstance(error, theirs.RayTaskError):
        return _task_error(error)
    name = next((base.__name__ for base in type(error).__mro__ if hasattr(x, base.__name__)), "RaySystemError")
    text = str(error)
    if "its placement group was removed" in text:
        name = "ActorPlacementGroupRemoved" if isinstance(error, theirs.RayActorError) else "TaskPlacementGroupRemoved"
    kind: Any = getattr(x, name)
    made: BaseException
    try:
        made = kind(text)
    except TypeError:  # A constructor of another shape.
        made = kind.__new__(kind)
        made.args = (text,)
    if text not in str(made):
        made.add_note(text)
    return made


def _task_error(error: Any) -> BaseException:
    import ray.exceptions as theirs

    cause: Any = error.cause
    while isinstance(cause, theirs.RayTaskError | x.RayTaskError) and cause.cause is not None:
        cause = cause.cause
    if isinstance(cause, theirs.RayError):  # A task that got a system error from what it waited for.
        return translate(cause)
    if isinstance(cause, x.RayError):
        return cause
    # Of Ray's class with two bases only the text is left.
    text = _COLOURS.sub("", vars(error).get("traceback_str") or str(error))
    who = _WHO.search(text)
    name, pid = (who[1], int(who[2])) if who else ("a task", 0)
    made = x.RayTaskError(name, text, cause, pid=pid)
    made.__cause__ = x.RemoteTraceback(text)
    return made.as_instanceof_cause()
