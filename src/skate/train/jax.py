"""JAX: `jax.distributed` among the workers, so that `jax.devices()` lists everybody's, and `pmap`/`shard_map` reach across.

On CPUs JAX's collectives go through gloo. A process joins such a cluster once: after a failure all workers are started anew.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skate.train.framework import Framework
from skate.train.ports import HeldPort
from skate.train.tensorflow import need
from skate.train.trainer import FunctionTrainer

if TYPE_CHECKING:
    from skate.train.config import ScalingConfig
    from skate.train.context import Session

__all__ = ["JaxTrainer"]


class JaxFramework(Framework):
    """A `jax.distributed` cluster per attempt."""

    name = "jax"
    can_start_again = False
    preload = ("jax",)

    def check(self, scaling: ScalingConfig) -> None:
        need("jax", "JaxTrainer")

    def prepare(self, rank: int, world_size: int, address: str) -> dict[str, Any]:
        global _port
        _port = HeldPort(address) if rank == 0 else None
        return {"port": _port.number} if _port is not None else {}

    def set_up(self, session: Session) -> None:
        one = session.assignment
        if one.world_size == 1:
            return
        jax = import_module("jax")
        if jax.config.jax_platforms in (None, "", "cpu"):
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        first = one.rendezvous["peers"][0]
        if _port is not None:
            _port.release()
        at = f"{first['address']}:{first['port']}"
        bind = {"coordinator_bind_address": at} if one.rank == 0 else {}
        jax.distributed.initialize(at, num_processes=one.world_size, process_id=one.rank, **bind)

    def tear_down(self, session: Session) -> None:
        if session.assignment.world_size > 1 and not session.stop.is_set():
            jax = import_module("jax")
            try:
                jax.distributed.shutdown()
            except RuntimeError:  # A peer is gone.
                pass


_port: HeldPort | None = None  # Rank 0's, between prepare and set_up.


class JaxTrainer(FunctionTrainer):
    """Runs a JAX training loop on N workers. See `FunctionTrainer` for the arguments."""

    framework_class = JaxFramework
