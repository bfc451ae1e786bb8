"""The slow, thorough pickler: cloudpickle with the user's registered serializers."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle

from skate.engine.object_store import serialization


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions and classes of `__main__`, closures and lambdas by value."""

    def __init__(self, stream: io.BytesIO, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None) -> None:
        super().__init__(stream, protocol=5, buffer_callback=buffer_callback)

    def reducer_override(self, obj: Any) -> Any:
        if serialization.custom_serializers:
            pair = serialization.custom_serializers.get(type(obj))
            if pair is not None:
                serializer, deserializer = pair
                return deserializer, (serializer(obj),)
        return super().reducer_override(obj)
