"""The arguments of a call: from bytes, placeholders and references to what the function gets."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

from skate.engine.client.objects import INLINE
from skate.engine.client.tasks import Slot
from skate.engine.object_store import serialization
from skate.engine.object_store.serialization import unpack
from skate.engine.spec import messages as m

if TYPE_CHECKING:
    from skate.engine.client.client import Client

NO_ARGUMENTS = pickle.dumps(((), {}), 5)
_SHOWN_BYTES_MAX = 2000
_SHOWN_CHARACTERS_MAX = 40
_PICKLE_FIRST_BYTE = 0x80  # Packed values with buffers start with their kind, 1.

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class ArgumentLost(Exception):
    """An argument's value can't be had; `data` is the error to answer with, as it is."""

    def __init__(self, data: bytes) -> None:
        super().__init__("an argument's value is lost")
        self.data = data


def adopt(client: Client, call: m.Call) -> list[bytes] | None:
    """Take over the counts that came with a call, before anything is unpickled. When it has ended, `client.drop` gives them back."""
    if call.refs is None and call.borrowed is None and not call.args_id:
        return None
    ids = list(call.borrowed or ())
    if call.refs is not None:
        ids.extend(ref for ref in call.refs if type(ref) is bytes)
    if call.args_id:
        ids.append(call.args_id)
    with client.lock:
        client.adopt(ids)
    return ids


def unpack_arguments(client: Client, call: m.Call, name: str) -> Arguments:
    """(args, kwargs) of a call, waiting for values that have to be fetched.

    Raises:
        ArgumentLost: A value can't be had.
        pickle.UnpicklingError: The arguments can't be unpickled here.
    """
    if call.args_id:
        (packed,) = fetch(client, [call.args_id], name)
    else:
        packed = _unpack(call.args, name)
    if call.refs is None:
        return packed  # type: ignore[no-any-return]
    wanted = [ref for ref in call.refs if type(ref) is bytes]
    fetched = iter(fetch(client, wanted, name)) if wanted else iter(())
    values: list[Any] = []
    for ref in call.refs:
        values.append(next(fetched) if type(ref) is bytes else _unpack_value(ref, name))  # type: ignore[arg-type]
    return fill(packed, values)


def shown(call: m.Call) -> str:
    """A call's arguments for a person: `("b", 3, …)`. Small plain values only, no code of the user's runs for it; "" when they are not at hand."""
    if call.args_id or len(call.args) > _SHOWN_BYTES_MAX or not call.args or call.args[0] != _PICKLE_FIRST_BYTE:
        return ""
    try:
        args, kwargs = _Plain(io.BytesIO(call.args)).load()
    except Exception:
        return ""
    texts = [_short(value) for value in args] + [f"{name}={_short(value)}" for name, value in kwargs.items()]
    text = ", ".join(texts)
    return f"({text})" if len(text) <= _SHOWN_CHARACTERS_MAX else f"({text[: _SHOWN_CHARACTERS_MAX - 1]}…)"


class _Plain(pickle.Unpickler):
    """Makes plain values; of anything else it only knows that it is there."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "Slot" and module == Slot.__module__:
            return Slot
        raise pickle.UnpicklingError("not plain")


def _short(value: Any) -> str:
    if type(value) is str:
        text = json_text(value if len(value) <= 24 else value[:23] + "…")
    elif type(value) in (int, float, bool, type(None)):
        text = repr(value)
    else:
        text = "…"
    return text


def json_text(text: str) -> str:
    """In double quotes, with everything odd escaped."""
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"' if not text.isprintable() else f'"{text}"'


def fill(packed: Arguments, values: list[Any]) -> Arguments:
    """Put values where placeholders stand."""
    args, kwargs = packed
    args = tuple([values[value.index] if type(value) is Slot else value for value in args])
    for name, value in kwargs.items():
        if type(value) is Slot:
            kwargs[name] = values[value.index]
    return args, kwargs


def fetch(client: Client, ids: list[bytes], name: str) -> list[Any]:
    """The values of objects, in order."""
    with client.lock:
        refs = [client.make_ref(object_id) for object_id in ids]
    try:
        return client.get(refs, None)
    except Exception as error:
        for ref in refs:
            entry = client.table.get(ref._id)
            if entry is not None and entry.state == INLINE and entry.kind == serialization.ERROR:
                raise ArgumentLost(entry.data) from error
        raise explain(error, name) from error


def _unpack(data: bytes, name: str) -> Any:
    try:
        return unpack(serialization.VALUE if data[0] == _PICKLE_FIRST_BYTE else serialization.BUFFERS, data)
    except Exception as error:
        raise explain(error, name) from error


def _unpack_value(value: m.Value, name: str) -> Any:
    if value.kind == serialization.ERROR:
        raise ArgumentLost(value.data)
    try:
        return unpack(value.kind, value.data)
    except Exception as error:
        raise explain(error, name) from error


def explain(error: Exception, name: str) -> Exception:
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = f': make module {error.name!r} importable in workers, by runtime_env={{"working_dir": …}} or {{"py_modules": […]}}'
    return pickle.UnpicklingError(
        f"an argument of {name}() can't be unpickled in the worker: {type(error).__name__}: {error}{hint}"
    )
