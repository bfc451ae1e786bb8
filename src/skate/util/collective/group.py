"""One rank's side of a group: the algorithms.

Small arrays (≤ `SMALL_BYTES`) travel in the messages. Large ones are put into the shared-memory store and read in place by the
others, so an all-reduce of n bytes copies n bytes once at each rank and reads each byte once per rank:

    allreduce   put mine → read slice r of everyone's, reduce it → put the slice → read all slices
"""

from __future__ import annotations

from typing import Any

import numpy as np

import skate
from skate.util.collective.types import ReduceOp

SMALL_BYTES = 32 * 1024


class _Stored:
    """Stands for a large array that lies in the store."""

    __slots__ = ("ref",)

    def __init__(self, ref: Any) -> None:
        self.ref = ref


class Group:
    """This process's membership."""

    def __init__(self, name: str, meeting: Any, size: int, rank: int, timeout_s: float) -> None:
        self.name = name
        self.world_size = size
        self.rank = rank
        self._meeting = meeting
        self._timeout_s = timeout_s
        self._number = 0
        self._sent: dict[int, int] = {}
        self._received: dict[int, int] = {}

    # ------------------------------------------------------------ operations

    def barrier(self) -> None:
        self._meet("barrier", None, self._everyone())

    def allreduce(self, tensor: Any, op: ReduceOp) -> None:
        mine = _array(tensor)
        if mine.nbytes <= SMALL_BYTES:
            parts = self._meet("allreduce", mine, self._everyone())
            _write(tensor, _reduce(parts, op))
            return
        flat = np.ascontiguousarray(mine).reshape(-1)
        parts = self._meet("allreduce", _pack(flat), self._everyone(), mine=flat)
        bounds = [flat.size * rank // self.world_size for rank in range(self.world_size + 1)]
        low, high = bounds[self.rank], bounds[self.rank + 1]
        piece = _reduce([part[low:high] for part in parts], op)
        del parts
        pieces = self._meet("allreduce", _pack(piece), self._everyone(), mine=piece)
        _write(tensor, np.concatenate(pieces).reshape(mine.shape))

    def reduce(self, tensor: Any, target: int, op: ReduceOp) -> None:
        mine = _array(tensor)
        parts = self._meet("reduce", _pack(mine), self._everyone() if self.rank == target else [], mine=mine)
        if self.rank == target:
            _write(tensor, _reduce(parts, op))

    def broadcast(self, tensor: Any, source: int) -> None:
        value = _pack(_array(tensor)) if self.rank == source else None
        found = self._meet("broadcast", value, [] if self.rank == source else [source])
        if found:
            _write(tensor, found[0])

    def allgather(self, tensors: list[Any], tensor: Any) -> None:
        mine = _array(tensor)
        for target, part in zip(tensors, self._meet("allgather", _pack(mine), self._everyone(), mine=mine), strict=True):
            _write(target, part)

    def reducescatter(self, tensor: Any, tensors: list[Any], op: ReduceOp) -> None:
        arrays = [_array(part) for part in tensors]
        parts = self._meet(
            "reducescatter", [_pack(array) for array in arrays], self._everyone(), column=self.rank, mine=arrays[self.rank]
        )
        _write(tensor, _reduce(parts, op))

    def send(self, tensor: Any, target: int) -> None:
        number = self._sent[target] = self._sent.get(target, 0) + 1
        skate.get(self._meeting.post.remote(self.rank, target, number, _pack(_array(tensor))))

    def recv(self, tensor: Any, source: int) -> None:
        number = self._received[source] = self._received.get(source, 0) + 1
        _write(tensor, _unpack(skate.get(self._meeting.take.remote(source, self.rank, number, self._timeout_s))))

    def leave(self) -> None:
        """The last one to leave ends the meeting point."""
        try:
            if skate.get(self._meeting.leave.remote(self.rank)):
                skate.kill(self._meeting)
        except skate.exceptions.RayActorError:
            pass

    # ------------------------------------------------------------ parts

    def _everyone(self) -> list[int]:
        return list(range(self.world_size))

    def _meet(self, operation: str, value: Any, needs: list[int], *, column: int = -1, mine: Any = None) -> list[Any]:
        """The values of `needs`; one's own is not fetched back when given as `mine`."""
        self._number += 1
        ref = self._meeting.meet.remote(self._number, operation, self.rank, value, needs, column, self._timeout_s)
        found = skate.get(ref)
        return [
            mine if mine is not None and source == self.rank else _unpack(part) for source, part in zip(needs, found, strict=True)
        ]


def _pack(array: Any) -> Any:
    return array if array.nbytes <= SMALL_BYTES else _Stored(skate.put(array))


def _unpack(value: Any) -> Any:
    return skate.get(value.ref) if isinstance(value, _Stored) else value


def _array(tensor: Any) -> Any:
    """The NumPy view of an array or CPU tensor."""
    if isinstance(tensor, (np.ndarray, np.generic)):
        return tensor
    if hasattr(tensor, "detach"):
        return tensor.detach().cpu().numpy()
    raise TypeError(f"collective operations take NumPy arrays and torch tensors, not {type(tensor).__name__}")


def _write(tensor: Any, value: Any) -> None:
    """Put the result where the caller wants it: into the tensor itself."""
    if hasattr(tensor, "detach"):
        import torch

        with torch.no_grad():
            tensor.copy_(torch.from_numpy(np.array(value)).reshape(tensor.shape))
        return
    if not isinstance(tensor, np.ndarray) or not tensor.flags.writeable:
        raise ValueError("the result is written into the array, but it is read-only: pass array.copy()")
    np.copyto(tensor, np.reshape(value, tensor.shape), casting="unsafe")


def _reduce(parts: list[Any], op: ReduceOp) -> Any:
    function = {
        ReduceOp.SUM: np.add,
        ReduceOp.AVERAGE: np.add,
        ReduceOp.PRODUCT: np.multiply,
        ReduceOp.MIN: np.minimum,
        ReduceOp.MAX: np.maximum,
    }[op]
    result = np.array(parts[0])
    for part in parts[1:]:
        function(result, part, out=result)
    return result / len(parts) if op is ReduceOp.AVERAGE else result
