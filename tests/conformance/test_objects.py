"""Objects: put, get, refs that travel, values of all sizes."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import numpy as np
import pytest

import skate
from skate.exceptions import GetTimeoutError
from tests.conformance.marks import processes_only, wait_until

pytestmark = pytest.mark.usefixtures("backend")


@skate.remote
def identity(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    "value",
    [
        0,
        -(1 << 70),
        1.5,
        "text",
        "x" * 300_000,
        b"bytes",
        b"y" * 300_000,
        None,
        True,
        [1, [2]],
        {"a": (1, 2)},
        {1, 2},
        1 + 2j,
        bytearray(b"z"),
    ],
    ids=lambda value: f"{type(value).__name__}{len(repr(value))}",
)
def test_values_come_back_as_they_went(value: Any) -> None:
    assert skate.get(skate.put(value)) == value
    back = skate.get(identity.remote(value))
    assert back == value
    assert type(back) is type(value)


def test_a_value_is_what_it_was_when_it_was_put() -> None:
    value = [1, 2]
    ref = skate.put(value)
    value.append(3)
    assert skate.get(ref) == [1, 2]


def test_refs_are_hashable_and_equal_by_object() -> None:
    ref = skate.put(1)
    assert ref == pickle.loads(pickle.dumps(ref))
    assert len({ref, ref, skate.put(1)}) == 2
    assert skate.ObjectRef is type(ref)
    assert len(ref.hex()) == 2 * len(ref.binary())


def test_refs_inside_values_stay_alive() -> None:
    outer = skate.put({"inner": skate.put([1, 2, 3])})
    gc.collect()
    assert skate.get(skate.get(outer)["inner"]) == [1, 2, 3]

    @skate.remote
    def wrap() -> Any:
        return [skate.put("made inside")]

    assert skate.get(skate.get(wrap.remote())[0]) == "made inside"


def test_refs_in_closures_and_attributes() -> None:
    ref = skate.put(5)

    @skate.remote
    def read() -> int:
        return skate.get(ref)

    class Holder:
        def __init__(self, held: Any) -> None:
            self.held = held

    assert skate.get(read.remote()) == 5
    assert skate.get(skate.get(identity.remote(Holder(ref))).held) == 5


def test_large_arrays_come_back_read_only_and_whole() -> None:
    array = np.arange(1_000_000, dtype=np.float64)
    back = skate.get(skate.put(array))
    assert np.array_equal(back, array)
    assert not back.flags.writeable
    total = skate.remote(lambda a: float(a.sum())).remote(skate.put(array))
    assert skate.get(total) == array.sum()


@processes_only
def test_a_large_array_is_one_copy_for_all() -> None:
    back = skate.get(skate.put(np.zeros(2_000_000)))
    again = skate.get(skate.put(back))
    assert back.base is not None
    assert again is not back


def test_a_view_lives_longer_than_its_ref() -> None:
    ref = skate.put(np.full(500_000, 7.0))
    back = skate.get(ref)
    del ref
    gc.collect()
    others = [skate.put(np.zeros(500_000)) for _ in range(3)]
    assert back[123] == 7.0
    assert len(others) == 3


def test_large_results_and_arguments() -> None:
    big = skate.remote(lambda n: np.ones(n)).remote(400_000)
    assert skate.get(big).sum() == 400_000
    assert skate.get(skate.remote(lambda a, b: float(a.sum() + b.sum())).remote(big, np.ones(300_000))) == 700_000


def test_many_objects() -> None:
    refs = [skate.put(i) for i in range(2000)]
    assert skate.get(refs) == list(range(2000))
    assert len(skate.get(skate.put(refs))) == 2000


def test_get_with_a_timeout(backend: str) -> None:
    assert skate.get(skate.put(1), timeout=0) == 1
    if backend == "inline":
        return

    @skate.remote
    def sleep() -> None:
        import time

        time.sleep(60)

    ref = sleep.remote()
    for timeout in (0, 0.05):
        with pytest.raises(GetTimeoutError):
            skate.get(ref, timeout=timeout)
    with pytest.raises(TimeoutError):
        skate.get([skate.put(1), ref], timeout=0.01)
    skate.cancel(ref, force=True)


def test_what_cannot_be_pickled_fails_where_it_is_given(backend: str) -> None:
    import threading

    with pytest.raises(TypeError, match="lock"):
        skate.put(threading.Lock())
    if backend == "inline":
        return
    with pytest.raises(TypeError, match="lock"):
        identity.remote(threading.Lock())
    with pytest.raises(Exception, match="lock"):
        skate.get(skate.remote(lambda: __import__("threading").Lock()).remote())


def test_classes_of_this_program_travel() -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

        def __eq__(self, other: Any) -> bool:
            return bool(self.x == other.x)

        __hash__ = None  # type: ignore[assignment]

    back = skate.get(identity.remote(Point(3)))
    assert back.x == 3
    assert type(back) is Point or type(back).__name__ == "Point"


@processes_only
def test_memory_comes_back_when_refs_go() -> None:
    def used() -> int:
        return sum(row.object_size or 0 for row in skate.state.list_objects(limit=10_000))

    gc.collect()
    wait_until(lambda: used() < 4_000_000)
    refs = [skate.put(np.zeros(1_000_000)) for _ in range(4)]
    assert used() >= 32_000_000
    del refs
    gc.collect()
    skate.put(0)
    wait_until(lambda: used() < 4_000_000)
