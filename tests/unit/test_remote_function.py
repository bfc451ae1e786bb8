"""Remote functions, on a backend that runs them at once."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

import skate
from skate.remote_function import RemoteFunction


@skate.remote
def square(x: int) -> int:
    """The square."""
    return x * x


@skate.remote
def factorial(n: int) -> Any:
    return 1 if n < 2 else n * skate.get(factorial.remote(n - 1))


def test_a_call_gives_a_ref(backend: Any) -> None:
    assert skate.get(square.remote(3)) == 9
    assert skate.get(square.remote(x=4)) == 16
    assert skate.get(square.remote(square.remote(2))) == 16


def test_the_first_call_starts_an_engine(engine: Any) -> None:
    assert engine.backend is None
    square.remote(1)
    assert engine.backend is not None


def test_the_function_is_prepared_once_per_engine(engine: Any) -> None:
    for _ in range(3):
        square.remote(1)
    assert len(engine.backend.tasks) == 1
    skate.shutdown()
    square.remote(1)
    assert len(engine.backend.tasks) == 1


def test_a_direct_call_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"'square' is a remote function .*write square\.remote\(3\), not square\(3\)"):
        square(3)
    with pytest.raises(TypeError, match=r"write square\.remote\(x=…\)"):
        square(x=list(range(100)))


def test_wrong_arguments_fail_at_the_call(backend: Any) -> None:
    with pytest.raises(TypeError, match=r"square\.remote\(\): missing a required argument: 'x'"):
        square.remote()  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="too many positional arguments"):
        square.remote(1, 2)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
        square.remote(1, y=2)  # type: ignore[call-overload]
    assert backend.calls == []


def test_it_looks_like_its_function() -> None:
    assert (square.__name__, square.__doc__, square.__module__) == ("square", "The square.", __name__)
    assert square.__wrapped__(3) == 9
    import inspect

    assert list(inspect.signature(square).parameters) == ["x"]


def test_number_of_returns(backend: Any) -> None:
    @skate.remote(num_returns=2)
    def two() -> tuple[int, int]:
        return 1, 2

    a, b = two.remote()
    assert skate.get([a, b]) == [1, 2]
    assert two.options(num_returns=0).remote() is None


def test_a_generator_streams(backend: Any) -> None:
    @skate.remote
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    refs = count.remote(3)
    assert isinstance(refs, skate.ObjectRefGenerator)
    assert [skate.get(ref) for ref in refs] == [0, 1, 2]


def test_an_async_function_is_refused() -> None:
    with pytest.raises(ValueError, match="'fetch' is an async function"):

        @skate.remote
        async def fetch() -> None: ...


@pytest.mark.parametrize("thing", [3, "f", object()])
def test_only_functions_and_classes_can_be_remote(thing: Any) -> None:
    with pytest.raises(TypeError, match="takes a function or a class"):
        skate.remote(thing)


def test_remote_of_remote_is_refused() -> None:
    with pytest.raises(TypeError, match="is remote already"):
        skate.remote(square)


def test_lambdas_partials_builtins_and_wrapped_functions(backend: Any) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    @functools.wraps(add)
    def logged(*args: Any) -> int:
        return add(*args)

    assert skate.get(skate.remote(lambda x: x + 1).remote(1)) == 2
    assert skate.get(skate.remote(functools.partial(add, 1)).remote(2)) == 3
    assert skate.get(skate.remote(len).remote([1, 2])) == 2
    assert skate.get(skate.remote(logged).remote(1, 2)) == 3


def test_decorators_with_options_and_their_mistakes() -> None:
    assert isinstance(skate.remote(num_cpus=2)(lambda: 1), RemoteFunction)
    with pytest.raises(TypeError, match="without parentheses"):
        skate.remote()
    with pytest.raises(TypeError, match="options by name"):
        skate.remote(square.__wrapped__, num_cpus=2)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="did you mean 'num_cpus'"):
        skate.remote(num_cpu=2)


def test_options_make_a_variant_and_leave_the_original(backend: Any) -> None:
    twice = square.options(num_cpus=2, name="sq")
    assert skate.get(twice.remote(3)) == 9
    assert (backend.tasks[-1].placement.resources, backend.tasks[-1].name) == ({"CPU": 2.0}, "sq")
    square.remote(1)
    assert backend.tasks[-1].placement.resources == {"CPU": 1.0}


def test_the_same_options_are_prepared_once(backend: Any) -> None:
    for _ in range(3):
        square.options(num_cpus=2).remote(1)
    assert len(backend.tasks) == 1
    square.options(resources={"a": 1}).remote(1)  # can't be hashed: still works


def test_it_travels(backend: Any) -> None:
    copy = pickle.loads(cloudpickle.dumps(square.options(num_cpus=3)))
    assert skate.get(copy.remote(5)) == 25
    assert backend.tasks[-1].placement.resources == {"CPU": 3.0}


def test_a_function_that_calls_itself_travels(backend: Any) -> None:
    def make() -> Any:
        @skate.remote
        def count_down(n: int) -> int:
            return 0 if n == 0 else skate.get(count_down.remote(n - 1))  # type: ignore[no-any-return]

        return count_down

    copy = pickle.loads(cloudpickle.dumps(make()))
    assert skate.get(copy.remote(3)) == 0
    assert skate.get(factorial.remote(5)) == 120


def test_in_a_worker_the_token_follows_the_placement_group(backend: Any) -> None:
    backend.context |= {"mode": "worker", "placement_group_id": b"p" * 16, "capture_child_tasks": True}
    square.remote(1)
    square.remote(1)
    assert [spec.placement.placement_group for spec in backend.tasks] == [b"p" * 16]
    backend.context |= {"placement_group_id": None, "capture_child_tasks": False}
    square.remote(1)
    assert [spec.placement.placement_group for spec in backend.tasks] == [b"p" * 16, b""]
