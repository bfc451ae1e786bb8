"""`ObjectRef`: names a value that exists, or will, somewhere in the engine.

A ref knows its id and its host: the part of a backend that counts references, answers `await` and rebuilds refs that
travel. It decides nothing by itself. `__del__` only appends to the host's queue of dropped ids: it may run in any thread, at any
bytecode, inside the garbage collector, so it must take no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

T_co = TypeVar("T_co", covariant=True)


class RefHost(Protocol):
    """What a backend offers to the refs it made."""

    drop: Callable[[bytes], None]  # An id's local handle went. Must be callable from `__del__`: atomic, no lock.

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]: ...

    def add_done_callback(self, ref: ObjectRef[Any], callback: Callable[[Any, BaseException | None], None]) -> None:
        """Call `callback(value, error)` once, in any thread, when the value is there."""

    def call_site(self, ref_id: bytes) -> str: ...


class ObjectRef(Generic[T_co]):
    """Names a value in the object store; `skate.get(ref)` or `await ref` gives the value.

    Refs are hashable, equal when they name the same object, and may travel in arguments, results, closures and containers.
    """

    __slots__ = ("__weakref__", "_drop", "_host", "_id")

    def __init__(self, ref_id: bytes, host: RefHost) -> None:
        self._id = ref_id
        self._host = host
        self._drop = host.drop

    def __del__(self) -> None:
        self._drop(self._id)

    def hex(self) -> str:
        return self._id.hex()

    def binary(self) -> bytes:
        return self._id

    def is_nil(self) -> bool:
        return not self._id

    def task_id(self) -> Any:
        """The id of the task that makes this object."""
        from skate._ids import TaskID

        return TaskID(self._id[:16])

    def job_id(self) -> Any:
        from skate._ids import JobID

        return JobID(self._id[4:8])

    def call_site(self) -> str:
        return self._host.call_site(self._id)

    def future(self) -> concurrent.futures.Future[T_co]:
        """A `concurrent.futures.Future` that gets the value or the error."""
        import concurrent.futures

        future: concurrent.futures.Future[T_co] = concurrent.futures.Future()
        future.object_ref = self  # type: ignore[attr-defined]  # keeps the value alive until it is delivered

        def deliver(value: Any, error: BaseException | None) -> None:
            if not future.set_running_or_notify_cancel():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

        self._host.add_done_callback(self, deliver)
        return future

    def as_future(self) -> asyncio.Future[T_co]:
        """An asyncio future of the running loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[T_co] = loop.create_future()
        future.object_ref = self  # type: ignore[attr-defined]

        def settle(value: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

        def deliver(value: Any, error: BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:  # The loop was closed: nobody waits any more.
                pass

        self._host.add_done_callback(self, deliver)
        return future

    def __await__(self) -> Generator[Any, None, T_co]:
        return self.as_future().__await__()

    def __hash__(self) -> int:
        return hash(self._id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRef) and other._id == self._id

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def _repr_html_(self) -> str:
        import importlib

        return str(importlib.import_module("skate._cards").ref_card(self))  # It stands above this module.

    def __reduce__(self) -> tuple[Any, ...]:
        return self._host.reduce_ref(self)

    def __copy__(self) -> ObjectRef[T_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ObjectRef[T_co]:
        return self
