"""Eviction: choose cold objects to spill when the store is full.

`room` asks, then orders the moving; this module stays pure. Sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Resident(Protocol):
    """A sealed object in the arena that nobody has mapped. One still being written cannot move."""

    arena_bytes: int


R = TypeVar("R", bound=Resident)


def choose_victims(coldest_first: Iterable[R], need_bytes: int) -> list[R]:
    """The coldest objects that together free `need_bytes`; none when all of them together do not.

    One object that is large enough is preferred to several: the last victim alone may do, and then the others stay.
    """
    victims: list[R] = []
    freed_bytes = 0
    for resident in coldest_first:
        victims.append(resident)
        freed_bytes += resident.arena_bytes
        if freed_bytes >= need_bytes:
            return _without_needless(victims, freed_bytes - need_bytes)
    return []


def _without_needless(victims: list[R], spare_bytes: int) -> list[R]:
    """Leave out those that are not needed after all, the warmest first."""
    needed: list[R] = []
    for victim in reversed(victims):
        if victim.arena_bytes <= spare_bytes:
            spare_bytes -= victim.arena_bytes
        else:
            needed.append(victim)
    needed.reverse()
    return needed
