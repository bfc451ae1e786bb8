from __future__ import annotations

import pytest

import skate
from skate.cluster_utils import Cluster
from skate.util import ActorGroup, iter


class Adder:
    def __init__(self, base: int) -> None:
        self.base = base

    def add(self, x: int) -> int:
        return self.base + x


def test_an_actor_group_is_called_all_together(session: str) -> None:
    group = ActorGroup(Adder, 2, num_cpus_per_actor=0, init_args=(10,))
    group.add_actors(1)

    assert skate.get(group.add.remote(1)) == [11, 11, 11]
    group.remove_actors([0])
    assert len(group) == 2
    group.shutdown()
    assert len(group) == 0


def test_steps_are_applied_in_the_shards(session: str) -> None:
    numbers = iter.from_range(100, num_shards=3)

    assert sorted(numbers.for_each(lambda x: x * x).filter(lambda x: x % 2 == 0).gather_async()) == [
        x * x for x in range(0, 100, 2)
    ]
    assert numbers.batch(40).take(3) == [list(range(33)), list(range(33, 66)), list(range(66, 100))]
    assert sorted(numbers.local_shuffle(10, seed=1).gather_sync()) == list(range(100))
    assert len(list(numbers.union(iter.from_items([1, 2])).gather_async())) == 102
    assert [len(list(shard)) for shard in numbers.shards()] == [33, 33, 34]


def test_items_come_from_the_shards_in_turn(session: str) -> None:
    assert list(iter.from_items([1, 2, 3, 4, 5], num_shards=2).gather_sync()) == [1, 2, 3, 4, 5]
    assert iter.from_items([1, 2], num_shards=1, repeat=True).take(5) == [1, 2, 1, 2, 1]


def test_a_cluster_has_logical_nodes() -> None:
    cluster = Cluster(head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=2, resources={"disk": 1})
    cluster.connect()
    try:
        assert skate.cluster_resources()["CPU"] == 3
        assert len(skate.nodes()) == 2

        @skate.remote(resources={"disk": 1})
        def where() -> str:
            node: str = skate.get_runtime_context().get_node_id()
            return node

        assert skate.get(where.remote(), timeout=30) != skate.get_runtime_context().get_node_id()
        with pytest.raises(RuntimeError, match="before connect"):
            cluster.add_node()
    finally:
        cluster.shutdown()
