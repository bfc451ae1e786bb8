"""The seam between the public API and the place where work runs.

The public modules (`api`, `remote_function`, `actor`, `placement_group`, …) check the user's arguments, turn options into the plain values
below (named tuples: importing `dataclasses` takes 8 ms, which a driver would spend before it starts the engine), and call one `Backend`.
A backend never sees a decorator; the public API never sees a process.
`local` (this machine) and `inline` (this process) implement it; one conformance suite runs on both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from skate.object_ref import ObjectRef

STREAMING = -1  # num_returns="streaming"
DYNAMIC = -2  # num_returns="dynamic"
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Placement(NamedTuple):
    """Where work may run. Resource amounts are floats as the user wrote them ("CPU", "GPU", "memory", custom)."""

    resources: Mapping[str, float]
    strategy: str = "DEFAULT"  # "DEFAULT" | "SPREAD"
    placement_group: bytes = b""  # id; b"" is none
    bundle: int = -1
    capture_child_tasks: bool = False
    node: bytes = b""  # node affinity
    soft: bool = False
    labels: Mapping[str, str] = NOTHING
    runtime_env: Mapping[str, Any] = NOTHING  # merged with the job's by the backend


class TaskSpec(NamedTuple):
    """A remote function with its options settled. `prepare_task` is called once per spec."""

    function: Callable[..., Any]
    name: str
    placement: Placement
    num_returns: int = 1  # ≥ 0, STREAMING or DYNAMIC
    max_retries: int = 3  # -1: endless
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    max_calls: int = 0
    backpressure: int = -1  # items a generator may run ahead of its consumer; -1: no limit
    is_recorded: bool = True  # in timeline, state and web UI; what fails is recorded in any case


class MethodSpec(NamedTuple):
    """One method of an actor class with its options settled."""

    name: str
    num_returns: int = 1
    max_task_retries: int | None = None  # None: the actor's
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    concurrency_group: str = ""
    backpressure: int = -1
    call_name: str = ""  # `.options(name=…)` of one call
    is_recorded: bool = True


class ActorClassSpec(NamedTuple):
    """An actor class with its options settled."""

    cls: type
    class_name: str
    placement: Placement  # what must be free to place it
    running_resources: Mapping[str, float]  # what it holds while it lives
    name: str = ""
    namespace: str = ""  # "": the program's
    get_if_exists: bool = False
    detached: bool = False
    max_restarts: int = 0
    max_task_retries: int = 0
    max_concurrency: int | None = None
    concurrency_groups: Mapping[str, int] = NOTHING
    max_pending_calls: int = -1
    is_async: bool = False
    handle_meta: bytes = b""  # what `ActorHost.make_handle` needs to rebuild a handle; opaque to the backend


class InitOptions(NamedTuple):
    """Arguments of `init`, checked. None means: find out."""

    address: str | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: Mapping[str, float] = NOTHING
    labels: Mapping[str, str] = NOTHING
    object_store_memory: int | None = None
    namespace: str = ""
    runtime_env: Mapping[str, Any] = NOTHING
    log_to_driver: bool = True
    log_config: str = ""  # how log records are written: see `log_records.dumped`
    extra: Mapping[str, Any] = NOTHING  # for the ray backend


class StreamHandle(Protocol):
    """The consumer's end of a streaming generator."""

    task_id: bytes

    def next_ref(self, timeout_s: float | None) -> ObjectRef[Any] | None:
        """The next item's ref, in order; None when the stream has ended.

        An error inside the generator is the last item: a ref whose `get` raises. Raises GetTimeoutError.
        """

    def add_next_callback(self, callback: Callable[[], None]) -> None:
        """Call once, in any thread, as soon as `next_ref(0)` would not time out."""

    def is_finished(self) -> bool: ...

    def completed_ref(self) -> ObjectRef[Any]: ...

    def close(self) -> None:
        """Nobody wants the rest."""


