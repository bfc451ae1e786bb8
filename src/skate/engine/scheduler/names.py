"""Names of actors and placement groups, each in its namespace."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")
NameKey = tuple[str, str]  # (namespace, name)


class Names(Generic[T]):
    def __init__(self) -> None:
        self._by_key: dict[NameKey, T] = {}

    def get(self, key: NameKey) -> T | None:
        return self._by_key.get(key)

    def take(self, key: NameKey, owner: T) -> None:
        self._by_key[key] = owner

    def free(self, key: NameKey | None, owner: T) -> None:
        """Give a name back; nothing happens when somebody else has it by now."""
        if key is not None and self._by_key.get(key) is owner:
            del self._by_key[key]

    def all(self) -> list[NameKey]:
        return list(self._by_key)
