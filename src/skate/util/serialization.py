"""How objects of a class travel, when pickle does not know or does it badly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.backends import serializers


def register_serializer(cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> None:
    """Send objects of exactly `cls` as `serializer(obj)`; the receiver calls `deserializer` on that.

    Holds for what this process sends. The deserializer travels along, so receivers need nothing; a worker that is to send such
    objects registers too.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer needs a class, got {cls!r}")
    if not callable(serializer) or not callable(deserializer):
        raise TypeError("serializer and deserializer must be callable")
    serializers.register(cls, serializer, deserializer)


def deregister_serializer(cls: type) -> None:
    """Undo `register_serializer`; nothing happens when there was none."""
    serializers.deregister(cls)
