"""init, shutdown, and what they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import skate


@pytest.fixture(params=["inline", "local"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param
    skate.shutdown()


@skate.remote
def square(x: int) -> int:
    return x * x


@skate.remote
class Counter:
    def __init__(self) -> None:
        self.n = 0

    def add(self) -> int:
        self.n += 1
        return self.n


def test_a_session_begins_and_ends(address: str) -> None:
    assert not skate.is_initialized()
    with skate.init(address=address, num_cpus=1) as context:
        assert skate.is_initialized()
        assert context["node_id"] == skate.get_runtime_context().get_node_id()
        assert skate.get(square.remote(2)) == 4
    assert not skate.is_initialized()
    skate.shutdown()


def test_functions_and_classes_work_in_the_next_session(address: str) -> None:
    for _ in range(2):
        skate.init(address=address, num_cpus=1)
        assert skate.get(square.remote(3)) == 9
        counter: Any = Counter.remote()
        assert skate.get(counter.add.remote()) == 1
        skate.shutdown()


def test_refs_and_handles_of_an_earlier_session_are_refused(address: str) -> None:
    skate.init(address=address, num_cpus=1)
    counter: Any = Counter.remote()
    ref = square.remote(3)
    assert skate.get([ref, counter.add.remote()]) == [9, 1]
    skate.shutdown()
    skate.init(address=address, num_cpus=1)
    with pytest.raises(Exception, match=r"session|initialised"):
        skate.get(ref)
    with pytest.raises(Exception, match=r"session|initialised|shut down"):
        skate.get(counter.add.remote())
    assert skate.get(square.remote(3)) == 9


@pytest.mark.parametrize(
    "use",
    [skate.get, lambda ref: skate.get([ref]), lambda ref: skate.wait([ref]), skate.cancel],
    ids=["get", "get_list", "wait", "cancel"],
)
def test_refs_of_an_ended_session_start_no_engine(address: str, use: Callable[[Any], Any]) -> None:
    skate.init(address=address, num_cpus=1)
    ref = square.remote(3)
    assert skate.get(ref) == 9
    skate.shutdown()
    with pytest.raises(ValueError, match="belongs to a session that has ended"):
        use(ref)
    assert not skate.is_initialized()
    assert skate.get([]) == []
    assert not skate.is_initialized()


def test_init_twice(address: str) -> None:
    skate.init(address=address, num_cpus=1)
    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        skate.init(address=address)
    skate.init(address=address, ignore_reinit_error=True)
    assert skate.cluster_resources()["CPU"] == 1


def test_the_first_call_starts_a_local_engine() -> None:
    assert not skate.is_initialized()
    try:
        assert skate.get(square.remote(4)) == 16
        assert skate.is_initialized()
    finally:
        skate.shutdown()


def test_auto_needs_a_session() -> None:
    with pytest.raises(ConnectionError, match="skate start"):
        skate.init(address="auto")
    assert not skate.is_initialized()


def test_a_wrong_address_is_refused() -> None:
    with pytest.raises((ConnectionError, ValueError)):
        skate.init(address="nowhere-at-all")
    assert not skate.is_initialized()


def test_graphs(address: str) -> None:
    from skate.dag import InputNode

    skate.init(address=address, num_cpus=1)
    with InputNode() as number:
        graph = square.bind(square.bind(number))
    assert skate.get(graph.execute(3)) == 81
