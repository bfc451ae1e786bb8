"""Actor classes, handles and methods, on a backend that runs them at once."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

import skate
from skate.actor import ActorClass, ActorHandle, exit_actor


class Base:
    def inherited(self) -> str:
        return "base"


class Plain(Base):
    """Counts."""

    def __init__(self, start: int = 0) -> None:
        self.n = start

    def add(self, k: int = 1) -> int:
        self.n += k
        return self.n

    @skate.method(num_returns=2)
    def halves(self) -> tuple[int, int]:
        return self.n // 2, self.n - self.n // 2

    def count(self) -> Iterator[int]:
        yield from range(self.n)

    @staticmethod
    def fixed(x: int) -> int:
        return 2 * x

    @classmethod
    def name(cls) -> str:
        return cls.__name__


Counter = skate.remote(Plain)


def test_an_actor_is_made_and_called(backend: Any) -> None:
    counter = Counter.remote(5)
    assert isinstance(counter, ActorHandle)
    assert skate.get([counter.add.remote(), counter.add.remote(k=2)]) == [6, 8]
    assert skate.get(counter.inherited.remote()) == "base"
    assert skate.get(counter.fixed.remote(4)) == 8
    assert skate.get(counter.name.remote()) == "Plain"


def test_options_of_methods(backend: Any) -> None:
    counter = Counter.remote(5)
    low, high = counter.halves.remote()
    assert skate.get([low, high]) == [2, 3]
    assert skate.get(counter.halves.options(num_returns=1).remote()) == (2, 3)
    assert [skate.get(ref) for ref in counter.count.remote()] == [0, 1, 2, 3, 4]


def test_a_method_is_prepared_once_per_handle(backend: Any) -> None:
    counter = Counter.remote()
    for _ in range(3):
        counter.add.remote()
        counter.add.options(name="more").remote()
    assert [(spec.name, spec.call_name) for spec in backend.methods] == [("add", ""), ("add", "more")]


def test_direct_calls_say_what_to_write(backend: Any) -> None:
    with pytest.raises(TypeError, match=r"'Plain' is an actor class .*write Plain\.remote\(3\), not Plain\(3\)"):
        Counter(3)
    counter = Counter.remote()
    with pytest.raises(TypeError, match=r"write handle\.add\.remote\(2\), not handle\.add\(2\)"):
        counter.add(2)


def test_wrong_arguments_fail_at_the_call(backend: Any) -> None:
    with pytest.raises(TypeError, match=r"Plain\.remote\(\): too many positional arguments"):
        Counter.remote(1, 2)
    counter = Counter.remote()
    with pytest.raises(TypeError, match=r"Plain\.add\.remote\(\): got an unexpected keyword argument 'j'"):
        counter.add.remote(j=1)
    with pytest.raises(TypeError, match="too many positional arguments: 1 for at most 0"):
        counter.inherited.remote(1)

    class NoConstructor: ...

    with pytest.raises(TypeError, match="too many positional arguments"):
        skate.remote(NoConstructor).remote(1)


def test_unknown_methods_are_attribute_errors_with_near_names(backend: Any) -> None:
    counter = Counter.remote()
    with pytest.raises(AttributeError, match="'Plain' has no method 'ad'; did you mean 'add'"):
        _ = counter.ad
    assert not hasattr(counter, "_missing")
    assert "add" in dir(counter)


def test_an_actor_class_cannot_be_subclassed() -> None:
    with pytest.raises(TypeError, match="can't be subclassed: keep the plain class"):

        class Derived(Counter):  # type: ignore[misc, valid-type]
            pass


def test_handles_are_equal_by_actor(backend: Any) -> None:
    one, other = Counter.remote(), Counter.remote()
    travelled = pickle.loads(pickle.dumps(one))
    assert travelled == one
    assert hash(travelled) == hash(one)
    assert one != other
    assert {one: 1}[travelled] == 1
    assert copy.deepcopy(one) is one
    assert skate.get(travelled.add.remote()) == 1


def test_every_handle_is_counted_and_dropped(backend: Any) -> None:
    handle = Counter.remote()
    actor_id = handle._actor_id.binary()
    travelled = pickle.loads(pickle.dumps(handle))
    assert backend.handles[actor_id] == 2
    del travelled
    gc.collect()
    assert backend.handles[actor_id] == 1
    method = handle.add
    del handle
    gc.collect()
    assert backend.handles[actor_id] == 1, "a method keeps its actor"
    del method
    gc.collect()
    assert backend.handles[actor_id] == 0


def test_built_in_methods(backend: Any) -> None:
    counter = Counter.remote(7)
    assert skate.get(counter.__ray_ready__.remote()) is True
    assert skate.get(counter.__ray_call__.remote(lambda self, x: self.n + x, 3)) == 10
    assert skate.get(counter.__ray_terminate__.remote()) == "terminated"


def test_named_actors(backend: Any) -> None:
    counter = Counter.options(name="count", namespace="there").remote()
    assert skate.get_actor("count", namespace="there") == counter
    for arguments, message in (((""), "the name is empty"), (("nobody",), "nobody"), (("count", ""), "namespace is empty")):
        with pytest.raises(ValueError, match=message):
            skate.get_actor(*arguments) if isinstance(arguments, tuple) else skate.get_actor(arguments)


def test_the_spec_of_an_actor(backend: Any) -> None:
    handle = Counter.options(
        name="n", lifetime="detached", max_restarts=-1, max_task_retries=2, max_concurrency=4, max_pending_calls=9, num_cpus=0.5
    ).remote()
    spec = backend.actor_specs[handle._actor_id.binary()]
    assert (spec.detached, spec.max_restarts, spec.max_task_retries, spec.max_concurrency, spec.max_pending_calls) == (
        True,
        -1,
        2,
        4,
        9,
    )
    assert (spec.class_name, spec.is_async, spec.running_resources) == ("Plain", False, {"CPU": 0.5})


def test_a_class_with_an_async_method_is_async(backend: Any) -> None:
    @skate.remote
    class Fetcher:
        async def fetch(self) -> None: ...

    @skate.remote
    class Streamer:
        async def stream(self) -> Any:
            yield 1

    for cls in (Fetcher, Streamer):
        assert backend.actor_specs[cls.remote()._actor_id.binary()].is_async


def test_concurrency_groups_are_checked(backend: Any) -> None:
    @skate.remote(concurrency_groups={"io": 2})
    class Store:
        @skate.method(concurrency_group="io")
        def read(self) -> int:
            return 1

        def write(self) -> None: ...

    store = Store.remote()
    store.read.remote()
    store.write.options(concurrency_group="io").remote()
    assert [spec.concurrency_group for spec in backend.methods] == ["io", "io"]
    with pytest.raises(ValueError, match="'oi' is not one of Store's groups"):
        store.write.options(concurrency_group="oi")
    with pytest.raises(ValueError, match=r"read: concurrency_group='io' is not one of the class's groups \[\]"):
        skate.remote(Store.__wrapped__)


def test_mistakes_in_method_options() -> None:
    with pytest.raises(ValueError, match="did you mean 'num_returns'"):
        skate.method(num_return=2)
    with pytest.raises(ValueError, match="options by name"):
        skate.method()
    with pytest.raises(ValueError, match="'f' is not a generator"):

        @skate.remote
        class Wrong:
            @skate.method(num_returns="streaming")
            def f(self) -> None: ...


def test_retry_exceptions_of_a_method_travel(backend: Any) -> None:
    class Busy(Exception):
        pass

    class Server:
        @skate.method(retry_exceptions=[Busy], max_task_retries=3)
        def serve(self) -> None: ...

    handle = pickle.loads(pickle.dumps(skate.remote(Server).remote()))
    handle.serve.remote()
    spec = backend.methods[-1]
    assert spec.max_task_retries == 3
    assert [kind.__name__ for kind in spec.retry_exceptions] == ["Busy"]


def test_kill_and_its_mistakes(backend: Any) -> None:
    counter = Counter.remote()
    skate.kill(counter, no_restart=False)
    assert backend.killed == [(counter._actor_id.binary(), False)]
    with pytest.raises(ValueError, match=r"a task is ended by skate\.cancel"):
        skate.kill(skate.put(1))  # type: ignore[arg-type]


def test_exit_actor_outside_of_actors(engine: Any) -> None:
    with pytest.raises(TypeError, match="outside of an actor"):
        exit_actor()


def test_an_actor_class_travels_and_looks_like_its_class(backend: Any) -> None:
    assert (Counter.__name__, Counter.__doc__) == ("Plain", "Counts.")
    travelled = pickle.loads(cloudpickle.dumps(Counter.options(num_cpus=2)))
    assert isinstance(travelled, ActorClass)
    handle = travelled.remote(3)
    assert skate.get(handle.add.remote()) == 4
    assert backend.actor_specs[handle._actor_id.binary()].running_resources == {"CPU": 2.0}
