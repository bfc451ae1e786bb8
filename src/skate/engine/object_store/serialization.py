"""Python values to bytes and back.

Pickle protocol 5 with out-of-band buffers. The C pickler goes first; cloudpickle, about twenty times slower, takes over when it refuses or when the
bytes name `__main__`, whose classes and functions exist only in the driver. References inside a value are recorded while it is
pickled (`Capture`), so that their owner can count them.

    kind         data
    VALUE   0    a pickle
    BUFFERS 1    header (kind, pickle length, buffer count, buffer lengths; all u64), pickle, buffers; each buffer starts at a multiple of 64
    ERROR   2    a pickle of (fields of the error, pickled cause)
    BYTES   3    the bytes of a `bytes` object, as they are

In the arena every object starts with the header of BUFFERS; for the other kinds the pickle length is the length of the data and
there are no buffers. In a message VALUE, ERROR and BYTES travel without it.
"""

from __future__ import annotations

import pickle
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any

VALUE, BUFFERS, ERROR, BYTES = 0, 1, 2, 3

_ALIGN = 64
_PADDING = bytes(_ALIGN)
_BY_CONTENT = frozenset({int, float, bool, type(None), str, complex})
_RAW_BYTES_MIN = 4096  # Below this a pickled bytes object is as quick.

Part = bytes | memoryview
_dumps = pickle.dumps
_loads = pickle.loads


class Capture(threading.local):
    """References met by the pickler that runs in this thread; None when no one is listening."""

    ids: list[bytes] | None = None


capture = Capture()
custom_serializers: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}


class Packed:
    """A serialized value: `parts` in order, `size` bytes in all, as it will lie in the arena or travel."""

    __slots__ = ("contains", "kind", "parts", "size")

    def __init__(self, kind: int, parts: list[Part], size: int, contains: list[bytes]) -> None:
        self.kind = kind
        self.parts = parts
        self.size = size
        self.contains = contains

    def data(self) -> bytes:
        """The form in which it travels in a message."""
        if self.kind != BUFFERS:
            return bytes(self.parts[0])
        return b"".join(self.parts)

    def stored_size(self) -> int:
        return self.size if self.kind == BUFFERS else self.size + 24

    def stored_parts(self) -> list[Part]:
        """The form in which it lies in the arena."""
        if self.kind == BUFFERS:
            return self.parts
        return [struct.pack("<QQQ", self.kind, self.size, 0), *self.parts]


def pack(value: Any) -> Packed:
    """Serialize a value.

    Raises:
        TypeError, pickle.PicklingError, …: whatever the value's own pickling raises.
    """
    kind = type(value)
    if kind in _BY_CONTENT:
        data = _dumps(value, 5)
        return Packed(VALUE, [data], len(data), [])
    if kind is bytes and len(value) >= _RAW_BYTES_MIN:
        return Packed(BYTES, [value], len(value), [])
    buffers: list[pickle.PickleBuffer] = []
    data, contains = dump(value, buffers.append)
    if not buffers:
        return Packed(VALUE, [data], len(data), contains)
    return _with_buffers(data, [buffer.raw() for buffer in buffers], contains)


def dump(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None) -> tuple[bytes, list[bytes]]:
    """(pickle, ids of the references inside)."""
    outer = capture.ids
    ids: list[bytes] = []
    capture.ids = ids
    try:
        if custom_serializers or _by_value_modules():
            return _dump_by_cloudpickle(value, buffer_callback), ids
        taken: list[pickle.PickleBuffer] = []
        try:
            data = _dumps(value, 5, buffer_callback=None if buffer_callback is None else taken.append)
        except Exception:
            data = b""  # cloudpickle knows more; should it fail, too, its error is told alone, not as a trouble in handling this one.
        if not data or b"__main__" in data or b"__mp_main__" in data:
            ids.clear()
            return _dump_by_cloudpickle(value, buffer_callback), ids
        if buffer_callback is not None:
            for buffer in taken:
                buffer_callback(buffer)
        return data, ids
    finally:
        capture.ids = outer


def _by_value_modules() -> Any:
    import sys

    module = sys.modules.get("cloudpickle.cloudpickle")
    return module is not None and module._PICKLE_BY_VALUE_MODULES


def _dump_by_cloudpickle(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None) -> bytes:
    import io

    from skate.engine.object_store.pickler import Pickler

    stream = io.BytesIO()
    Pickler(stream, buffer_callback).dump(value)
    return stream.getvalue()


def unpack(kind: int, data: bytes | memoryview) -> Any:
    """The value of kinds VALUE, BUFFERS and BYTES from a message. An ERROR is the caller's to read.

    Arrays are read-only views of `data`, as they are of the arena: small and large values behave alike, and two readers never share a mutable one.
    """
    if kind == VALUE:
        return _loads(data)
    if kind == BYTES:
        return bytes(data)
    return _unpack_buffers(memoryview(bytes(data)))  # Of bytes this is no copy; anything else may be a buffer that is used again.


def stored_kind(view: memoryview) -> int:
    return int.from_bytes(view[:8], "little")


def unpack_stored(view: memoryview) -> Any:
    """The value that lies in the arena at `view`. Its arrays are read-only views of it."""
    kind, length, _count = struct.unpack_from("<QQQ", view)
    if kind == BUFFERS:
        return _unpack_buffers(view)
    body = view[24 : 24 + length]
    return bytes(body) if kind == BYTES else _loads(body)


def stored_error(view: memoryview) -> bytes:
    _kind, length, _count = struct.unpack_from("<QQQ", view)
    return bytes(view[24 : 24 + length])


def _with_buffers(data: bytes, buffers: Sequence[memoryview], contains: list[bytes]) -> Packed:
    lengths = [buffer.nbytes for buffer in buffers]
    header = struct.pack(f"<QQQ{len(lengths)}Q", BUFFERS, len(data), len(lengths), *lengths)
    parts: list[Part] = [header, data]
    size = len(header) + len(data)
    for buffer, length in zip(buffers, lengths, strict=True):
        if gap := -size % _ALIGN:
            parts.append(_PADDING[:gap])
            size += gap
        parts.append(buffer)
        size += length
    return Packed(BUFFERS, parts, size, contains)


def _unpack_buffers(view: memoryview) -> Any:
    _kind, pickle_bytes, count = struct.unpack_from("<QQQ", view)
    lengths = struct.unpack_from(f"<{count}Q", view, 24)
    start = 24 + 8 * count
    body = view[start : start + pickle_bytes]
    position = start + pickle_bytes
    buffers = []
    for length in lengths:
        position += -position % _ALIGN
        buffers.append(view[position : position + length])
        position += length
    return _loads(body, buffers=buffers)
