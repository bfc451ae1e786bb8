"""Remote functions as this worker knows them: unpickled once each, kept for later leases.

A function pickled by name (it lives in a module that both sides can import) comes with a digest of its code (`code_digest`).
When the module in this worker is older than the driver's (a user has edited and reloaded it), it is imported again.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from types import CodeType
from typing import TYPE_CHECKING, Any

from skate.engine.object_store.serialization import unpack
from skate.engine.spec import messages as m

if TYPE_CHECKING:
    from skate.engine.client.client import Client
    from skate.engine.worker.link import Bound


class Functions:
    """Cache of definitions, and how often each was called (for `max_calls`)."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._by_id: dict[bytes, Any] = {}
        self.calls: dict[bytes, int] = {}

    def bind(self, bound: Bound) -> Any:
        """The function of a template.

        Raises:
            pickle.UnpicklingError: It can't be unpickled here; the text says what to try.
        """
        template = bound.template
        key = template.definition_id + template.code_digest if template.definition_id else b""
        cached = self._by_id.get(key)
        if cached is not None:
            self.give_back(bound)
        else:
            cached = self.load(template.definition, template.definition_id, template.name, is_counted=True)
            if template.code_digest:
                cached = _refresh(cached, template.code_digest)
            if key:
                self._by_id[key] = cached
        bound.function = cached
        return cached

    def give_back(self, bound: Bound) -> None:
        """The count of a definition's object that came with its template, when it is not needed."""
        template = bound.template
        if isinstance(template.definition, m.Stored):
            with self._client.lock:
                self._client.adopt([template.definition_id])
            self._client.drop(template.definition_id)

    def load(self, definition: m.Value | m.Stored | None, object_id: bytes, name: str, *, is_counted: bool) -> Any:
        """Unpickle a definition. `is_counted`: one count of its object was added for this worker."""
        try:
            if isinstance(definition, m.Value):
                return _unpickle(lambda: unpack(definition.kind, definition.data))
            if is_counted:
                with self._client.lock:
                    self._client.adopt([object_id])
            with self._client.lock:
                ref = self._client.make_ref(object_id)
            if is_counted:
                self._client.drop(object_id)
            return _unpickle(lambda: self._client.get([ref], None)[0])
        except Exception as error:
            raise pickle.UnpicklingError(_explain(name, error)) from error


def _unpickle(load: Any) -> Any:
    try:
        return load()
    except ModuleNotFoundError:
        importlib.invalidate_caches()  # The module's file may be newer than what this process has seen of its directory.
        return load()


def _explain(name: str, error: Exception) -> str:
    text = f"{name!r} can't be unpickled in the worker: {type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{text}; the worker can't import what it needs: make module {error.name!r} importable there, by "
            'runtime_env={"working_dir": …} or {"py_modules": […]}, or pickle it by value with '
            "cloudpickle.register_pickle_by_value(module)"
        )
    if isinstance(error, AttributeError):
        return f"{text}; the worker's version of the module differs from the driver's: restart the driver after editing it"
    return f"{text}; see what it captures with skate.util.inspect_serializability(function)"


# ---------------------------------------------------------------- digests of code


def code_digest(function: Any) -> bytes:
    """Eight bytes that change when the code of a function (or of a class's methods) does; b"" when it has none of its own."""
    function = getattr(function, "__wrapped__", function)
    import hashlib

    digest = hashlib.blake2b(digest_size=8)
    if isinstance(function, type):
        for name in sorted(vars(function)):
            code = getattr(getattr(function, name, None), "__code__", None)
            if code is not None:
                digest.update(name.encode())
                _add_code(digest, code)
        return digest.digest()
    code = getattr(function, "__code__", None)
    if code is None:
        return b""
    _add_code(digest, code)
    return digest.digest()


def _add_code(digest: Any, code: CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(digest, constant)
        elif isinstance(constant, frozenset):
            digest.update(repr(sorted(map(repr, constant))).encode())
        else:
            digest.update(repr(constant).encode())


def _refresh(function: Any, digest: bytes) -> Any:
    """The function as the driver has it: its module is loaded again when it is older here."""
    if code_digest(function) == digest:
        return function
    module = sys.modules.get(getattr(function, "__module__", ""))
    qualname = getattr(function, "__qualname__", "")
    if module is None or not qualname or "<locals>" in qualname:
        return function
    importlib.invalidate_caches()
    try:
        found: Any = importlib.reload(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except Exception:
        return function  # The module can't be loaded twice; what we have is the best there is.
    return found
