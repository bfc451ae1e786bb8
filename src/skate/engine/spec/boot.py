"""What the node process and each worker process are started with. Plain values, sent as JSON or kept across a fork."""

from __future__ import annotations

import msgspec

from skate.engine.spec.messages import Welcome

# Before its first output under a new label a worker writes LOG_MARK + label + b"\n" at the start of a line to the same descriptor; the node
# takes the line out and labels what follows. The first byte never begins a line of text.
LOG_MARK = b"\x01skate-label:"


class JobInfo(msgspec.Struct):
    """One driver's program, as its workers have to see the world."""

    job: int = 0
    namespace: str = ""
    name: str = ""
    main_path: str = ""
    sys_path: list[str] = []
    cwd: str = ""
    env: str = ""  # job-level runtime environment, canonical JSON
    environ: dict[str, str] = {}  # of a driver that joined; the node's own otherwise
    log_config: str = ""  # as in Hello


class NodeConfig(msgspec.Struct):
    """The node process's start. None: find out."""

    session_name: str
    session_dir: str
    is_embedded: bool = True  # Ends with the driver that started it.
    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: dict[str, float] = {}
    labels: dict[str, str] = {}
    object_store_bytes: int | None = None
    spill_dir: str = ""  # "": the machine's temporary directory
    spill_bytes_max: int = -1  # -1: until the disk is full
    hooks: str = "skate.backends.local:WorkerHooks"
    preload: list[str] = []  # Modules to import before the first worker is forked.
    memory_limit_bytes: int | None = None  # For the memory monitor; None: the machine's or cgroup's.
    driver_pid: int = 0
    idle_worker_timeout_s: float = 5.0
    extra_nodes: list[dict[str, float]] = []  # Logical nodes besides the first (tests).
    argv: list[str] = []  # Of the driver, for run.json.
    runs_dir: str = ""  # Where the run file goes; "": as the environment says, see `skate.run_format`.


class WorkerBoot(msgspec.Struct):
    """A worker process's start."""

    worker: int  # Its client id.
    welcome: Welcome
    session_dir: str
    hooks: str
    job_info: JobInfo
    env: str = ""  # runtime environment of this worker (job's and task's merged), canonical JSON
    node_id: bytes = b""
