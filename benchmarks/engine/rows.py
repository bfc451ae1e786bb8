"""What is measured: for each row its unit, which way is better, on whom it runs, and what has to be reached."""

from __future__ import annotations

from dataclasses import dataclass

POOLS = ("pool", "executor", "joblib")
PEERS = ("ray", *POOLS, "socket", "memcpy")


@dataclass(frozen=True)
class Goal:
    """`factor` times as good as `peer`; without a peer, the figure itself is to be at least (or, if less is better, at most) `factor`."""

    factor: float
    peer: str = ""


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    unit: str = "/s"
    peers: tuple[str, ...] = ("ray",)
    goals: tuple[Goal, ...] = (Goal(10, "ray"),)
    is_less_better: bool = False
    timeout_s: float = 180


def _less(name: str, title: str, unit: str, *goals: Goal, peers: tuple[str, ...] = ("ray",), timeout_s: float = 180) -> Row:
    return Row(name, title, unit, peers, goals, is_less_better=True, timeout_s=timeout_s)


ROWS = (
    # Ray's microbenchmark
    Row("get_calls", "get calls"),
    Row("put_calls", "put calls"),
    Row("put_calls_multi", "multi-client put calls"),
    Row("put_gigabytes", "put gigabytes", "GB/s", ("ray", "memcpy"), (Goal(0.6, "memcpy"), Goal(10, "ray"))),
    Row("put_gigabytes_multi", "multi-client put gigabytes", "GB/s"),
    Row("tasks_and_get_batch", "1,000 tasks and get"),
    Row("get_10k_refs", "get an object with 10k refs"),
    Row("wait_1k_refs", "wait on 1k refs", goals=(Goal(50, "ray"),)),
    Row("tasks_sync", "tasks, sync", peers=("ray", *POOLS, "socket"), goals=(Goal(10, "ray"), Goal(0.4, "socket"))),
    Row("tasks_async", "tasks, async", peers=("ray", *POOLS), goals=(Goal(50, "ray"), Goal(4, "pool"))),
    Row("tasks_multi", "tasks, multi-client async"),
    Row("actor_sync", "actor calls 1:1 sync", peers=("ray", "socket"), goals=(Goal(10, "ray"), Goal(0.4, "socket"))),
    Row("actor_async", "actor calls 1:1 async"),
    Row("actor_concurrent", "actor calls 1:1 concurrent"),
    Row("actor_1_n", "actor calls 1:n async"),
    Row("actor_n_n", "actor calls n:n async"),
    Row("actor_n_n_arg", "actor calls n:n async with a ref"),
    Row("async_actor_sync", "async-actor calls 1:1 sync"),
    Row("async_actor_async", "async-actor calls 1:1 async"),
    Row("async_actor_args", "async-actor calls 1:1 async with args"),
    Row("async_actor_1_n", "async-actor calls 1:n async"),
    Row("async_actor_n_n", "async-actor calls n:n async"),
    Row("placement_groups", "placement groups created and removed"),
    # Start
    _less("import_time", "import", "s", Goal(0.1)),
    _less("cold_start", "cold start to the first result", "s", Goal(0.25), Goal(1 / 2.5, "pool"), peers=("ray", *POOLS)),
    # Size
    _less("big_argument", "100 MB argument to 10 tasks", "s", Goal(0.15), peers=("ray", *POOLS)),
    Row("queued_1k", "10³ queued tasks"),
    Row("queued_10k", "10⁴ queued tasks"),
    Row("queued_100k", "10⁵ queued tasks", peers=(), goals=()),
    Row("queued_1m", "10⁶ queued tasks", peers=(), goals=(), timeout_s=300),
    Row("queued_flat", "rate of 10⁶ queued beside 10³", "%", peers=(), goals=(Goal(80),), timeout_s=300),
    _less("queued_memory", "memory per queued task", "kB", Goal(1.5), peers=(), timeout_s=300),
    Row("actors_created", "actors created and called", goals=(Goal(20), Goal(10, "ray"))),
    Row("nested", "levels of nested tasks on 2 CPUs", goals=(Goal(10), Goal(10, "ray"))),
    # Faults
    _less("actor_restart", "killed actor answers again", "s", Goal(0.3)),
    _less("task_retry", "killed task answers again", "s", Goal(0.3)),
    # Idle, fair
    _less("idle_memory", "idle memory, two workers", "MB", Goal(80)),
    _less("idle_cpu", "idle CPU", "% of a core", Goal(0.2)),
    Row("spinning_driver", "nested rate beside a spinning driver", "%", (), (Goal(50),)),
    _less("beside_long_task", "delay of 1,000 tasks by a 10 s one", "ms", Goal(50), peers=()),
)
BY_NAME = {row.name: row for row in ROWS}
