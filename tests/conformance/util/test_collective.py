"""Ranks wait for each other: only backends with processes can run them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import skate
from skate.util import collective
from skate.util.collective import ReduceOp

pytestmark = pytest.mark.usefixtures("process_session")

SIZE = 3
LENGTHS = [5, 100_000]  # in the message; through the store


@skate.remote(num_cpus=0)
class Rank:
    def __init__(self, rank: int) -> None:
        self.rank = rank

    def join(self, group: str, timeout_ms: int = 30_000) -> int:
        collective.init_collective_group(SIZE, self.rank, "gloo", group, timeout_ms)
        return collective.get_rank(group)

    def run(self, operation: str, length: int, *args: Any, group: str = "default", **options: Any) -> Any:
        array = np.full(length, float(self.rank + 1))
        if operation == "allgather":
            found = [np.zeros(length) for _ in range(SIZE)]
            collective.allgather(found, array, group)
            return [part[0] for part in found]
        if operation == "reducescatter":
            parts = [np.full(length, float(10 * self.rank + target)) for target in range(SIZE)]
            collective.reducescatter(array, parts, group)
        elif operation == "barrier":
            collective.barrier(group)
        else:
            getattr(collective, operation)(array, *args, group_name=group, **options)
        assert (array == array[0]).all()
        return array[0]

    def leave(self, group: str) -> None:
        collective.destroy_collective_group(group)


@pytest.fixture
def ranks(process_session: str) -> list[Any]:
    actors = [Rank.remote(rank) for rank in range(SIZE)]
    assert skate.get([actor.join.remote("default") for actor in actors]) == [0, 1, 2]
    return actors


def run_all(ranks: list[Any], *args: Any, **options: Any) -> Any:
    return skate.get([actor.run.remote(*args, **options) for actor in ranks], timeout=30)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_operation_gives_each_rank_its_result(ranks: list[Any], length: int) -> None:
    assert run_all(ranks, "allreduce", length) == [6, 6, 6]
    assert run_all(ranks, "allreduce", length, op=ReduceOp.MAX) == [3, 3, 3]
    assert run_all(ranks, "allreduce", length, op=ReduceOp.AVERAGE) == [2, 2, 2]
    assert run_all(ranks, "broadcast", length, 2) == [3, 3, 3]
    assert run_all(ranks, "reduce", length, 1) == [1, 6, 3]
    assert run_all(ranks, "allgather", length) == [[1, 2, 3]] * 3
    assert run_all(ranks, "reducescatter", length) == [30, 33, 36]
    run_all(ranks, "barrier", 1)
    sent = ranks[0].run.remote("send", length, 2)
    received = ranks[2].run.remote("recv", length, 0)
    assert skate.get([sent, received], timeout=30) == [1, 1]


def test_a_rank_that_does_not_come_is_named(process_session: str) -> None:
    actors = [Rank.remote(rank) for rank in range(SIZE)]
    skate.get([actor.join.remote("slow", 100) for actor in actors])
    with pytest.raises(TimeoutError, match=r"rank\(s\) 1, 2"):
        skate.get(actors[0].run.remote("barrier", 1, group="slow"), timeout=30)


def test_different_calls_at_the_same_time_are_an_error(ranks: list[Any]) -> None:
    first = ranks[0].run.remote("reduce", 1, 1)
    skate.get(first, timeout=30)
    with pytest.raises(RuntimeError, match="same calls in the same order"):
        skate.get(ranks[1].run.remote("barrier", 1), timeout=30)


def test_a_declared_group_needs_no_joining(process_session: str) -> None:
    actors = [Rank.remote(rank) for rank in range(SIZE)]
    collective.create_collective_group(actors, SIZE, [0, 1, 2], "gloo", "declared")
    assert run_all(actors, "allreduce", 5, group="declared") == [6, 6, 6]
    with pytest.raises(RuntimeError, match="exists already"):
        collective.create_collective_group(actors, SIZE, [0, 1, 2], "gloo", "declared")
    collective.destroy_collective_group("declared")


def test_the_last_to_leave_ends_the_group(ranks: list[Any]) -> None:
    skate.get([actor.leave.remote("default") for actor in ranks])
    assert skate.get([actor.join.remote("default") for actor in ranks]) == [0, 1, 2]
