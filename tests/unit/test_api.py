"""init, get, put, wait, cancel: arguments and their mistakes, on a fake backend."""

from __future__ import annotations

import subprocess
import sys
import traceback
from typing import Any

import numpy as np
import pytest

import skate
from skate.exceptions import GetTimeoutError, RayError

# ---------------------------------------------------------------- life


def test_init_hands_its_arguments_on(engine: Any) -> None:
    context = skate.init(
        num_cpus=4, num_gpus=1, resources={"a": 2}, labels={"zone": "x"}, object_store_memory=10_000_000, namespace="n",
        runtime_env={"env_vars": {"A": "1"}}, log_to_driver=False,
    )  # fmt: skip
    options = engine.started_with[0]
    assert (options.address, options.num_cpus, options.num_gpus, options.resources) == (None, 4.0, 1.0, {"a": 2})
    assert (options.object_store_memory, options.namespace, options.log_to_driver) == (10_000_000, "n", False)
    assert options.runtime_env == {"env_vars": {"A": "1"}}
    assert context["node_id"] == b"node".hex()
    assert context.address_info["namespace"] == "here"


def test_init_twice_is_an_error_unless_it_is_said(engine: Any) -> None:
    skate.init()
    with pytest.raises(RuntimeError, match=r"called twice .*ignore_reinit_error=True"):
        skate.init()
    skate.init(ignore_reinit_error=True)
    assert len(engine.started_with) == 1


def test_init_works_as_a_with_statement(engine: Any) -> None:
    with skate.init():
        assert skate.is_initialized()
    assert not skate.is_initialized()
    skate.shutdown()  # again: harmless


@pytest.mark.parametrize(
    ("written", "error", "message"),
    [
        ({"num_cpu": 2}, RuntimeError, r"unknown keyword argument\(s\): 'num_cpu'; did you mean 'num_cpus'"),
        ({"num_cpus": -1}, ValueError, "num_cpus=-1"),
        ({"num_cpus": "2"}, TypeError, "a number"),
        ({"num_gpus": 0.5}, ValueError, "must be whole"),
        ({"resources": {"CPU": 2}}, ValueError, "write num_cpus=2"),
        ({"address": 3}, TypeError, "address must be a string"),
        ({"object_store_memory": 100}, ValueError, "in bytes"),
        ({"namespace": ""}, ValueError, "namespace is empty"),
        ({"namespace": 1}, TypeError, "namespace must be a string"),
        ({"runtime_env": {"pips": []}}, ValueError, "did you mean 'pip'"),
        ({"runtime_env": 1}, TypeError, "runtime_env must be a dict"),
        ({"log_to_driver": 1}, TypeError, "log_to_driver must be True or False"),
        ({"local_mode": True, "address": "auto"}, ValueError, "can't be combined"),
        ({"labels": {"a": 1}}, TypeError, "strings"),
    ],
)
def test_what_init_refuses(engine: Any, written: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        skate.init(**written)
    assert not skate.is_initialized()


def test_local_mode_is_inline(engine: Any) -> None:
    skate.init(local_mode=True)
    assert engine.started_with[0].address == "inline"


def test_rays_other_arguments_are_accepted(engine: Any) -> None:
    with pytest.warns(UserWarning, match="_system_config"):
        skate.init(include_dashboard=False, dashboard_port=1, logging_level=10, _system_config={})


# ---------------------------------------------------------------- get


def test_get_one_and_many(backend: Any) -> None:
    refs = [skate.put(i) for i in range(3)]
    assert skate.get(refs[1]) == 1
    assert skate.get(refs) == [0, 1, 2]
    assert skate.get((refs[0], refs[0])) == [0, 0]
    assert skate.get([]) == []


@pytest.mark.parametrize(
    ("refs", "error", "message"),
    [
        (1, ValueError, "get.. takes an ObjectRef or a list of them, not int"),
        ({1}, ValueError, r"write skate\.get\(list\(…\)\)"),
        ((i for i in range(3)), ValueError, r"write skate\.get\(list\(…\)\)"),
        ([1], TypeError, r"number 0 of the list is int \(1\)"),
    ],
)
def test_what_get_refuses(backend: Any, refs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        skate.get(refs)


def test_get_says_what_was_meant(backend: Any) -> None:
    ref = skate.put(1)
    with pytest.raises(TypeError, match="a list of refs inside the list"):
        skate.get([[ref]])
    with pytest.raises(TypeError, match=r"write f\.remote\(…\)"):

        @skate.remote
        def f() -> None: ...

        skate.get([f])


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), ("1", TypeError), (True, TypeError), (float("nan"), ValueError)]
)
def test_timeouts_are_checked(backend: Any, timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="timeout="):
        skate.get(skate.put(1), timeout=timeout)
    with pytest.raises(error, match="timeout="):
        skate.wait([skate.put(1)], timeout=timeout)
    skate.get(skate.put(1), timeout=np.float64(1.5))


