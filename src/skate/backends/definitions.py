"""Definitions: functions and classes as pickles, made once each.

    by name    what a module on the import path holds: the worker imports it, and loads the module again when the code has changed since
    by value   the rest (`__main__`, notebooks, closures, lambdas): cloudpickle takes the code and what it refers to

An unpicklable function is the caller's mistake: the error names what it captures.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from skate.engine.object_store.serialization import VALUE, Packed, dump

try:  # hashlib loads OpenSSL, which takes 4–8 ms of every start.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

_KEPT_MAX = 1024
_DIGEST_BYTES = 16


class Definition:
    """One function or class, pickled."""

    __slots__ = ("code_digest", "digest", "holder", "packed", "thing")

    def __init__(self, thing: Any, packed: Packed, code_digest: bytes) -> None:
        self.thing = thing  # Kept: the cache goes by identity, and refs in its closure stay alive.
        self.packed = packed
        self.code_digest = code_digest
        self.digest = blake2b(packed.data(), digest_size=_DIGEST_BYTES).digest()
        self.holder: Any = None  # The ref of its object, when it is too big for a message.


class Definitions:
    """The definitions of one process."""

    def __init__(self, import_path: Sequence[str]) -> None:
        """`import_path`: where the workers look for modules."""
        self._import_path = import_path
        self._known: OrderedDict[int, Definition] = OrderedDict()
        self._loads: dict[
            str, tuple[Any, int]
        ] = {}  # module → (its spec, which is another one after each load; how often it was loaded again)

    def of(self, thing: Any, name: str) -> Definition:
        """
        Raises:
            TypeError: It can't be pickled.
        """
        known = self._known.get(id(thing))
        if known is not None and known.thing is thing:
            return known
        by_name = self._by_name(thing)
        try:
            data, contains = dump(thing if by_name is None else by_name)
        except Exception as error:
            raise TypeError(_explain(thing, name, error)) from error
        definition = Definition(thing, Packed(VALUE, [data], len(data), contains), by_name.digest if by_name is not None else b"")
        if by_name is not None or not _captures(thing):
            # What captures variables is pickled for each token: they may have changed.
            self._known[id(thing)] = definition
            while len(self._known) > _KEPT_MAX:
                self._known.popitem(last=False)
        return definition

    def _by_name(self, thing: Any) -> ByName | None:
        module_name, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
        if not module_name or not qualname or "<" in qualname or module_name == "__main__":
            return None
        module = sys.modules.get(module_name)
        if module is None or not self._is_importable(module_name, module) or _is_by_value(module_name):
            return None
        if _unwrap(_find(module, qualname)) is not thing:
            return None
        from skate.engine.worker.functions import code_digest

        spec, reloads = self._loads.get(module_name, (module.__spec__, 0))
        if spec is not module.__spec__:
            reloads += 1
        self._loads[module_name] = (module.__spec__, reloads)
        return ByName(module_name, qualname, code_digest(thing), reloads)

    def _is_importable(self, name: str, module: Any) -> bool:
        """Whether a worker that imports `name` gets this very file."""
        file = getattr(module, "__file__", None)
        if not file:
            return name in sys.builtin_module_names
        if name.partition(".")[0] == "skate":
            return True
        stem = name.replace(".", os.sep)
        tails = (f"{stem}.py", os.path.join(stem, "__init__.py"))
        return any(file.startswith(entry) and file[len(entry) :].lstrip(os.sep) in tails for entry in self._import_path)


class ByName:
    """Pickles as a look-up in a module."""

    def __init__(self, module: str, qualname: str, digest: bytes, reloads: int = 0) -> None:
        self.module = module
        self.qualname = qualname
        self.digest = digest
        self.reloads = reloads

    def __reduce__(self) -> tuple[Any, ...]:
        return find_by_name, (self.module, self.qualname, self.digest, self.reloads)


_reloads_seen: dict[str, int] = {}  # In a worker: which load of the caller's module ours corresponds to.


def find_by_name(module_name: str, qualname: str, digest: bytes, reloads: int = 0) -> Any:
    """The function or class that a remote one of this name was made of.

    A module older than the caller's is loaded again: one that the caller has loaded again since, or whose function has another code here.
    """
    import importlib

    is_new = module_name not in sys.modules
    module = importlib.import_module(module_name)
    thing = _unwrap(_find(module, qualname))
    is_old = not is_new and reloads > _reloads_seen.get(module_name, 0)
    if not is_old and digest and thing is not None:
        from skate.engine.worker.functions import code_digest

        is_old = code_digest(thing) != digest
    if is_old:
        importlib.invalidate_caches()
        try:
            thing = _unwrap(_find(importlib.reload(module), qualname))
        except Exception:
            pass  # It can't be loaded twice; what we have is the best there is.
    if reloads:
        _reloads_seen[module_name] = max(reloads, _reloads_seen.get(module_name, 0))
    if thing is None:
        raise AttributeError(f"module {module_name!r} has no {qualname!r} here")
    return thing


def _find(module: Any, qualname: str) -> Any:
    found = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _unwrap(found: Any) -> Any:
    """What `@skate.remote` was put on, when that is what the name stands for now."""
    if type(found).__module__ in ("skate.actor", "skate.remote_function"):
        return found.__wrapped__
    return found


def _is_by_value(module: str) -> bool:
    """Whether the user has asked for it: cloudpickle.register_pickle_by_value."""
    pickler = sys.modules.get("cloudpickle.cloudpickle")
    registered = pickler._PICKLE_BY_VALUE_MODULES if pickler is not None else ()
    return any(module == name or module.startswith(f"{name}.") for name in registered)


def _captures(thing: Any) -> bool:
    """Whether its pickle may be another one next time: a closure, a partial, a bound method."""
    return not isinstance(thing, type) and (getattr(thing, "__closure__", None) is not None or not hasattr(thing, "__code__"))


def _explain(thing: Any, name: str, error: Exception) -> str:
    what = "class" if isinstance(thing, type) else "function"
    text = f"{what} {name!r} can't be pickled, so no worker can run it: {type(error).__name__}: {error}"
    culprit = _find_culprit(thing)
    if culprit:
        text += f"; the trouble is {culprit}: pass it as an argument, or make it inside"
    return f"{text}; skate.util.inspect_serializability({name}) shows all of it"


def _find_culprit(thing: Any) -> str:
    """The captured variable that can't be pickled."""
    import cloudpickle

    functions = [value for value in vars(thing).values() if hasattr(value, "__code__")] if isinstance(thing, type) else [thing]
    for function in functions:
        code = getattr(function, "__code__", None)
        if code is None:
            continue
        cells = zip(code.co_freevars, function.__closure__ or (), strict=False)
        captured = [(variable, cell.cell_contents) for variable, cell in cells if _is_filled(cell)]
        captured += [(variable, function.__globals__[variable]) for variable in code.co_names if variable in function.__globals__]
        for variable, value in captured:
            if value is thing:
                continue
            try:
                cloudpickle.dumps(value)
            except Exception:
                return f"its variable {variable!r}, a {type(value).__module__}.{type(value).__qualname__}"
    return ""


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
