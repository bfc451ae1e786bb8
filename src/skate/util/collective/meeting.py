"""The meeting point of a group: a named actor by which ranks exchange small values and refs of large ones.

Every rank counts the group's operations; those with the same number meet in one *round*. Each brings a value and takes what it
needs as soon as those it needs have come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class _Round:
    __slots__ = ("operation", "taken", "values", "waiters")

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.values: dict[int, Any] = {}
        self.waiters: list[tuple[frozenset[int], asyncio.Future[None]]] = []
        self.taken = 0  # ranks that are done with it


class Meeting:
    """The actor. Async: a rank that waits takes no thread."""

    def __init__(self, size: int, members: dict[str, int] | None = None) -> None:
        self._size = size
        self._members = members or {}  # actor id (hex) → rank, of a declared group
        self._rounds: dict[int, _Round] = {}
        self._letters: dict[tuple[int, int, int], Any] = {}  # (from, to, number) → value
        self._readers: dict[tuple[int, int, int], asyncio.Future[None]] = {}
        self._left: set[int] = set()

    async def describe(self) -> tuple[int, dict[str, int]]:
        return self._size, self._members

    async def leave(self, rank: int) -> bool:
        """True when all have left."""
        self._left.add(rank)
        return len(self._left) == self._size

    async def meet(
        self, number: int, operation: str, rank: int, value: Any, needs: list[int], column: int, timeout_s: float
    ) -> list[Any]:
        """Bring `value`; get the values of the ranks in `needs`, in their order.

        Args:
            column: -1 for the whole values; otherwise values are lists and the element of this index is wanted.
        """
        round_ = self._rounds.get(number)
        if round_ is None:
            round_ = self._rounds[number] = _Round(operation)
        if round_.operation != operation:
            raise RuntimeError(
                f"rank {rank} calls {operation} where another rank calls {round_.operation}: all ranks of a group have "
                "to make the same calls in the same order"
            )
        round_.values[rank] = value
        for others, future in round_.waiters:
            if not future.done() and others <= round_.values.keys():
                future.set_result(None)
        if not round_.values.keys() >= set(needs):
            await self._wait(round_, frozenset(needs), operation, rank, timeout_s)
        found = [round_.values[source] for source in needs]
        round_.taken += 1
        if round_.taken == self._size:
            del self._rounds[number]
        return found if column < 0 else [value[column] for value in found]

    async def _wait(self, round_: _Round, needs: frozenset[int], operation: str, rank: int, timeout_s: float) -> None:
        import asyncio

        future = asyncio.get_running_loop().create_future()
        round_.waiters.append((needs, future))
        try:
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            missing = sorted(needs - round_.values.keys())
            raise TimeoutError(
                f"{operation}: rank {rank} waited {timeout_s:g} s for rank(s) {', '.join(map(str, missing))}; are they "
                "alive and making the same calls? A longer wait is set by gloo_timeout (ms)"
            ) from None

    async def post(self, source: int, target: int, number: int, value: Any) -> None:
        key = (source, target, number)
        self._letters[key] = value
        reader = self._readers.pop(key, None)
        if reader is not None and not reader.done():
            reader.set_result(None)

    async def take(self, source: int, target: int, number: int, timeout_s: float) -> Any:
        import asyncio

        key = (source, target, number)
        if key not in self._letters:
            reader = self._readers[key] = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(reader, timeout_s)
            except TimeoutError:
                self._readers.pop(key, None)
                raise TimeoutError(f"recv: rank {target} waited {timeout_s:g} s for rank {source} to send") from None
        return self._letters.pop(key)