def test_an_error_shows_the_callers_line_and_not_the_engines(backend: Any) -> None:
    class TaskFailed(RayError):
        pass

    with pytest.raises(TaskFailed) as caught:
        skate.get(backend.make_ref(TaskFailed("no")))
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames] == ["test_an_error_shows_the_callers_line_and_not_the_engines", "get"]
    assert caught.value.__context__ is None


def test_an_error_of_our_own_keeps_its_frames(backend: Any) -> None:
    with pytest.raises(KeyError) as caught:
        skate.get(backend.pending_ref())
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "<listcomp>"


# ---------------------------------------------------------------- put, cancel


def test_put_refuses_refs(backend: Any) -> None:
    with pytest.raises(TypeError, match="an ObjectRef already"):
        skate.put(skate.put(1))


def test_cancel_takes_refs_and_generators(backend: Any) -> None:
    @skate.remote
    def count() -> Any:
        yield 1

    skate.cancel(skate.put(1), force=True, recursive=False)
    skate.cancel(count.remote())
    assert [(force, recursive) for _ref, force, recursive in backend.cancelled] == [(True, False), (False, True)]
    with pytest.raises(TypeError, match=r"cancel\(\) takes an ObjectRef"):
        skate.cancel(1)  # type: ignore[arg-type]


# ---------------------------------------------------------------- wait


def test_wait_splits_in_order(backend: Any) -> None:
    pending = backend.pending_ref()
    a, b = skate.put(1), skate.put(2)
    assert skate.wait([a, pending, b]) == ([a], [pending, b])
    assert skate.wait([pending, a, b], num_returns=2) == ([a, b], [pending])
    assert skate.wait([]) == ([], [])


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda ref: ref, {}, TypeError, r"write skate\.wait\(\[ref\]\)"),
        (lambda ref: {ref}, {}, TypeError, "not set"),
        (lambda ref: [1], {}, TypeError, "number 0 of the list is int"),
        (lambda ref: [ref, ref], {}, ValueError, "unique refs"),
        (lambda ref: [ref], {"num_returns": 0}, ValueError, "at least 1"),
        (lambda ref: [ref], {"num_returns": 2}, ValueError, "more than the 1 refs given"),
        (lambda ref: [ref], {"num_returns": 1.0}, TypeError, "must be an int"),
    ],
)
def test_what_wait_refuses(backend: Any, make: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        skate.wait(make(skate.put(1)), **options)


# ---------------------------------------------------------------- the rest


def test_gpu_ids_are_numbers_where_they_can_be(backend: Any) -> None:
    assert skate.get_gpu_ids() == []
    backend.context["accelerator_ids"] = {"GPU": ["0", "2"]}
    assert skate.get_gpu_ids() == [0, 2]
    backend.context["accelerator_ids"] = {"GPU": ["GPU-ab", "1"]}
    assert skate.get_gpu_ids() == ["GPU-ab", "1"]


def test_every_name_can_be_had() -> None:
    for name in skate.__all__:
        assert getattr(skate, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = skate.nothing  # type: ignore[attr-defined]


HEAVY = {
    "asyncio",
    "logging",
    "psutil",
    "rich",
    "cloudpickle",
    "concurrent.futures",
    "difflib",
    "skate.dag",
    "skate.state",
    "skate.util",
}


def test_importing_skate_is_light() -> None:
    code = f"import skate, sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"


def test_a_timeout_is_a_timeout_error() -> None:
    assert issubclass(GetTimeoutError, TimeoutError)
