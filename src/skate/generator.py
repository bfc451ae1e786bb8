"""Generators: what a task or method that yields gives its caller.

ObjectRefGenerator          items are there one by one, while the generator still runs (`num_returns="streaming"`, the default of generators)
DynamicObjectRefGenerator   all refs at once, as the value of one ref (`num_returns="dynamic"`)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from skate.object_ref import ObjectRef

if TYPE_CHECKING:
    from skate.backends.base import Backend, StreamHandle

__all__ = ["DynamicObjectRefGenerator", "ObjectRefGenerator"]

T = TypeVar("T")


class ObjectRefGenerator(Generic[T]):
    """Refs of what a remote generator yields, in order, as soon as each is there.

    ```python
    for ref in numbers.remote(10):
        print(skate.get(ref))
    ```

    Also in `async for`, and in `skate.wait`. An error inside the generator is its last item: a ref whose `get` raises. When nobody
    holds the ObjectRefGenerator any more the remote generator is stopped.
    """

    __slots__ = ("__weakref__", "_backend", "_stream")

    def __init__(self, stream: StreamHandle, backend: Backend) -> None:
        self._stream = stream
        self._backend = backend

    def __iter__(self) -> Iterator[ObjectRef[T]]:
        return self

    def __next__(self) -> ObjectRef[T]:
        """Wait for the next item's ref."""
        ref = self._stream.next_ref(None)
        if ref is None:
            raise StopIteration
        return ref

    def __aiter__(self) -> AsyncIterator[ObjectRef[T]]:
        return self

    async def __anext__(self) -> ObjectRef[T]:
        import asyncio

        from skate.exceptions import GetTimeoutError

        loop = asyncio.get_running_loop()
        while True:
            arrived: asyncio.Future[None] = loop.create_future()

            def wake(arrived: asyncio.Future[None] = arrived) -> None:
                def settle() -> None:
                    if not arrived.done():
                        arrived.set_result(None)

                try:
                    loop.call_soon_threadsafe(settle)
                except RuntimeError:  # The loop was closed: nobody waits any more.
                    pass

            self._stream.add_next_callback(wake)
            await arrived
            try:
                ref = self._stream.next_ref(0)
            except GetTimeoutError:  # Another consumer was quicker.
                continue
            if ref is None:
                raise StopAsyncIteration
            return ref

    def completed(self) -> ObjectRef[None]:
        """A ref that is ready when the generator has ended; its `get` raises the generator's error, if there was one."""
        return self._stream.completed_ref()

    def next_ready(self) -> bool:
        """Whether `next` would not wait: an item is there, or the end."""
        is_ready: list[bool] = []
        self._stream.add_next_callback(lambda: is_ready.append(True))
        return bool(is_ready)

    def is_finished(self) -> bool:
        """Whether the generator has ended and all its items have been taken."""
        return self._stream.is_finished()

    def task_id(self) -> Any:
        from skate._ids import TaskID

        return TaskID(self._stream.task_id)

    def close(self) -> None:
        """Stop the remote generator: nobody wants the rest."""
        self._stream.close()

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._stream.task_id.hex()})"

    def __reduce__(self) -> Any:
        raise TypeError(
            "an ObjectRefGenerator can't be passed to or returned from a task: iterate over it and pass its refs, "
            "or pass the actor or function that makes it"
        )


class DynamicObjectRefGenerator(Generic[T]):
    """The refs a generator with `num_returns="dynamic"` has made: iterable, with a length, and it can travel."""

    __slots__ = ("_next", "_refs")

    def __init__(self, refs: list[ObjectRef[T]]) -> None:
        self._refs = refs
        self._next = 0

    def __iter__(self) -> Iterator[ObjectRef[T]]:
        return iter(self._refs)

    def __next__(self) -> ObjectRef[T]:
        if self._next >= len(self._refs):
            raise StopIteration
        self._next += 1
        return self._refs[self._next - 1]

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, index: int) -> ObjectRef[T]:
        return self._refs[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DynamicObjectRefGenerator) and other._refs == self._refs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"DynamicObjectRefGenerator({self._refs!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._refs,)