class Backend(Protocol):
    """All methods are thread-safe. Ids are bytes. Errors are those of `skate.exceptions`."""

    name: str  # "local" | "inline" | "ray"

    # -- tasks
    def prepare_task(self, spec: TaskSpec) -> Any:
        """Pickle the function once and return a token for `submit_task`. The caller caches the token per backend."""

    def submit_task(self, token: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One ObjectRef for num_returns=1 and for DYNAMIC, None for 0, a list for more, a StreamHandle for STREAMING."""

    # -- actors. A handle's life: `retain_actor` once per handle object made, `drop_actor` in its `__del__` (lock-free).
    drop_actor: Callable[[bytes], None]

    def retain_actor(self, actor_id: bytes) -> None: ...
    def create_actor(self, spec: ActorClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        """Returns (actor id, handle_meta); of the existing actor with `get_if_exists`. Counts one handle.

        Raises ActorAlreadyExistsError (a ValueError)."""

    def prepare_method(self, actor_id: bytes, spec: MethodSpec) -> Any: ...
    def call_actor(self, token: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `submit_task`. Calls of one caller run in order. Raises PendingCallsLimitExceeded."""

    def kill_actor(self, actor_id: bytes, *, no_restart: bool) -> None: ...
    def terminate_actor(self, actor_id: bytes) -> Any:
        """`__ray_terminate__`: a ref that is ready when the actor ended."""

    def get_named_actor(self, name: str, namespace: str) -> tuple[bytes, bytes]:
        """(actor id, handle_meta), one handle counted. Raises ValueError when there is none."""

    def list_named_actors(self, *, all_namespaces: bool) -> list[tuple[str, str]]: ...
    def reduce_actor(self, actor_id: bytes, handle_meta: bytes) -> tuple[Any, ...]:
        """What `ActorHandle.__reduce__` returns: counts the travelling handle for whoever receives it."""

    def exit_actor(self) -> None:
        """From inside an actor: finish this call, then end on purpose. Raises TypeError elsewhere."""

    # -- objects
    def put(self, value: Any, owner: bytes = b"") -> ObjectRef[Any]: ...
    def get(self, refs: Sequence[ObjectRef[Any]], timeout_s: float | None) -> list[Any]:
        """In order. Raises the first error met in the order of `refs`, or GetTimeoutError."""

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout_s: float | None, *, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]: ...
    def split_ready(
        self, refs: list[ObjectRef[Any]], num_returns: int
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]] | None:
        """What `wait` would answer without waiting, if enough are ready; None leaves it to `wait`. The refs are not checked yet."""

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None: ...
    def free(self, refs: Sequence[ObjectRef[Any]]) -> None: ...

    # -- resources
    def cluster_resources(self) -> dict[str, float]: ...
    def available_resources(self) -> dict[str, float]: ...
    def nodes(self) -> list[dict[str, Any]]: ...
    def create_placement_group(
        self, bundles: Sequence[Mapping[str, float]], strategy: str, name: str, *, detached: bool
    ) -> bytes: ...
    def remove_placement_group(self, group: bytes) -> None: ...
    def get_placement_group(self, name: str) -> tuple[bytes, list[dict[str, float]], str]:
        """(id, bundles, strategy). Raises ValueError when there is none."""

    def placement_group_ready(self, group: bytes) -> ObjectRef[Any]:
        """A ref that becomes ready (value: the group's id, bytes) when all bundles are reserved."""

    def wait_placement_group(self, group: bytes, timeout_s: float | None) -> bool: ...

    # -- context, state, the rest
    def runtime_context(self) -> Mapping[str, Any]:
        """Keys: job_id node_id worker_id task_id actor_id (bytes or None), task_name, function_name, actor_name, namespace, resources
        (dict), accelerator_ids (dict of lists of str), placement_group_id, runtime_env (dict), was_reconstructed, attempt,
        session_name, worker_pid, mode ("driver" | "worker"), gcs_address, labels, capture_child_tasks."""

    def is_canceled(self) -> bool: ...
    def query(self, what: str, params: Mapping[str, Any]) -> Any:
        """State as plain data: "tasks" "actors" "objects" "workers" "nodes" "placement_groups" "jobs" "logs" "timeline" "metrics" "summary" "stacks"."""

    def report_metrics(self, rows: list[Any]) -> None: ...
    def kv_put(self, key: bytes, value: bytes, *, overwrite: bool) -> bool: ...
    def kv_get(self, key: bytes) -> bytes | None: ...
    def kv_del(self, key: bytes) -> bool: ...
    def kv_list(self, prefix: bytes) -> list[bytes]: ...
    def shutdown(self) -> None: ...
