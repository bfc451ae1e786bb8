"""Partition: which of N places a key belongs to; the same in every process, run and Python.

Keys fall into `KEY_GROUPS` groups by a stable hash (Python's own hash of strings differs between runs); a place owns a contiguous
range of groups. So when the number of places changes, whole groups move, as in Flink's key groups. Pure: no I/O.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import numbers
import uuid
from collections.abc import Collection, Hashable
from zlib import crc32

KEY_GROUPS = 1024  # The largest number of places.

_MIX = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: spreads consecutive integers.
_MASK = (1 << 64) - 1


def stable_hash(key: Hashable) -> int:
    """A 32-bit hash that is equal for equal keys, in every process.

    Raises:
        TypeError: The type has no hash that is the same in every process.
    """
    kind = type(key)
    if kind is str:
        return crc32(key.encode("utf-8", "surrogatepass"))  # type: ignore[attr-defined]
    if kind is bytes:
        return crc32(key)  # type: ignore[arg-type]
    if key is None:
        return 0x5CA7E
    if isinstance(
        key, numbers.Number | decimal.Decimal | fractions.Fraction
    ):  # 1 == 1.0 == True, and so are their hashes; not seeded.
        return ((hash(key) * _MIX) & _MASK) >> 32
    if isinstance(key, tuple | frozenset):
        parts = [stable_hash(part) for part in key]
        if isinstance(key, frozenset):
            parts.sort()
        return crc32(b"".join(part.to_bytes(4, "little") for part in parts), len(parts))
    if isinstance(key, enum.Enum):
        return crc32(f"{kind.__qualname__}.{key.name}".encode())
    if isinstance(key, str):
        return crc32(str.encode(key, "utf-8", "surrogatepass"))
    if isinstance(key, datetime.datetime):
        moment = key if key.tzinfo is None else key.astimezone(datetime.UTC)
        return crc32(moment.isoformat().encode())
    if isinstance(key, datetime.date | datetime.time | uuid.UUID):
        return crc32(str(key).encode())
    if isinstance(key, datetime.timedelta):
        return stable_hash((key.days, key.seconds, key.microseconds))
    raise TypeError(
        f"a key of type {kind.__qualname__} has no hash that is the same in every process; use str, bytes, numbers, None, "
        f"dates, UUIDs, enums, or tuples of them (for example key_by(lambda r: (r.a, r.b)))"
    )


def key_group(key: Hashable) -> int:
    """The group of a key, in [0, KEY_GROUPS)."""
    return stable_hash(key) % KEY_GROUPS


def place_of_group(group: int, places: int) -> int:
    """The place that owns a group, in [0, places)."""
    return group * places // KEY_GROUPS


def place_of(key: Hashable, places: int) -> int:
    """The place that owns a key, in [0, places)."""
    return stable_hash(key) % KEY_GROUPS * places // KEY_GROUPS


class Partitioner(dict[Hashable, int]):
    """`partitioner[key]` is the key's place; remembers the keys it saw, up to `remembered_max` of them."""

    __slots__ = ("_owners", "places", "remembered_max")

    def __init__(self, places: int, remembered_max: int = 1_000_000) -> None:
        if not 1 <= places <= KEY_GROUPS:
            raise ValueError(f"places={places}: from 1 to {KEY_GROUPS}")
        self.places = places
        self.remembered_max = remembered_max
        self._owners = [group * places // KEY_GROUPS for group in range(KEY_GROUPS)]

    def places_of(self, keys: Collection[Hashable]) -> list[int]:
        """The place of each key. Strings, which many keys at once mostly are, are hashed without a Python step for each; nothing is remembered."""
        if set(map(type, keys)) == {str}:
            owners = self._owners
            try:
                return [owners[code % KEY_GROUPS] for code in map(crc32, map(str.encode, keys))]  # type: ignore[arg-type]
            except UnicodeEncodeError:  # A lone surrogate.
                pass
        return list(map(self.__getitem__, keys))

    def __missing__(self, key: Hashable) -> int:
        place = stable_hash(key) % KEY_GROUPS * self.places // KEY_GROUPS
        if len(self) >= self.remembered_max:
            self.clear()
        self[key] = place
        return place
