"""Custom serializers, for the public API: the table lives in the engine, libraries reach it by here.

The deserializer travels with each value (as a reference when it can be imported, by value otherwise), so workers need no
registration to read one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.backends import current
from skate.engine.object_store.serialization import custom_serializers


def register(cls: type, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> None:
    """From now on this process sends objects of exactly `cls` as `serializer(obj)`."""
    custom_serializers[cls] = (serializer, deserializer)
    backend = current.peek()
    if backend is not None and backend.name == "ray":
        use_on_ray()


def deregister(cls: type) -> None:
    """Send objects of `cls` as pickle does, again. Nothing happens when it was not registered."""
    known = custom_serializers.pop(cls, None)
    backend = current.peek()
    if known is not None and backend is not None and backend.name == "ray":
        import ray

        ray.util.deregister_serializer(cls)


def use_on_ray() -> None:
    """Tell Ray, which pickles what travels in a cluster; called as a program joins one, too."""
    if custom_serializers:
        import ray

        for cls, (serializer, deserializer) in custom_serializers.items():
            ray.util.register_serializer(cls, serializer=serializer, deserializer=deserializer)
