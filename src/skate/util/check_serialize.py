"""`inspect_serializability`: find what inside a value cannot be pickled, and show the way to it.

train  ✗ cannot pickle '_thread.lock' object
└─ closure variable model  ✗ …
   └─ attribute lock  ✗ …          ← this is it
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import IO, Any

import cloudpickle

DEPTH = 8


class FailureTuple:
    """What cannot be pickled.

    Attributes:
        obj: The value itself.
        name: What it is called where it is referred to.
        path: The names on the way to it.
        parent: What refers to it.
    """

    def __init__(self, obj: Any, path: tuple[str, ...], parent: Any) -> None:
        self.obj = obj
        self.name = path[-1] if path else ""
        self.path = path
        self.parent = parent

    def __repr__(self) -> str:
        return f"FailTuple({self.name} [path={' -> '.join(self.path)}, obj={_shown(self.obj)}, parent={_shown(self.parent)}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = DEPTH, print_file: IO[str] | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Print a tree of what keeps a value from being pickled.

    Args:
        base_obj: A function, class or any other value that should travel.
        name: What to call it in the tree.
        depth: How many levels to go down.
        print_file: Where to print; None is standard output.

    Returns:
        (can it be pickled, the culprits).
    """
    search = _Search(print_file)
    top = name or getattr(base_obj, "__qualname__", None) or type(base_obj).__name__
    error = _refusal(base_obj)
    if error is None:
        search.print(f"{top}  ✓ can be pickled")
        return True, search.culprits
    search.print(f"{top}  ✗ {error}")
    search.descend(base_obj, (top,), None, depth, "")
    search.print("")
    for culprit in search.culprits:
        search.print(f"{' → '.join(culprit.path)} cannot be pickled ({type(culprit.obj).__name__}).")
    search.print("Make it inside the task or actor, drop it in __getstate__, or teach skate.util.register_serializer its type.")
    return False, search.culprits


class _Search:
    def __init__(self, print_file: IO[str] | None) -> None:
        self._file = print_file
        self._on_path: set[int] = set()  # Cycles end here.
        self.culprits: set[FailureTuple] = set()

    def print(self, line: str) -> None:
        print(line, file=self._file)

    def descend(self, obj: Any, path: tuple[str, ...], parent: Any, depth: int, indent: str) -> None:
        """Look for the culprits inside `obj`, which cannot be pickled."""
        self._on_path.add(id(obj))
        failing = []
        if depth > 0:
            failing = [
                (kind, name, part, error)
                for kind, name, part in _parts(obj)
                if id(part) not in self._on_path and (error := _refusal(part)) is not None
            ]
        if not failing:
            self.culprits.add(FailureTuple(obj, path, parent))
        for number, (kind, name, part, error) in enumerate(failing):
            is_last = number == len(failing) - 1
            self.print(f"{indent}{'└─' if is_last else '├─'} {kind} {name}  ✗ {error}")
            self.descend(part, (*path, name), obj, depth - 1, indent + ("   " if is_last else "│  "))
        self._on_path.discard(id(obj))


def _parts(obj: Any) -> Iterator[tuple[str, str, Any]]:
    """(kind, name, value) of what is pickled with `obj`."""
    if inspect.ismethod(obj):
        yield "bound object", type(obj.__self__).__name__, obj.__self__
        yield "function", obj.__func__.__qualname__, obj.__func__
        return
    if inspect.isfunction(obj):
        variables = inspect.getclosurevars(obj)
        yield from (("closure variable", name, value) for name, value in variables.nonlocals.items())
        yield from (("global", name, value) for name, value in variables.globals.items())
        yield from (("default", f"#{number}", value) for number, value in enumerate(obj.__defaults__ or ()))
        yield from (("default", name, value) for name, value in (obj.__kwdefaults__ or {}).items())
        return
    if isinstance(obj, dict):
        yield from (("key", _shown(key), key) for key in obj)
        yield from (("item", f"[{_shown(key)}]", value) for key, value in obj.items())
        return
    if isinstance(obj, (list, tuple, set, frozenset)):
        yield from (("item", f"[{number}]", value) for number, value in enumerate(obj))
        return
    if inspect.isclass(obj):
        for name, value in list(vars(obj).items()):
            if not (name.startswith("__") and name.endswith("__") and not inspect.isfunction(value)):
                yield "attribute", name, getattr(value, "__func__", value)
        yield from (("base", base.__name__, base) for base in obj.__bases__ if base is not object)
        return
    partial = [(key, getattr(obj, key)) for key in ("func", "args", "keywords") if type(obj).__name__ == "partial"]
    yield from (("partial", key, value) for key, value in partial)
    yield from (("attribute", name, value) for name, value in list(getattr(obj, "__dict__", {}).items()))
    for owner in type(obj).__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(obj, name):
                yield "attribute", name, getattr(obj, name)
    if not inspect.isclass(obj) and type(obj).__module__ not in ("builtins", "_thread"):
        yield "class", type(obj).__name__, type(obj)


def _refusal(obj: Any) -> str | None:
    """Why it cannot be pickled."""
    try:
        cloudpickle.dumps(obj)
    except Exception as error:  # Pickling runs the user's code.
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return None


def _shown(obj: Any) -> str:
    try:
        text = repr(obj)
    except Exception:
        text = f"<{type(obj).__name__}>"
    return text if len(text) <= 60 else text[:57] + "…"
