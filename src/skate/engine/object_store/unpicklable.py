"""Which part of a value can't be pickled, in words. Asked only after pickling has failed; pickles parts again to find out.

Goes down into lists, tuples, dicts and attributes. A part that fails only together with others is not found: then the whole is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_DEPTH_MAX = 6
_PARTS_TRIED_MAX = 200  # Of one container: a long list is tried at its beginning.


def explain_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], name: str, error: Exception) -> str:
    """The text of the error for arguments that can't be sent.

    Args:
        name: Of the function or method; "" when it is not known.
        error: What pickling them raised.
    """
    call = f"{name}.remote()" if name else "the call"
    for label, value in [
        *((f"argument {number}", one) for number, one in enumerate(args)),
        *((f"argument {key!r}", one) for key, one in kwargs.items()),
    ]:
        if not _can_be_pickled(value):
            path, part = find_culprit(value)
            where = f"{label} of {call}" if not path else f"{label} of {call} holds at {path} a {_kind(part)} that"
            what = f" is a {_kind(part)} that" if not path else ""
            return f"{where}{what} can't be pickled: {error}; make it inside the function, or send plain data, or register a serializer with skate.util.register_serializer"
    return f"the arguments of {call} can't be pickled: {error}"


def explain_value(value: Any, error: Exception) -> str:
    """The text of the error for a value that can't be stored."""
    path, culprit = find_culprit(value)
    where = f"the value holds at {path} a" if path else "it is a"
    return (
        f"put() can't store a {_kind(value)}: {where} {_kind(culprit)} that can't be pickled: {error}; store plain data, or register a "
        "serializer with skate.util.register_serializer"
    )


def find_culprit(value: Any) -> tuple[str, Any]:
    """(the way down, such as `['model'].lock`, the part at its end)."""
    path = ""
    for _ in range(_DEPTH_MAX):
        for step, part in _parts(value):
            if not _can_be_pickled(part):
                path, value = path + step, part
                break
        else:
            break
    return path, value


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    parts: Iterator[tuple[str, Any]] = iter(())
    if isinstance(value, dict):
        parts = ((f"[{key!r}]", one) for key, one in value.items())
    elif isinstance(value, list | tuple):
        parts = ((f"[{index}]", one) for index, one in enumerate(value))
    elif isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, type):
        parts = ((f".{name}", one) for name, one in vars(value).items())
    for _, part in zip(range(_PARTS_TRIED_MAX), parts, strict=False):
        yield part


def _can_be_pickled(value: Any) -> bool:
    from skate.engine.object_store.serialization import dump

    try:
        dump(value)
    except Exception:
        return False
    return True


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
