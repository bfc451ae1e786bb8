"""Many of everything."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import skate


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    skate.init(num_cpus=2)
    yield
    skate.shutdown()


@skate.remote
def same(x: int) -> int:
    return x


@pytest.mark.timeout(300)
def test_a_million_queued_tasks() -> None:
    count = 1_000_000
    refs = [same.remote(i) for i in range(count)]
    total = 0
    for start in range(0, count, 100_000):
        total += sum(skate.get(refs[start : start + 100_000], timeout=250))
    assert total == count * (count - 1) // 2


@pytest.mark.timeout(300)
def test_a_thousand_actors() -> None:
    @skate.remote(num_cpus=0)
    class Small:
        def __init__(self, number: int) -> None:
            self.number = number

        def get(self) -> int:
            return self.number

    actors = [Small.remote(i) for i in range(1000)]
    assert skate.get([actor.get.remote() for actor in actors], timeout=250) == list(range(1000))
    del actors


def test_ten_thousand_arguments() -> None:
    @skate.remote
    def count(*args: int) -> int:
        return sum(args)

    assert skate.get(count.remote(*range(10_000)), timeout=60) == sum(range(10_000))
    refs = [same.remote(1) for _ in range(10_000)]
    assert skate.get(count.remote(*refs), timeout=60) == 10_000


def test_ten_thousand_refs_in_one_object() -> None:
    refs = [skate.put(i) for i in range(10_000)]
    inner = skate.get(skate.put(refs))
    assert sum(skate.get(inner, timeout=60)) == sum(range(10_000))

    @skate.remote
    def read(refs: list) -> int:
        return sum(skate.get(refs[:100]))

    assert skate.get(read.remote(refs), timeout=60) == sum(range(100))


def test_nested_a_hundred_deep_on_two_cpus() -> None:
    @skate.remote
    def descend(n: int) -> int:
        return 0 if n == 0 else 1 + skate.get(descend.remote(n - 1))

    assert skate.get(descend.remote(100), timeout=60) == 100


def test_a_long_task_delays_no_short_one() -> None:
    @skate.remote
    def long() -> None:
        time.sleep(3)

    @skate.remote
    def stamp(sent_s: float) -> float:
        return time.time() - sent_s

    skate.get([same.remote(i) for i in range(100)])
    ref = long.remote()
    ages = skate.get([stamp.remote(time.time()) for _ in range(1000)], timeout=20)
    assert max(ages) < 1.0
    assert not skate.wait([ref], timeout=0)[0]
    skate.cancel(ref)
