"""The scheduler's knobs, each with its unit in its name and the reason for its value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Plain numbers; times in seconds."""

    idle_worker_timeout_s: float = 5.0
    workers_idle_max: int | None = None  # Per node; None: as many as it has CPUs, at least one.
    prestarted_workers: int = 0  # When a driver joins, on the first node.
    infeasible_notice_s: float = 5.0  # After this long a user is told that nobody has what they wait for …
    held_notice_s: float = 10.0  # … and after this long, who holds it.
    lease_quantum_s: float = 0.005  # Two clients that want the same take turns no shorter than this: a hand-over takes 0.3 ms.
    revoked_patience_s: float = 0.02  # A lease called back for longer than this runs a long task: others are called back too.
    hold_first_s: float = 1.0  # So long others wait, at first, while resources are gathered for a large request.
    pack_threshold: float = 0.5  # DEFAULT packs nodes up to this utilisation, then takes the least loaded, as Ray does.
    actor_quick_death_s: float = 1.0  # An actor that lived shorter than this died quickly.
    actor_quick_deaths_max: int = 3  # So many quick deaths in a row restart at once; the next wait.
    actor_backoff_first_s: float = 0.1  # Doubles with each further quick death …
    actor_backoff_max_s: float = 10.0  # … up to this.
    failed_starts_max: int = 3  # Workers in a row that end before they came up; then requests of that environment fail.
    broken_env_s: float = 1.0  # So long they fail at once; then one more start is tried.
    retired_check_s: float = 1.0  # How often a retired worker is asked whether somebody still needs what it owns.
    tombstones_max: int = 10_000  # Dead actors and removed groups that are remembered, to tell late callers why.
