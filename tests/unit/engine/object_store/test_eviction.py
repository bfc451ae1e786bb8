"""Which objects go to disk."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, strategies as st

from skate.engine.object_store.eviction import choose_victims


@dataclass(frozen=True)
class Resident:
    name: str
    arena_bytes: int


def residents(*sizes: int) -> list[Resident]:
    return [Resident(str(index), size) for index, size in enumerate(sizes)]


def names(victims: list[Resident]) -> str:
    return "".join(victim.name for victim in victims)


def test_the_coldest_go() -> None:
    assert names(choose_victims(residents(10, 10, 10), 15)) == "01"


def test_small_ones_stay_when_the_last_victim_alone_makes_the_room() -> None:
    assert names(choose_victims(residents(1, 1, 50, 10), 40)) == "2"


def test_nothing_moves_for_a_need_that_cannot_be_met() -> None:
    assert choose_victims(residents(10, 10), 30) == []


@given(st.lists(st.integers(1, 100)), st.integers(1, 300))
def test_victims_free_enough_and_none_is_needless(sizes: list[int], need: int) -> None:
    victims = choose_victims(residents(*sizes), need)
    freed = sum(victim.arena_bytes for victim in victims)
    if victims:
        assert freed >= need
        assert all(freed - victim.arena_bytes < need for victim in victims)
    else:
        assert sum(sizes) < need
