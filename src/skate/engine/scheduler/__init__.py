"""Who runs where: leases of workers, actors, placement groups, as one pure state machine. No I/O, no clock, no randomness.

`Scheduler.handle(client, event, now_s)` answers with commands; the node process's shell carries them out. Read `scheduler.py` first.
"""

from skate.engine.scheduler.config import SchedulerConfig
from skate.engine.scheduler.invariants import check_invariants
from skate.engine.scheduler.scheduler import Scheduler

__all__ = ["Scheduler", "SchedulerConfig", "check_invariants"]
