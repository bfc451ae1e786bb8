"""All-reduce of NumPy buffers between the workers of a group on one machine, through shared memory.

    memory (one nameless file, mapped by all):   rank 0's part │ rank 1's part │ …        each `_PART_BYTES`

    for each piece of the buffer that fits into a part (N ranks, slice r of the piece belongs to rank r):
      1  write the slices of the others into my part          ─ meet ─
      2  add the others' versions of my slice to mine, write the sum into my part     ─ meet ─
      3  copy the others' sums from their parts               (the next piece uses the other half of the memory, so no third meeting)

That is reduce-scatter and all-gather, as in a ring all-reduce (Patarasuk and Yuan 2009: each rank moves 2·(N-1)/N of the buffer), but in two
meetings instead of 2·(N-1): everybody can read everybody's memory. Meetings are one byte over Unix sockets, so a peer's death ends
them at once: `PeerLostError`. Buffers of several machines need `torch.distributed` or `skate.util.collective`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import select
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skate.train import context
from skate.train.errors import PeerLostError
from skate.train.framework import Framework

if TYPE_CHECKING:
    from skate.train.context import Session

_PART_BYTES = 4 << 20  # Of one rank, in one half. Smaller pieces stay in the cache, larger ones need fewer meetings.
_JOIN_TIMEOUT_S = 60.0
_MESSAGE_BYTES = 512


class SharedMemoryGroup:
    """One rank's membership. Calls are made by all ranks in the same order, from one thread at a time."""

    def __init__(self, rank: int, world_size: int, sockets: dict[int, socket.socket], memory: mmap.mmap) -> None:
        self.rank, self.world_size = rank, world_size
        self._peers = sockets
        self._memory = memory
        self._bytes = np.frombuffer(memory, np.uint8)
        self._half = 0
        self._is_closed = False

    # ------------------------------------------------------------ operations

    def all_reduce(self, buffer: np.ndarray[Any, Any], op: str = "sum") -> np.ndarray[Any, Any]:
        """Reduce in place over all ranks.

        Args:
            buffer: Contiguous and writable; the same shape and dtype on all ranks.
            op: "sum", "mean", "max" or "min".

        Returns:
            The buffer.

        Raises:
            PeerLostError: A rank is gone.
            ValueError: The buffer can't be written to, or ranks have buffers of different sizes.
        """
        combine = _OPERATIONS.get(op)
        if combine is None:
            raise ValueError(f"all_reduce: op={op!r} must be one of {', '.join(map(repr, _OPERATIONS))}")
        _check_is_writable("all_reduce", buffer)
        if self.world_size == 1:
            return buffer
        flat = buffer.reshape(-1)
        step = _PART_BYTES // buffer.itemsize
        for start in range(0, max(flat.size, 1), step):
            self._reduce_piece(flat[start : start + step], combine, buffer if start == 0 else None)
        if op == "mean":
            np.divide(flat, self.world_size, out=flat, casting="unsafe")
        return buffer

    def broadcast(self, buffer: np.ndarray[Any, Any], source: int = 0) -> np.ndarray[Any, Any]:
        """Copy the buffer of `source` into everybody's, in place. Raises as `all_reduce` does."""
        _check_is_writable("broadcast", buffer)
        flat = buffer.reshape(-1)
        step = _PART_BYTES // buffer.itemsize
        for start in range(0, flat.size if self.world_size > 1 else 0, step):
            piece = flat[start : start + step]
            part = self._part(source, piece.dtype)[: piece.size]
            if self.rank == source:
                part[...] = piece
            self._meet(b"b", buffer if start == 0 else None)
            if self.rank != source:
                piece[...] = part
            self._half ^= 1
        return buffer

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self._meet(b"B")

    def close(self) -> None:
        """Leave. Peers that wait get `PeerLostError`."""
        if self._is_closed:
            return
        self._is_closed = True
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()

    # ------------------------------------------------------------ parts

    def _reduce_piece(self, piece: np.ndarray[Any, Any], combine: Any, whole: np.ndarray[Any, Any] | None) -> None:
        bounds = [piece.size * rank // self.world_size for rank in range(self.world_size + 1)]
        low, high = bounds[self.rank], bounds[self.rank + 1]
        parts = [self._part(rank, piece.dtype) for rank in range(self.world_size)]
        mine = parts[self.rank]
        mine[:low] = piece[:low]
        mine[high : piece.size] = piece[high:]
        self._meet(b"r", whole)
        own = piece[low:high]
        # In the order of ranks, not of arrival: the result is the same on every run.
        if self.world_size == 2:
            combine(own, parts[1 - self.rank][low:high], out=own)
        else:
            total = parts[0][low:high].copy() if self.rank else own.copy()
            for rank in range(1, self.world_size):
                combine(total, own if rank == self.rank else parts[rank][low:high], out=total)
            own[...] = total
        mine[low:high] = own
        self._meet(b"g")
        for rank in range(self.world_size):
            if rank != self.rank:
                piece[bounds[rank] : bounds[rank + 1]] = parts[rank][bounds[rank] : bounds[rank + 1]]
        self._half ^= 1

    def _part(self, rank: int, dtype: Any) -> Any:
        start = (self._half * self.world_size + rank) * _PART_BYTES
        return self._bytes[start : start + _PART_BYTES].view(dtype)

    def _meet(self, word: bytes, buffer: np.ndarray[Any, Any] | None = None) -> None:
        """Tell all peers that this rank is here, and hear it from all of them.

        Args:
            buffer: In the first meeting of a call: its shape and dtype are compared. Ranks that disagree would otherwise add up garbage.
        """
        message = word if buffer is None else word + f"{buffer.dtype}{list(buffer.shape)}".encode()
        rank = self.rank
        try:
            for rank, peer in self._peers.items():  # noqa: B007  # The rank is for the error.
                peer.send(message)
            for rank, peer in self._peers.items():
                heard = peer.recv(_MESSAGE_BYTES)
                if not heard:
                    raise PeerLostError(self._lost(rank, message))
                if heard != message:
                    raise ValueError(
                        f"rank {self.rank} is in {_shown(message)} and rank {rank} in {_shown(heard)}: all ranks must make the same calls in the same "
                        "order, with buffers of the same shape and dtype"
                    )
        except PeerLostError:
            raise
        except OSError as error:
            raise PeerLostError(self._lost(rank, message)) from error

    def _lost(self, rank: int, message: bytes) -> str:
        return (
            f"rank {rank} is gone (it died, or left its loop: all ranks must make the same number of steps); {_shown(message)} of rank {self.rank} "
            "can't end"
        )


def _check_is_writable(operation: str, buffer: np.ndarray[Any, Any]) -> None:
    if not buffer.flags.c_contiguous or not buffer.flags.writeable:
        raise ValueError(
            f"{operation}: the result is written into the buffer: it must be contiguous and writable (np.ascontiguousarray, .copy())"
        )


def _shown(message: bytes) -> str:
    """A meeting's message in words: "all_reduce of float32[4]"."""
    operation = {b"r": "all_reduce", b"g": "all_reduce", b"b": "broadcast", b"B": "barrier"}.get(message[:1], "an operation")
    return operation + (f" of {message[1:].decode()}" if message[1:] else "")


_OPERATIONS: dict[str, Any] = {"sum": np.add, "mean": np.add, "max": np.maximum, "min": np.minimum}


# ---------------------------------------------------------------- joining


class Door:
    """Where the peers of higher rank connect to. Opened in `prepare`, so that its name can be told to all."""

    def __init__(self) -> None:
        self.name = f"skate-train-{os.getpid()}-{secrets.token_hex(8)}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind("\0" + self.name)  # Abstract: nothing is left in the file system.
        self._listener.listen(64)

    def close(self) -> None:
        self._listener.close()

    def join(self, rank: int, world_size: int, names: Sequence[str]) -> SharedMemoryGroup:
        """Connect to all peers; rank 0 makes the memory.

        Args:
            names: The doors of all ranks.

        Raises:
            PeerLostError: Not all came in time.
        """
        size = 2 * world_size * _PART_BYTES
        sockets: dict[int, socket.socket] = {}
        descriptor = -1
        try:
            for lower in range(rank):
                peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                peer.settimeout(_JOIN_TIMEOUT_S)
                peer.connect("\0" + names[lower])
                peer.send(rank.to_bytes(4, "little"))
                sockets[lower] = peer
            until_s = time.monotonic() + _JOIN_TIMEOUT_S
            while len(sockets) < world_size - 1:
                if not select.select([self._listener], [], [], max(0.0, until_s - time.monotonic()))[0]:
                    missing = sorted(set(range(world_size)) - {rank, *sockets})
                    raise PeerLostError(f"rank {rank} waited {_JOIN_TIMEOUT_S:g} s for rank(s) {missing} to join the group")
                peer, _ = self._listener.accept()
                credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                if int.from_bytes(credentials[4:8], "little") != os.getuid():  # Another user's process.
                    peer.close()
                    continue
                peer.settimeout(_JOIN_TIMEOUT_S)
                sockets[int.from_bytes(peer.recv(4), "little")] = peer
            if rank == 0:
                descriptor = os.memfd_create("skate-train", os.MFD_CLOEXEC)
                os.ftruncate(descriptor, size)
                for peer in sockets.values():
                    socket.send_fds(peer, [b"m"], [descriptor])
            else:
                _, received, _, _ = socket.recv_fds(sockets[0], 1, 1)
                if not received:
                    raise PeerLostError("rank 0 is gone before the group was complete")
                descriptor = received[0]
            memory = mmap.mmap(descriptor, size)
        except OSError as error:
            for peer in sockets.values():
                peer.close()
            raise (
                error if isinstance(error, PeerLostError) else PeerLostError(f"rank {rank} could not join the group: {error}")
            ) from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            self.close()
        for peer in sockets.values():
            peer.settimeout(None)
        return SharedMemoryGroup(rank, world_size, dict(sorted(sockets.items())), memory)


class SharedMemoryFramework(Framework):
    """Workers of one machine that share memory: for NumPy, Keras and what is built on them."""

    name = "function"

    def prepare(self, rank: int, world_size: int, address: str) -> dict[str, Any]:
        global _door
        if _door is not None:
            _door.close()
        _door = Door()
        return {"door": _door.name}

    def set_up(self, session: Session) -> None:
        one = session.assignment
        if not one.rendezvous["is_one_host"] or _door is None:
            return  # `group()` says so, when it is asked for.
        session.framework["group"] = _door.join(one.rank, one.world_size, [peer["door"] for peer in one.rendezvous["peers"]])

    def tear_down(self, session: Session) -> None:
        group = session.framework.pop("group", None)
        if group is not None:
            group.close()

    def interrupt(self, session: Session) -> None:
        group = session.framework.get("group")
        if group is not None:
            group.close()


_door: Door | None = None  # Between prepare and set_up.


# ---------------------------------------------------------------- inside the loop


def group() -> SharedMemoryGroup:
    """This worker's group.

    Raises:
        RuntimeError: The workers are on several machines, or the trainer has no such group.
    """
    found = context.session().framework.get("group")
    if found is None:
        raise RuntimeError(
            "there is no shared-memory group: the workers are on several machines, or the trainer is of a framework that brings its own "
            "collective operations (torch.distributed, tf.distribute)"
        )
    return found  # type: ignore[no-any-return]


def all_reduce(buffer: np.ndarray[Any, Any], op: str = "sum") -> np.ndarray[Any, Any]:
    """Reduce a buffer in place over all workers: see `SharedMemoryGroup.all_reduce`."""
    return group().all_reduce(buffer, op)


def broadcast(buffer: np.ndarray[Any, Any], source: int = 0) -> np.ndarray[Any, Any]:
    """Copy the buffer of worker `source` into everybody's."""
    return group().broadcast(buffer, source)


def barrier() -> None:
    """Wait until all workers are here."""
    group().barrier()


__all__ = ["SharedMemoryGroup", "all_reduce", "barrier", "broadcast", "group"]
