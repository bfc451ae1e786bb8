"""What a training framework needs around the loop. One object per trainer, made in the driver, used in each worker.

driver                          each worker
──────                          ───────────
check(scaling)                                         before anything starts
                prepare ──────► prepare(rank) → info   import; open what peers connect to, at `address`
                run     ──────► set_up(session)        join the group; `session.assignment.rendezvous["peers"]` has all infos, by rank
                                the loop
                                tear_down(session)     leave the group, whatever happened
                stop    ──────► interrupt(session)     from another thread: end what the loop may be stuck in
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skate.train.config import ScalingConfig
    from skate.train.context import Session


class Framework:
    """Nothing but processes: what `FunctionTrainer` has, and what others build on."""

    name = "function"
    can_start_again = True  # Whether a process may join a second group after its first one broke.
    is_warm_up_worthwhile = False  # Whether importing takes so long that a spare worker pays.
    preload: tuple[str, ...] = ()  # Modules that take long to import, and may be imported before a fork.

    def check(self, scaling: ScalingConfig) -> None:
        """Raise what the user should know before any process is started."""

    def prepare(self, rank: int, world_size: int, address: str) -> dict[str, Any]:
        return {}

    def warm_up(self) -> None:
        """In a spare worker: whatever takes long and needs no group."""

    def set_up(self, session: Session) -> None:
        pass

    def tear_down(self, session: Session) -> None:
        pass

    def interrupt(self, session: Session) -> None:
        pass
