"""`Queue`: a first-in, first-out queue that many tasks and actors share. It lives in an actor of its own.

Copies of a `Queue` that travel in arguments name the same queue. Each `put` and `get` is one actor call; the batch forms carry
many items in one.
"""

from __future__ import annotations

import queue as _stdlib
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import skate

if TYPE_CHECKING:
    import asyncio

# Each blocked `get` or `put` occupies one call of the actor: a limit that is reached would stop the `put` everybody waits for.
_BLOCKED_CALLS_MAX = 100_000


class Empty(_stdlib.Empty):
    """Nothing in the queue, at once or within the time given."""


class Full(_stdlib.Full):
    """No room in the queue, at once or within the time given."""


class Queue:
    """A queue in an actor.

    ```python
    queue = Queue(maxsize=100)
    queue.put("item")
    queue.get(timeout=1.0)
    ```

    Args:
        maxsize: How many items fit; 0 is no limit.
        actor_options: Options of the actor, such as `{"num_cpus": 1}` or `{"name": "jobs"}`.
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        options = {"max_concurrency": _BLOCKED_CALLS_MAX, **(actor_options or {})}
        self.actor: Any = skate.remote(_QueueActor).options(**options).remote(maxsize)

    # ------------------------------------------------------------ size

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        return int(skate.get(self._live_actor().qsize.remote()))

    def qsize(self) -> int:
        return self.size()

    def empty(self) -> bool:
        return bool(skate.get(self._live_actor().empty.remote()))

    def full(self) -> bool:
        return bool(skate.get(self._live_actor().full.remote()))

    # ------------------------------------------------------------ put

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item at the end.

        Args:
            block: Wait for room while the queue is full.
            timeout: Seconds to wait; None waits as long as it takes.

        Raises:
            Full: There is no room, or there was none in time.
            ValueError: The timeout is negative.
        """
        try:
            skate.get(self._call_put(item, block, timeout))
        except Full:
            raise Full from None

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """`put` for async code."""
        try:
            await self._call_put(item, block, timeout)
        except Full:
            raise Full from None

    def put_nowait(self, item: Any) -> None:
        self.put(item, block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Add all items in order, or none.

        Raises:
            Full: They do not all fit.
        """
        if not isinstance(items, Iterable):
            raise TypeError(f"items must be an iterable, not {type(items).__name__}")
        try:
            skate.get(self._live_actor().put_nowait_batch.remote(list(items)))
        except Full as full:
            raise Full(*full.args) from None

    async def put_nowait_batch_async(self, items: Iterable[Any]) -> None:
        """`put_nowait_batch` for async code."""
        try:
            await self._live_actor().put_nowait_batch.remote(list(items))
        except Full as full:
            raise Full(*full.args) from None

    # ------------------------------------------------------------ get

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item.

        Args:
            block: Wait for an item while the queue is empty.
            timeout: Seconds to wait; None waits as long as it takes.

        Raises:
            Empty: There is no item, or there was none in time.
            ValueError: The timeout is negative.
        """
        try:
            return skate.get(self._call_get(block, timeout))
        except Empty:
            raise Empty from None

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """`get` for async code."""
        try:
            return await self._call_get(block, timeout)
        except Empty:
            raise Empty from None

    def get_nowait(self) -> Any:
        return self.get(block=False)

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take exactly `num_items` items.

        Raises:
            Empty: There are fewer.
        """
        if not isinstance(num_items, int):
            raise TypeError(f"num_items must be an int, not {type(num_items).__name__}")
        if num_items < 0:
            raise ValueError(f"num_items must not be negative, got {num_items}")
        try:
            return list(skate.get(self._live_actor().get_nowait_batch.remote(num_items)))
        except Empty as empty:
            raise Empty(*empty.args) from None

    # ------------------------------------------------------------ end

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """End the queue and give its resources back.

        Args:
            force: At once; calls in progress fail. Otherwise the calls that have arrived are answered first.
            grace_period_s: Seconds they may take; then it is killed anyway.
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            ended, _ = skate.wait([actor.__ray_terminate__.remote()], num_returns=1, timeout=grace_period_s)
            if ended:
                return
        skate.kill(actor, no_restart=True)

    # ------------------------------------------------------------ parts

    def _live_actor(self) -> Any:
        if self.actor is None:
            raise RuntimeError("this queue has been shut down: make a new one")
        return self.actor

    def _call_put(self, item: Any, block: bool, timeout: float | None) -> Any:
        if not block:
            return self._live_actor().put_nowait.remote(item)
        return self._live_actor().put.remote(item, _checked(timeout))

    def _call_get(self, block: bool, timeout: float | None) -> Any:
        if not block:
            return self._live_actor().get_nowait.remote()
        return self._live_actor().get.remote(_checked(timeout))


def _checked(timeout_s: float | None) -> float | None:
    if timeout_s is not None and timeout_s < 0:
        raise ValueError(f"timeout must not be negative, got {timeout_s}")
    return timeout_s


class _QueueActor:
    """The items, and who waits. `asyncio.Queue` with `wait_for` can lose an item when the time runs out as it arrives, so
    waiting is done here: an item goes from hand to hand in one step of the loop.

    Waiters are served in the order in which they came.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: deque[Any] = deque()
        self._getters: deque[asyncio.Future[Any]] = deque()  # Empty unless there are no items.
        self._putters: deque[tuple[asyncio.Future[Any], Any]] = deque()  # Empty unless it is full.

    def qsize(self) -> int:
        return len(self._items)

    def empty(self) -> bool:
        return not self._items

    def full(self) -> bool:
        return 0 < self._maxsize <= len(self._items)

    async def put(self, item: Any, timeout: float | None = None) -> None:
        if not self.full():
            self._add(item)
            return
        place = _future()
        entry = (place, item)
        self._putters.append(entry)
        try:
            await _wait(place, timeout, Full)
        except BaseException:
            if entry in self._putters:
                self._putters.remove(entry)
            raise

    async def get(self, timeout: float | None = None) -> Any:
        if self._items:
            return self._remove()
        place = _future()
        self._getters.append(place)
        try:
            return await _wait(place, timeout, Empty)
        except BaseException:
            if place in self._getters:
                self._getters.remove(place)
            elif place.done() and not place.cancelled() and place.exception() is None:
                # Cancelled after the item was handed over: it goes to whoever waits, or is the first again.
                self._items.appendleft(place.result())
                if self._getters:
                    self._add(self._items.popleft())
            raise

    def put_nowait(self, item: Any) -> None:
        if self.full():
            raise Full
        self._add(item)

    def put_nowait_batch(self, items: list[Any]) -> None:
        if 0 < self._maxsize < len(items) + len(self._items):
            raise Full(f"cannot add {len(items)} items: the queue holds {len(self._items)} of {self._maxsize}")
        for item in items:
            self._add(item)

    def get_nowait(self) -> Any:
        if not self._items:
            raise Empty
        return self._remove()

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        if num_items > len(self._items):
            raise Empty(f"cannot get {num_items} items: the queue holds {len(self._items)}")
        return [self._remove() for _ in range(num_items)]

    def _add(self, item: Any) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(item)
                return
        self._items.append(item)

    def _remove(self) -> Any:
        item = self._items.popleft()
        while self._putters:
            putter, waiting_item = self._putters.popleft()
            if not putter.done():
                putter.set_result(None)
                self._add(waiting_item)
                break
        return item


def _future() -> asyncio.Future[Any]:
    import asyncio

    return asyncio.get_running_loop().create_future()


async def _wait(place: asyncio.Future[Any], timeout_s: float | None, too_late: type[Exception]) -> Any:
    if timeout_s is None:
        return await place

    def give_up() -> None:
        if not place.done():
            place.set_exception(too_late())

    timer = place.get_loop().call_later(timeout_s, give_up)
    try:
        return await place
    finally:
        timer.cancel()
