"""What runs in Ray's workers: the user's function or method, with its error packed as everywhere in Skate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from skate.backends.ray_cluster_errors import CallFailedError, RetriedCallFailedError
from skate.engine.client import errors

Retried = bool | tuple[type[BaseException], ...]


def enter() -> None:
    """Make the public API of this worker use the cluster it belongs to."""
    from skate.backends import current

    if current.peek() is None:
        from skate.backends.ray_cluster import RayBackend

        RayBackend.in_worker()


def failure(error: BaseException, name: str, started_s: float, retried: Retried, actor_class: str = "") -> CallFailedError:
    import ray

    trace = error.__traceback__
    if trace is not None:
        # The first frame is ours. It can't be told by its file: the code may have come from a driver where Skate stands elsewhere.
        error.__traceback__ = trace.tb_next
    context = ray.get_runtime_context()
    task = bytes.fromhex(context.get_task_id() or "")
    packed = errors.pack_task_error(
        error, name=name, task=task, pid=os.getpid(), worker=0, actor_class=actor_class, attempt=0,
        duration_s=time.time() - started_s,
    )  # fmt: skip
    is_retried = retried if isinstance(retried, bool) else isinstance(error, retried)
    kind = RetriedCallFailedError if is_retried else CallFailedError
    return kind(packed, f"{type(error).__name__}: {error}")


def make_task(function: Callable[..., Any], name: str, retried: Retried, num_returns: int) -> Callable[..., Any]:
    """The function that Ray gets."""
    from skate.backends.base import DYNAMIC, STREAMING

    if num_returns == STREAMING:

        def stream(*args: Any, **kwargs: Any) -> Any:
            enter()
            started_s = time.time()
            try:
                for item in function(*args, **kwargs):  # noqa: UP028  # Ray sends values into its generators.
                    yield item
            except Exception as error:
                raise failure(error, name, started_s, retried) from None

        return stream

    def call(*args: Any, **kwargs: Any) -> Any:
        enter()
        started_s = time.time()
        try:
            value = function(*args, **kwargs)
            return refs_of(value) if num_returns == DYNAMIC else value
        except Exception as error:
            raise failure(error, name, started_s, retried) from None

    return call


def refs_of(items: Any) -> Any:
    """The value of `num_returns="dynamic"`."""
    import importlib

    from skate.backends import current

    return importlib.import_module("skate.generator").DynamicObjectRefGenerator([current.active().put(item) for item in items])


class PlainHost:
    """An actor of Ray's that holds the user's object."""

    def __init__(self, cls: type, class_name: str, handle_meta: bytes, *args: Any, **kwargs: Any) -> None:
        enter()
        self._class_name = class_name
        self.handle_meta = handle_meta
        _hosts.append(self)
        started_s = time.time()
        try:
            self._object = cls(*args, **kwargs)
        except Exception as error:
            raise failure(error, f"{class_name}.__init__", started_s, False, class_name) from None

    def _find(self, method: str) -> Any:
        if method == "__ray_ready__":
            return lambda: True
        if method == "__ray_call__":
            return lambda function, *args, **kwargs: function(self._object, *args, **kwargs)
        return getattr(self._object, method)

    def _failure(self, error: BaseException, method: str, started_s: float, retried: Retried) -> CallFailedError:
        return failure(error, f"{self._class_name}.{method}", started_s, retried, self._class_name)

    def call(self, method: str, retried: Retried, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        started_s = time.time()
        try:
            return self._find(method)(*args, **kwargs)
        except _ends() as error:
            raise error
        except Exception as error:
            raise self._failure(error, method, started_s, retried) from None

    def run(self, method: str, retried: Retried, *args: Any, **kwargs: Any) -> Any:
        return self.call(method, retried, args, kwargs)

    def stream(self, method: str, retried: Retried, *args: Any, **kwargs: Any) -> Any:
        started_s = time.time()
        try:
            for item in self._find(method)(*args, **kwargs):  # noqa: UP028  # As above.
                yield item
        except Exception as error:
            raise self._failure(error, method, started_s, retried) from None


class AsyncHost(PlainHost):
    """The same for classes with coroutines: calls run in Ray's event loop."""

    async def run(self, method: str, retried: Retried, *args: Any, **kwargs: Any) -> Any:
        import inspect

        started_s = time.time()
        try:
            value = self._find(method)(*args, **kwargs)
            return await value if inspect.isawaitable(value) else value
        except _ends() as error:
            raise error
        except Exception as error:
            raise self._failure(error, method, started_s, retried) from None

    async def stream(self, method: str, retried: Retried, *args: Any, **kwargs: Any) -> Any:
        started_s = time.time()
        try:
            items = self._find(method)(*args, **kwargs)
            if hasattr(items, "__anext__"):
                async for item in items:
                    yield item
            else:
                for item in items:
                    yield item
        except Exception as error:
            raise self._failure(error, method, started_s, retried) from None


_hosts: list[PlainHost] = []  # The one that lives in this process.


def host() -> PlainHost | None:
    return _hosts[-1] if _hosts else None


def _ends() -> type[BaseException]:
    """How Ray ends an actor on purpose."""
    from ray.exceptions import AsyncioActorExit

    kind: type[BaseException] = AsyncioActorExit
    return kind
