"""The slow, thorough pickler: cloudpickle with the user's registered serializers, and code that knows which file it came from."""

from __future__ import annotations

import io
import pickle
from collections import ChainMap
from collections.abc import Callable
from types import CodeType
from typing import Any, ClassVar

import cloudpickle
from cloudpickle.cloudpickle import _code_reduce

from skate.engine.object_store import serialization


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    """cloudpickle (since 3.1) leaves out the file's name; without it a remote traceback says "<dynamic-code>" and shows no lines."""
    make, arguments = _code_reduce(code)
    return make, tuple(code.co_filename if argument == "<dynamic-code>" else argument for argument in arguments)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions and classes of `__main__`, closures and lambdas by value."""

    # The name is the one that pickle looks for.
    dispatch_table: ClassVar[ChainMap[Any, Any]] = ChainMap({CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)

    def __init__(self, stream: io.BytesIO, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None) -> None:
        super().__init__(stream, protocol=5, buffer_callback=buffer_callback)

    def reducer_override(self, obj: Any) -> Any:
        if serialization.custom_serializers:
            pair = serialization.custom_serializers.get(type(obj))
            if pair is not None:
                serializer, deserializer = pair
                return deserializer, (serializer(obj),)
        return super().reducer_override(obj)
