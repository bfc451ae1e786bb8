"""A program as a type checker sees it; read by test_typing.py. Lines that end in `# wrong` are mistakes that have to be found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import skate
from skate import ObjectRef, ObjectRefGenerator
from skate.actor import ActorHandle


@skate.remote
def square(x: int, *, twice: bool = False) -> int:
    return x * x


@skate.remote(num_cpus=2)
def name(x: int) -> str:
    return str(x)


@skate.remote
def count(n: int) -> Iterator[int]:
    yield n


@skate.remote(num_returns=2)
def two() -> tuple[int, int]:
    return 1, 2


class Plain:
    def add(self, k: int) -> int:
        return k


Counter = skate.remote(Plain)


def program() -> None:
    assert_type(square.remote(3), ObjectRef[int])
    assert_type(square.remote(x=3, twice=True), ObjectRef[int])
    assert_type(square.remote(square.remote(3)), ObjectRef[int])
    assert_type(skate.get(square.remote(3)), int)
    assert_type(skate.get([name.remote(i) for i in range(3)]), list[str])
    assert_type(skate.get(skate.put("a"), timeout=1), str)
    assert_type(count.remote(3), ObjectRefGenerator[int])
    for ref in count.remote(2):
        assert_type(skate.get(ref), int)
    one, other = two.remote()
    skate.get([one, other])
    counter = Counter.remote()
    assert_type(counter, ActorHandle[Plain])
    skate.get(counter.add.remote(1))
    skate.get(skate.remote(lambda x: x + 1).remote(1))
    ready, rest = skate.wait([square.remote(1)], timeout=1)
    skate.get([*ready, *rest])
    skate.cancel(count.remote(1))

    square.remote("a")  # wrong
    square.remote()  # wrong
    square.remote(1, 2)  # wrong
    square.remote(1, thrice=True)  # wrong
    square(1) + 1  # wrong
    skate.get(square.remote(3)).upper()  # wrong
    skate.kill(square.remote(1))  # wrong


async def asynchronously() -> Any:
    assert_type(await square.remote(3), int)
    return [ref async for ref in count.remote(3)]
