"""What runs in a Ray cluster's workers: before user code runs, the public API of that process is told that it is part of the cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from skate.backends import current
from skate.object_ref import ObjectRef

_handle_meta = b""  # Of the actor that lives here.


def enter() -> Any:
    """This process's backend; made at the first call."""
    backend = current.peek()
    if backend is None:
        from skate.backends.ray_cluster import RayBackend

        backend = RayBackend(is_worker=True, env={})
        current.attach(backend)
    return backend


def rebuild_ref(their_ref: Any) -> ObjectRef[Any]:
    """What a pickled ref calls where it is unpickled."""
    ref: ObjectRef[Any] = enter().objects.adopt(their_ref)
    return ref


def rebuild_handle(handle: Any, handle_meta: bytes) -> Any:
    """What a pickled actor handle calls where it is unpickled."""
    import importlib

    backend = enter()
    actor_id = backend.objects.adopt_actor(handle)
    return importlib.import_module("skate.actor").make_handle(actor_id, handle_meta, backend)


def hosted_function(function: Callable[..., Any], name: str, *, is_streaming: bool) -> Callable[..., Any]:
    """`function` for `ray.remote`: it finds the public API at work."""
    import functools
    import inspect

    body: Callable[..., Any]
    if inspect.isasyncgenfunction(function):

        def body(*args: Any, **kwargs: Any) -> Any:  # Ray's tasks are plain functions.
            enter()
            yield from _items_of(function(*args, **kwargs))

    elif is_streaming or inspect.isgeneratorfunction(function):

        def body(*args: Any, **kwargs: Any) -> Any:
            enter()
            for item in function(*args, **kwargs):  # noqa: UP028  # Of any iterator: Ray needs a real generator.
                yield item

    else:

        def body(*args: Any, **kwargs: Any) -> Any:
            enter()
            return function(*args, **kwargs)

    try:
        functools.update_wrapper(body, function, updated=())
    except (AttributeError, TypeError):
        pass
    body.__dict__.pop("__wrapped__", None)  # Ray would look for the code there.
    body.__name__ = name if name.isidentifier() else getattr(function, "__name__", "function")
    return body


def _items_of(items: Any) -> Any:
    """An async generator's items, for plain code."""
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                item = loop.run_until_complete(items.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        loop.run_until_complete(items.aclose())
        loop.close()


def hosted_class(cls: type, handle_meta: bytes) -> type:
    """`cls` for `ray.remote`."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        from skate.backends import ray_worker

        ray_worker._handle_meta = handle_meta
        ray_worker.enter()
        cls.__init__(self, *args, **kwargs)  # type: ignore[misc]

    members: dict[str, Any] = {"__init__": __init__, "__module__": cls.__module__, "__doc__": cls.__doc__}
    for name in dir(cls):
        method = getattr(cls, name)
        wanted = getattr(method, "__skate_method_options__", {}).get("num_returns")
        if wanted in ("streaming", "dynamic") and not _is_generator(method):
            members[name] = _as_generator(method)
    return type(cls.__name__, (cls,), members)


def _is_generator(method: Any) -> bool:
    import inspect

    return inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)


def _as_generator(method: Any) -> Any:
    def items(self: Any, *args: Any, **kwargs: Any) -> Any:
        for item in method(self, *args, **kwargs):  # noqa: UP028  # Of any iterator: Ray needs a real generator.
            yield item

    items.__name__ = method.__name__
    return items


def run_chunk(
    function: Callable[..., Any], name: str, calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
) -> tuple[float, list[Any]]:
    """Several calls of one function, one after the other: (seconds, a value or a `Failure` for each)."""
    import os

    enter()
    from skate.engine.client import errors

    outcomes: list[Any] = []
    started = time.perf_counter()
    for args, kwargs in calls:
        began = time.perf_counter()
        try:
            outcomes.append(function(*args, **kwargs))
        except Exception as error:
            outcomes.append(Failure(errors.pack_task_error(
                error, name=name, task=b"", pid=os.getpid(), worker=0, actor_class="", attempt=0, duration_s=time.perf_counter() - began,
            )))  # fmt: skip
    return time.perf_counter() - started, outcomes


class Failure:
    """Stands for the value of a call that raised."""

    def __init__(self, error: bytes) -> None:
        self.error = error

    def exception(self) -> BaseException:
        from skate.engine.client import errors

        return errors.unpack_error(self.error)


def pick(chunk: tuple[float, list[Any]], index: int) -> Any:
    """One value of a chunk, as an object of its own."""
    value = chunk[1][index]
    if isinstance(value, Failure):
        raise value.exception()
    return value
