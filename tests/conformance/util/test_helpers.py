from __future__ import annotations

import itertools

import pytest

import skate
from skate.util import as_completed, map_unordered

pytestmark = pytest.mark.usefixtures("session")


@skate.remote
def square(x: int) -> int:
    return x * x


@skate.remote
def fail() -> None:
    raise ValueError("no")


def test_as_completed_gives_every_value_once() -> None:
    refs = [square.remote(x) for x in range(50)]
    assert sorted(as_completed(refs)) == [x * x for x in range(50)]
    assert sorted(as_completed(refs, chunk_size=7)) == [x * x for x in range(50)]
    assert set(as_completed(refs, yield_obj_refs=True)) == set(refs)


def test_as_completed_raises_a_tasks_error() -> None:
    with pytest.raises(ValueError, match="no"):
        list(as_completed([fail.remote()]))


def test_map_unordered_reads_an_endless_input_as_needed() -> None:
    results = map_unordered(square, itertools.count(), backpressure_size=4)
    assert len([next(results) for _ in range(20)]) == 20


def test_map_unordered_gives_every_value_once() -> None:
    assert sorted(map_unordered(square, range(30), backpressure_size=None)) == [x * x for x in range(30)]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="chunk_size"):
        list(as_completed([], chunk_size=0))
    with pytest.raises(ValueError, match="num_returns"):
        list(as_completed([], num_returns=1))
    with pytest.raises(ValueError, match="backpressure_size"):
        list(map_unordered(square, [], backpressure_size=0))
