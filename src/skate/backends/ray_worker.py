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
            if args and type(args[0]) is Calls:
                return run_calls(function, args[0])
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


# ---------------------------------------------------------------- short calls that travel together: see `ray_batches`

GIVE_UP_S = 0.05  # How long a chunk may take before it hands back what it has not begun.
VALUES_BYTES_MAX = 1 << 20  # Of the values of one chunk: what comes after is handed back.
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})


class Calls:
    """The argument of a chunk, instead of the function's own."""

    def __init__(self, name: str, key: bytes, calls: list[Any]) -> None:
        self.name = name
        self.key = key  # Where what was not begun is handed back; b"": a single call.
        self.calls = calls

    def __reduce__(self) -> tuple[Any, ...]:
        return Calls, (self.name, self.key, self.calls)


class Failure:
    """Stands for the value of a call that raised."""

    def __init__(self, error: bytes) -> None:
        self.error = error

    def exception(self) -> BaseException:
        from skate.engine.client import errors

        return errors.unpack_error(self.error)


class Frozen:
    """A value that may be changed by who gets it, or by the function after it has returned it: pickled at once, unpickled by each `get`."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def thaw(self) -> Any:
        import pickle

        return pickle.loads(self.data)


class _Run:
    """A chunk at work. The main thread takes calls from the left; the watch takes all that are left, when one takes long."""

    def __init__(self, calls: Calls) -> None:
        from collections import deque

        self.key = calls.key
        self.all = calls.calls
        self.left = deque(calls.calls)  # Atomic at both ends: a call is begun or handed back, never both.
        self.outcomes: list[Any] = []
        self.started = time.monotonic()


class _Watch:
    """The thread of this process that looks after the chunk at work."""

    def __init__(self) -> None:
        import threading

        self.run: _Run | None = None
        self.event = threading.Event()
        threading.Thread(target=self._watch, name="skate-ray-chunk", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.event.wait()
            self.event.clear()
            run = self.run
            if run is None:
                continue
            time.sleep(max(0.0, run.started + GIVE_UP_S - time.monotonic()))
            if self.run is run and run.left:
                self._hand_back(run)

    def _hand_back(self, run: _Run) -> None:
        import pickle

        rest = 0
        while run.left:
            try:
                run.left.pop()
                rest += 1
            except IndexError:
                break
        if not rest:
            return
        first = len(run.all) - rest
        outcomes: list[Any] | None = run.outcomes[: first - 1]
        try:
            data = pickle.dumps((outcomes, first))
        except Exception:  # Refs among them: they come when the task ends.
            data = b""
        if not data or len(data) > VALUES_BYTES_MAX:
            data = pickle.dumps((None, first))
        enter().kv_put(run.key, data, overwrite=True)


_watch: _Watch | None = None


def run_calls(function: Callable[..., Any], calls: Calls) -> tuple[float, list[Any], bool]:
    """Several calls of one function, one after the other: (seconds, an outcome for each that was begun, whether their values fill a chunk).

    An outcome is a value, a `Frozen` one, or a `Failure`.
    """
    global _watch
    run = _Run(calls)
    if calls.key:
        if _watch is None:
            _watch = _Watch()
        _watch.run = run
        _watch.event.set()
    take, put = run.left.popleft, run.outcomes.append
    size_bytes = 0
    is_single = len(calls.calls) == 1
    began = started = time.perf_counter()
    try:
        while run.left:
            try:
                args, kwargs = take()
            except IndexError:
                break  # The watch was faster.
            try:
                value = function(*args, **kwargs)
                if type(value) not in _PLAIN and not is_single:
                    value = _frozen(value)
                put(value)
            except Exception as error:
                put(_failure(error, calls.name, time.perf_counter() - began))
                began = time.perf_counter()
                continue
            kind = type(value)
            if kind is str or kind is bytes:
                size_bytes += len(value)
            elif kind is Frozen:
                size_bytes += len(value.data)
            began = time.perf_counter()
            if size_bytes > VALUES_BYTES_MAX or (began - started > GIVE_UP_S and run.left):
                break
    except KeyboardInterrupt:  # `cancel` of an element, of this one as a rule: the others are sent again.
        if is_single:
            raise
    finally:
        if _watch is not None:
            _watch.run = None
    return time.perf_counter() - started, run.outcomes, size_bytes > VALUES_BYTES_MAX


def _frozen(value: Any) -> Any:
    """Raises TypeError and its like when it can't be pickled: the call's own error, as it would be alone."""
    from ray import cloudpickle

    objects = enter().objects
    before = objects.reduced
    data = cloudpickle.dumps(value)
    # Refs inside are Ray's to count: it does so when it pickles them itself.
    return value if objects.reduced != before else Frozen(data)


def _failure(error: BaseException, name: str, duration_s: float) -> Failure:
    import os

    from skate.engine.client import errors

    return Failure(errors.pack_task_error(
        error, name=name, task=b"", pid=os.getpid(), worker=0, actor_class="", attempt=0, duration_s=duration_s,
    ))  # fmt: skip


def pick(chunk: tuple[float, list[Any], bool], index: int, body: list[Any] | None, call: Any) -> Any:
    """One value of a chunk, as an object of its own; of a call that the chunk has not begun, by running it here."""
    outcomes = chunk[1]
    if index >= len(outcomes):
        assert body is not None
        import ray

        return ray.get(body[0])(*call[0], **call[1])
    value = outcomes[index]
    if isinstance(value, Failure):
        raise value.exception()
    return value.thaw() if isinstance(value, Frozen) else value
