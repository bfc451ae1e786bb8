"""What is dead is remembered for a while, so that late callers are told why; the oldest are forgotten first."""

from __future__ import annotations

from collections import deque
from typing import Any


class Tombstones:
    def __init__(self, book: dict[bytes, Any], kept_max: int) -> None:
        """`book`: where the dead lie among the living."""
        self._book = book
        self._kept_max = kept_max
        self._dead: deque[bytes] = deque()

    def add(self, subject: bytes) -> None:
        self._dead.append(subject)
        if len(self._dead) > self._kept_max:
            self._book.pop(self._dead.popleft(), None)
