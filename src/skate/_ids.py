"""Ids as the public API shows them: opaque, comparable, printable.

Inside the engine an id is plain `bytes` (see `engine/spec/ids.py`); these classes only give users something that cannot be mixed up. Job, node and
worker ids are as long as the backend makes them, so no class insists on a length.
"""

from __future__ import annotations

from typing import Any, Self

from skate.object_ref import ObjectRef

ObjectID = ObjectRef  # Ray's old name.
_Int = int  # `JobID.int` hides the builtin inside its class.


class BaseID:
    """What all ids have in common. Ids of different classes are never equal."""

    __slots__ = ("_binary",)

    SIZE = 16

    def __init__(self, binary: bytes) -> None:
        if not isinstance(binary, bytes):
            raise TypeError(
                f"{type(self).__name__} is made from bytes, not from {type(binary).__name__}; from_hex takes a string"
            )
        self._binary = binary

    @classmethod
    def from_hex(cls, text: str) -> Self:
        return cls(bytes.fromhex(text))

    @classmethod
    def from_binary(cls, binary: bytes) -> Self:
        return cls(binary)

    @classmethod
    def from_random(cls) -> Self:
        import os

        return cls(os.urandom(cls.SIZE))

    @classmethod
    def nil(cls) -> Self:
        """The id of nothing."""
        return cls(b"")

    @classmethod
    def size(cls) -> int:
        return cls.SIZE

    def binary(self) -> bytes:
        return self._binary

    def hex(self) -> str:
        return self._binary.hex()

    def is_nil(self) -> bool:
        return not self._binary.strip(b"\xff")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._binary == self._binary

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._binary))

    def __lt__(self, other: Any) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._binary < other._binary

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._binary.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._binary,)


class UniqueID(BaseID):
    __slots__ = ()


class JobID(BaseID):
    """One driver's program."""

    __slots__ = ()
    SIZE = 4

    @classmethod
    def from_int(cls, number: _Int) -> Self:
        return cls(number.to_bytes(cls.SIZE, "big"))

    def int(self) -> _Int:
        return _Int.from_bytes(self._binary, "big")


class TaskID(BaseID):
    __slots__ = ()

    def job_id(self) -> JobID:
        return JobID(self._binary[4:8])


class ActorID(BaseID):
    __slots__ = ()

    @property
    def job_id(self) -> JobID:
        return JobID(self._binary[4:8])


class ActorClassID(BaseID):
    __slots__ = ()


class FunctionID(BaseID):
    __slots__ = ()


class NodeID(BaseID):
    __slots__ = ()


class WorkerID(BaseID):
    __slots__ = ()


class PlacementGroupID(BaseID):
    __slots__ = ()
