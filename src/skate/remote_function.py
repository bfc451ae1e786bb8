"""`RemoteFunction`: what `@skate.remote` makes of a function.

    square.remote(3) ─► does the call fit? ─► token of the backend (made once) ─► backend.submit_task ─► ObjectRef

A backend's token holds the pickled function and its settled options; it is made again when the backend changes (`shutdown`, then `init`).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from skate._signature import is_coroutine, is_generator, signature_of
from skate.backends import current
from skate.backends.base import STREAMING
from skate.generator import ObjectRefGenerator
from skate.options import captured_group, check_task, follows_group, returns_of, task_spec

if TYPE_CHECKING:
    from skate.backends.base import Backend
    from skate.object_ref import ObjectRef

__all__ = ["RemoteFunction"]

P = ParamSpec("P")
Out = TypeVar("Out", covariant=True)
_VARIANTS_MAX = 64  # Results of `.options(…)` kept per function, so that a loop over them pickles the function once.


class RemoteFunction(Generic[P, Out]):
    """A function that runs in a worker: `square.remote(3)` submits it and returns its result's ref at once.

    `Out` is what `.remote` returns: `ObjectRef[int]` for a function that returns int.
    """

    def __init__(self, function: Callable[P, Any], options: Mapping[str, Any]) -> None:
        """
        Args:
            function: A plain function; not `async def`.
            options: Checked ones: see `skate.options`.

        Raises:
            ValueError: The function is `async def`, or its options do not suit it.
        """
        name = getattr(function, "__name__", None) or type(function).__name__
        if is_coroutine(function):
            raise ValueError(
                f"{name!r} is an async function, and tasks are plain functions: write a plain function that calls asyncio.run({name}(…)), "
                "or make it a method of an actor, which has an event loop"
            )
        self._function = function
        self._options = dict(options)
        self._name = name
        self._signature = signature_of(function)
        self._least = self._signature.least
        self._most = self._signature.most
        self._num_returns = returns_of(
            options, name, is_generator=is_generator(function), may_return_generator=hasattr(function, "__wrapped__")
        )
        self._prepared: tuple[Any, Any] = (None, None)  # (backend, its token)
        self._group = b""  # The placement group the token is for, in a worker.
        self._watches_group = False
        self._variants: dict[Any, RemoteFunction[P, Any]] = {}
        self.__name__ = name
        self.__qualname__ = getattr(function, "__qualname__", name)
        self.__module__ = getattr(function, "__module__", None) or "__main__"
        self.__doc__ = getattr(function, "__doc__", None)
        self.__wrapped__ = function

    # A ref may stand for any argument. Type checkers can't be told so for keywords; for the first four positions they can.
    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> Out: ...
    @overload
    def remote(self, _0: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> Out: ...
    @overload
    def remote(self, _0: Any, _1: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> Out: ...
    @overload
    def remote(self, _0: Any, _1: Any, _2: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> Out: ...
    @overload
    def remote(self, _0: Any, _1: Any, _2: Any, _3: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> Out: ...
    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a call.

        Returns:
            A ref; a list of refs for `num_returns` above 1, None for 0, an `ObjectRefGenerator` for a generator.

        Raises:
            TypeError: The arguments do not fit the function, or can't be pickled.
        """
        if kwargs or not self._least <= len(args) <= self._most:
            self._signature.check(f"{self._name}.remote", args, kwargs)
        backend: Backend = current.active()
        prepared_for, token = self._prepared
        if prepared_for is not backend or (self._watches_group and captured_group(backend) != self._group):
            token = self._prepare(backend)
        if self._num_returns == STREAMING:
            return ObjectRefGenerator(backend.submit_task(token, args, kwargs), backend)
        return backend.submit_task(token, args, kwargs)

    def options(self, **options: Any) -> RemoteFunction[P, Any]:
        """The same function with other options: `square.options(num_cpus=2).remote(3)`."""
        key: Any = tuple(sorted(options.items(), key=_name_of))
        try:
            known = self._variants.get(key)
        except TypeError:  # A value that can't be hashed.
            key = known = None
        if known is not None:
            return known
        variant: RemoteFunction[P, Any] = RemoteFunction(
            self._function, {**self._options, **check_task(options, in_options=True)}
        )
        if key is not None:
            if len(self._variants) >= _VARIANTS_MAX:
                self._variants.clear()
            self._variants[key] = variant
        return variant

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that runs when it is asked to: see `skate.dag`."""
        from skate.dag import FunctionNode

        self._signature.check(f"{self._name}.bind", args, kwargs)
        return FunctionNode(self, args, kwargs)

    def _prepare(self, backend: Backend) -> Any:
        self._watches_group = follows_group(self._options) and _may_capture(backend)
        if self._watches_group:
            self._group = captured_group(backend)
        token = backend.prepare_task(task_spec(self._function, self._name, self._num_returns, self._options, backend))
        self._prepared = (backend, token)
        return token

    if not TYPE_CHECKING:  # Type checkers say that it can't be called.

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            call = shown_call(args, kwargs)
            raise TypeError(
                f"{self._name!r} is a remote function and can't be called directly: write {self._name}.remote({call}), not {self._name}({call})"
            )

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Found in a class body: it stays a remote function of its plain arguments."""
        return self

    def __repr__(self) -> str:
        return f"<remote function {self.__module__}.{self.__qualname__}>"

    # The state is set after the object exists, so that a function that calls itself, or two that call each other, can travel.
    def __reduce__(self) -> tuple[Any, ...]:
        return _empty, (), (self._function, self._options)

    def __setstate__(self, state: tuple[Any, Any]) -> None:
        RemoteFunction.__init__(self, *state)


def _empty() -> RemoteFunction[Any, Any]:
    return RemoteFunction.__new__(RemoteFunction)


def is_function(thing: Any) -> bool:
    """Whether `remote` can make a task of it: functions, built-in ones, methods of objects, partials."""
    if isinstance(thing, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return True
    # Compiled by Cython and the like, or functools.partial: called like functions, of types of their own.
    return callable(thing) and type(thing).__name__ in (
        "cython_function_or_method",
        "partial",
        "_lru_cache_wrapper",
        "nb_func",
        "ufunc",
    )


def shown_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Arguments as the user may have written them; long and strange ones as "…"."""
    return ", ".join([*map(_shown, args), *(f"{name}={_shown(value)}" for name, value in kwargs.items())])


def _shown(value: Any) -> str:
    if isinstance(value, int | float | str | bytes | bool | type(None)):
        text = repr(value)
        if len(text) <= 30:
            return text
    return "…"


def _name_of(option: tuple[str, Any]) -> str:
    return option[0]


def _may_capture(backend: Backend) -> bool:
    """Whether calls made here may have to follow a running task into its placement group."""
    is_worker = getattr(backend, "is_worker", None)
    if is_worker is not None:
        return bool(is_worker)
    return backend.name != "ray" and backend.runtime_context().get("mode") == "worker"
