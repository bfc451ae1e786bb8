"""Words of the collective operations."""

from __future__ import annotations

from enum import Enum


class ReduceOp(Enum):
    """How values of several ranks become one."""

    SUM = 0
    PRODUCT = 1
    MIN = 2
    MAX = 3
    AVERAGE = 4


class Backend:
    """What carries the data. Everything named here runs over shared memory; NCCL needs a cluster of GPUs and is refused."""

    GLOO = "gloo"
    SHARED_MEMORY = "shm"
    NCCL = "nccl"
    MPI = "mpi"

    def __new__(cls, name: str = "gloo") -> str:  # type: ignore[misc]  # Ray spells it Backend("gloo") and compares with strings.
        name = str(name).lower()
        if name in ("nccl", "mpi", "hccl"):
            raise ValueError(f"collective backend {name!r} is not offered on one machine's CPUs: use 'gloo'")
        if name not in ("gloo", "torch_gloo", "shm"):
            raise ValueError(f"unknown collective backend {name!r}: use 'gloo'")
        return "gloo"
