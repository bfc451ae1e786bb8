from __future__ import annotations

from typing import Any

import pytest

import skate
from skate.util import ActorPool

pytestmark = pytest.mark.usefixtures("session")


@skate.remote
class Worker:
    def double(self, value: int) -> int:
        return 2 * value

    def fail(self, value: int) -> int:
        raise ValueError(value)


def double(actor: Any, value: int) -> Any:
    return actor.double.remote(value)


@pytest.fixture
def pool(session: Any) -> ActorPool:
    return ActorPool([Worker.remote(), Worker.remote()])


def test_map_keeps_the_order(pool: ActorPool) -> None:
    assert list(pool.map(double, range(10))) == [2 * value for value in range(10)]


def test_map_unordered_gives_every_result_once(pool: ActorPool) -> None:
    assert sorted(pool.map_unordered(double, range(10))) == [2 * value for value in range(10)]


def test_a_second_map_throws_untaken_results_away(pool: ActorPool) -> None:
    pool.map(double, [1, 2, 3])

    assert list(pool.map(double, [4, 5])) == [8, 10]


def test_submit_and_get_next(pool: ActorPool) -> None:
    for value in range(5):
        pool.submit(double, value)

    assert pool.has_next()
    assert [pool.get_next() for _ in range(5)] == [0, 2, 4, 6, 8]
    assert not pool.has_next()
    with pytest.raises(StopIteration):
        pool.get_next()


def test_get_next_after_get_next_unordered_is_refused(pool: ActorPool) -> None:
    pool.submit(double, 1)
    pool.submit(double, 2)
    pool.submit(double, 3)
    taken = [pool.get_next_unordered(), pool.get_next_unordered()]

    if 6 in taken:
        with pytest.raises(ValueError, match="unordered"):
            pool.get_next()
    else:
        assert pool.get_next() == 6


def test_an_error_reaches_the_caller_and_its_actor_goes_on(pool: ActorPool) -> None:
    pool.submit(lambda actor, value: actor.fail.remote(value), 7)
    with pytest.raises(ValueError, match="7"):
        pool.get_next()

    assert list(pool.map(double, [1, 2, 3])) == [2, 4, 6]


def test_idle_actors_can_be_taken_out_and_put_back(pool: ActorPool) -> None:
    first, second = pool.pop_idle(), pool.pop_idle()
    assert pool.pop_idle() is None
    assert not pool.has_free()

    pool.push(first)
    assert pool.has_free()
    with pytest.raises(ValueError, match="already"):
        pool.push(first)
    pool.push(second)
    assert list(pool.map(double, [1])) == [2]
