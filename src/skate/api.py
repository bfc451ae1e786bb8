"""The functions everybody calls: init, remote, put, get, wait, cancel, shutdown. They check their arguments; a backend does the work.

The first call that needs an engine starts one (`current.active`); importing skate starts nothing.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from skate._signature import near
from skate.actor import ActorClass, ActorHandle
from skate.backends import current
from skate.backends.base import InitOptions
from skate.backends.ray_connect import is_ray_address
from skate.generator import ObjectRefGenerator
from skate.object_ref import ObjectRef
from skate.options import ACTOR_OPTIONS, TASK_OPTIONS, check_actor, check_amount, check_labels, check_resources, check_task
from skate.remote_function import RemoteFunction, is_function

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "Context", "available_resources", "cancel", "cluster_resources", "free", "get", "get_gpu_ids", "init",
    "is_initialized", "nodes", "put", "remote", "shutdown", "wait",
]  # fmt: skip

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


# ---------------------------------------------------------------- life


class Context(Mapping[str, Any]):
    """What `init` returns: where the session is. In a `with` statement it shuts the session down at the end.

    Also a mapping, with the keys of Ray's address info: "node_id", "session_name", "namespace", ….
    """

    dashboard_url = ""
    protocol_version = None

    def __init__(self, address_info: dict[str, Any]) -> None:
        import platform

        from skate import __version__

        self.address_info = address_info
        self.python_version = platform.python_version()
        self.ray_version = self.skate_version = __version__
        self.ray_commit = ""
        self.namespace = address_info.get("namespace", "")

    def disconnect(self) -> None:
        shutdown()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutdown()

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __repr__(self) -> str:
        return f"Context({self.address_info!r})"

    def _repr_html_(self) -> str:
        from skate._cards import session_card

        return session_card(self.address_info)


_ACCEPTED = {  # Arguments of Ray's init that have no meaning on one machine; given to the ray backend as they are.
    "include_dashboard", "dashboard_host", "dashboard_port", "job_config", "configure_logging", "logging_format", "logging_config",
    "logging_level", "enable_resource_isolation", "cgroup_path", "system_reserved_cpu", "system_reserved_memory", "proxy_server_url",
    "allow_multiple", "storage",
}  # fmt: skip
_OWN = {  # Of our own engine, for tests and odd machines.
    "_extra_nodes", "_idle_worker_timeout_s", "_memory_limit_bytes", "_preload", "_session_name", "_spill_bytes_max", "_spill_dir",
}  # fmt: skip
_KNOWN = (
    "address", "num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "local_mode", "ignore_reinit_error", "log_to_driver",
    "namespace", "runtime_env",
)  # fmt: skip


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    log_to_driver: bool = True,
    namespace: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    **others: Any,
) -> Context:
    """Start an engine, or join one. Optional: the first call that needs an engine starts one with the defaults.

    Args:
        address: None: the environment's SKATE_ADDRESS or RAY_ADDRESS, else a new engine on this machine. "auto": one that `skate start` keeps alive.
            "local": a new one in any case. "inline": no processes at all, for debuggers and tests. "ray", "host:6379": a Ray cluster.
        num_cpus: CPUs to share out; None: as many as this process may use.
        num_gpus: GPUs to share out; None: those that are found.
        resources: Other things to share out, name → amount.
        labels: Labels of this machine, for label selectors.
        object_store_memory: Bytes of the object store; None: 30 % of memory. More than that spills to disk.
        local_mode: The same as address="inline".
        ignore_reinit_error: A second `init` returns the running session instead of raising.
        log_to_driver: Show what workers print.
        namespace: Where this program's named actors live; None: a namespace of its own.
        runtime_env: What every process of this program has to find around it: `env_vars`, `working_dir`, `py_modules`, `pip`.
        others: Ray's other arguments are accepted; they mean something on a Ray cluster only.

    Returns:
        A context, usable in `with`.

    Raises:
        RuntimeError: `init` was called before; or an argument that does not exist.
        ConnectionError: There is no session at `address`.
    """
    unknown = [name for name in others if name not in _ACCEPTED and not name.startswith("_")]
    if unknown:
        shown = ", ".join(f"{name!r}{near(name, (*_KNOWN, *_ACCEPTED))}" for name in unknown)
        raise RuntimeError(f"init(): unknown keyword argument(s): {shown}")
    options = _init_options(
        address,
        num_cpus,
        num_gpus,
        resources,
        labels,
        object_store_memory,
        local_mode,
        log_to_driver,
        namespace,
        runtime_env,
        others,
    )
    running = current.peek()
    if running is not None:
        if ignore_reinit_error:
            return _context(running)
        raise RuntimeError(
            "init() was called twice (or another call had started the engine already): call skate.shutdown() first, "
            "or pass ignore_reinit_error=True to keep the running session"
        )
    private = [name for name in others if name.startswith("_") and name not in _OWN]
    if private and not is_ray_address(options.address or ""):
        import warnings

        warnings.warn(f"init(): {', '.join(private)}: settings of a Ray cluster's processes, ignored here", stacklevel=2)
    backend = current.start(options)
    if options.log_config and others.get("configure_logging") is not False and backend.name != "ray":  # Ray does it itself.
        from skate.backends import log_records

        log_records.configure(log_records.loaded(options.log_config), backend.runtime_context)
    context = _context(backend)
    if (
        others.get("include_dashboard")
        and context.address_info.get("session_name")
        and not str(options.address or "").startswith("ray")
    ):
        from skate.ui_launch import open_ui

        context.dashboard_url = open_ui(context.address_info["session_name"], int(others.get("dashboard_port") or 0))
        print(f"skate: the web UI is at {context.dashboard_url}", file=sys.stderr)  # noqa: T201  # As Ray does.
    return context


def _init_options(
    address: Any, num_cpus: Any, num_gpus: Any, resources: Any, labels: Any, object_store_memory: Any, local_mode: Any,
    log_to_driver: Any, namespace: Any, runtime_env: Any, others: dict[str, Any],
) -> InitOptions:  # fmt: skip
    if address is not None and not isinstance(address, str):
        raise TypeError(f"init(): address must be a string or None, not {address!r}")
    for name, amount in (("num_cpus", num_cpus), ("num_gpus", num_gpus)):
        if amount is not None:
            check_amount(name, amount)
    if num_gpus is not None and num_gpus != int(num_gpus):
        raise ValueError(f"init(): num_gpus={num_gpus!r} must be whole")
    if resources is not None:
        check_resources("resources", resources)
    if labels is not None:
        check_labels("labels", labels)
    if object_store_memory is not None:
        if isinstance(object_store_memory, bool) or not isinstance(object_store_memory, int | float):
            raise TypeError(f"init(): object_store_memory must be a number of bytes, not {object_store_memory!r}")
        if object_store_memory < 1 << 20:
            raise ValueError(
                f"init(): object_store_memory={object_store_memory!r} is in bytes and must be at least {1 << 20} (1 MiB)"
            )
        object_store_memory = int(object_store_memory)
    for name, flag in (("local_mode", local_mode), ("log_to_driver", log_to_driver)):
        if not isinstance(flag, bool):
            raise TypeError(f"init(): {name} must be True or False, not {flag!r}")
    if namespace is not None:
        if not isinstance(namespace, str):
            raise TypeError(f"init(): namespace must be a string, not {namespace!r}")
        if not namespace:
            raise ValueError("init(): namespace is empty; leave it out for a namespace of this program's own")
    env: Mapping[str, Any] = {}
    if runtime_env is not None:
        from skate.runtime_env import RuntimeEnv

        if not isinstance(runtime_env, Mapping):
            raise TypeError(f'init(): runtime_env must be a dict such as {{"env_vars": {{…}}}}, not {runtime_env!r}')
        env = dict(RuntimeEnv(**runtime_env))
    log_config = ""
    if others.get("logging_config") is not None:
        from skate.backends import log_records

        if not isinstance(others["logging_config"], log_records.LoggingConfig):
            raise TypeError(f"init(): logging_config must be a skate.LoggingConfig, not {others['logging_config']!r}")
        log_config = log_records.dumped(others["logging_config"])
    if local_mode:
        if address not in (None, "inline", "local"):
            raise ValueError(
                f"init(): local_mode=True runs everything in this process: it can't be combined with address={address!r}"
            )
        address = "inline"
    return InitOptions(
        address=address or None,
        num_cpus=None if num_cpus is None else float(num_cpus),
        num_gpus=None if num_gpus is None else float(num_gpus),
        resources=dict(resources or {}),
        labels=dict(labels or {}),
        object_store_memory=object_store_memory,
        namespace=namespace or "",
        runtime_env=env,
        log_to_driver=log_to_driver,
        log_config=log_config,
        extra=others,
    )


def _context(backend: Any) -> Context:
    context = backend.runtime_context()
    node = context.get("node_id")
    info = {
        "address": context.get("gcs_address") or backend.name,
        "gcs_address": context.get("gcs_address") or "",
        "node_id": node.hex() if node else "",
        "session_name": context.get("session_name") or "",
        "session_dir": context.get("session_dir") or "",
        "namespace": context.get("namespace") or "",
        "node_ip_address": "127.0.0.1",
        "webui_url": "",
        "backend": backend.name,
    }
    return Context(info)


def shutdown(_exiting_interpreter: bool = False, *, wait_for_processes: bool = False) -> None:
    """End the session, or leave one that others keep. Refs and handles of it are invalid afterwards. Harmless when nothing runs."""
    report = sys.modules.get("skate.reporting")
    if report is not None:
        report.flush()
    current.stop()


def is_initialized() -> bool:
    """Whether this process has an engine: by `init`, by a first call, or because it is a worker."""
    return current.peek() is not None


# ---------------------------------------------------------------- remote


class _Decorate(Protocol):
    """What `remote(num_cpus=…)` returns."""

    @overload
    def __call__(self, thing: type[T], /) -> ActorClass[T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, thing: Callable[P, Iterator[R] | AsyncIterator[R]], /) -> RemoteFunction[P, ObjectRefGenerator[R]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, thing: Callable[P, R], /) -> RemoteFunction[P, ObjectRef[R]]: ...


class _DecorateReturning(Protocol):
    """What `remote(num_returns=…)` returns: how many refs a call gives depends on the number."""

    @overload
    def __call__(self, thing: type[T], /) -> ActorClass[T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, thing: Callable[P, Any], /) -> RemoteFunction[P, Any]: ...


@overload
def remote(thing: type[T], /) -> ActorClass[T]: ...  # type: ignore[overload-overlap]
@overload
def remote(thing: Callable[P, Iterator[R] | AsyncIterator[R]], /) -> RemoteFunction[P, ObjectRefGenerator[R]]: ...  # type: ignore[overload-overlap]
@overload
def remote(thing: Callable[P, R], /) -> RemoteFunction[P, ObjectRef[R]]: ...
@overload
def remote(*, num_returns: int | str, **options: Any) -> _DecorateReturning: ...
@overload
def remote(**options: Any) -> _Decorate: ...
def remote(*args: Any, **options: Any) -> Any:
    """Make a function a task, or a class an actor.

    ```python
    @skate.remote
    def square(x): return x * x

    @skate.remote(num_gpus=1, max_restarts=3)
    class Counter: ...

    tripled = skate.remote(lambda x: 3 * x)
    ```

    Tasks and actors: `num_cpus` (1; an actor holds none while it lives unless asked for), `num_gpus`, `resources`, `memory`, `accelerator_type`,
    `name`, `runtime_env`, `scheduling_strategy`, `label_selector`. Tasks: `num_returns`, `max_retries` (3), `retry_exceptions`, `max_calls`. Actors:
    `max_restarts` (0), `max_task_retries` (0), `max_concurrency`, `concurrency_groups`, `max_pending_calls`, `namespace`, `lifetime`, `get_if_exists`.

    Raises:
        ValueError, TypeError: An option that does not exist, or a value that makes no sense.
    """
    if len(args) == 1 and not options:
        return _make_remote(args[0], {})
    if args or not options:
        raise TypeError("write @skate.remote without parentheses, or with options by name: @skate.remote(num_cpus=2)")
    for name in options:  # The typo is shown at the decorator's line; values are checked when the thing is known.
        if name not in TASK_OPTIONS and name not in ACTOR_OPTIONS:
            raise ValueError(f"{name!r} is not an option of remote{near(name, {**TASK_OPTIONS, **ACTOR_OPTIONS})}")

    def decorate(thing: Any) -> Any:
        return _make_remote(thing, options)

    return decorate


def _make_remote(thing: Any, options: dict[str, Any]) -> Any:
    if isinstance(thing, type):
        return ActorClass(thing, check_actor(options))
    if isinstance(thing, RemoteFunction | ActorClass):
        raise TypeError(f"{thing!r} is remote already; {thing.__name__}.options(…) changes its options")
    if not is_function(thing):
        raise TypeError(f"skate.remote takes a function or a class, not {type(thing).__name__} ({thing!r})")
    return RemoteFunction(thing, check_task(options))


# ---------------------------------------------------------------- objects


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...
@overload
def get(refs: Sequence[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...
@overload
def get(refs: Any, *, timeout: float | None = None) -> Any: ...
def get(refs: Any, *, timeout: float | None = None) -> Any:
    """Wait for values.

    Args:
        refs: A ref, or a list or tuple of refs.
        timeout: Seconds; None waits as long as it takes, 0 looks only.

    Returns:
        The value; or the list of values, in the order of `refs`.

    Raises:
        GetTimeoutError: Not all were there in time.
        Exception: What a task raised (with its own class among its bases), as soon as one has: the first in the order of `refs` of
            those that have ended.
    """
    try:
        if timeout is not None and (timeout.__class__ not in _NUMBERS or not timeout >= 0):
            _check_timeout("get", timeout)
        if isinstance(refs, ObjectRef):
            return current.of_refs().get((refs,), timeout)[0]
        if isinstance(refs, list | tuple):
            kinds = set(map(type, refs))
            if kinds != _JUST_REFS:
                if not kinds:
                    return []
                _check_refs("get", refs, kinds)
            return current.of_refs().get(refs, timeout)
        return _get_other(refs)
    except BaseException as error:
        shown = error
    # Raised here, and not where it was caught, so that the user sees this line and their own, not the engine's frames.
    raise shown.with_traceback(_trace_to_keep(shown))


_NUMBERS = frozenset({int, float})
_JUST_REFS = {ObjectRef}


def _trace_to_keep(error: BaseException) -> TracebackType | None:
    """None for what the user's code, theirs or a task's, did; an error of our own keeps its frames."""
    from skate.exceptions import RayError

    if isinstance(error, RayError | KeyboardInterrupt | TypeError | ValueError):
        return None
    return error.__traceback__


def _get_other(refs: Any) -> Any:
    if isinstance(refs, ObjectRefGenerator):
        return refs  # As in Ray.
    hint = "a list of them"
    if isinstance(refs, set | frozenset) or hasattr(refs, "__next__") or hasattr(refs, "keys"):
        hint = "a list of them: write skate.get(list(…))"
    raise ValueError(f"get() takes an ObjectRef or {hint}, not {type(refs).__name__}{_hint_for(refs)}")


def _check_refs(function: str, refs: Sequence[Any], kinds: set[type]) -> None:
    if all(issubclass(kind, ObjectRef) for kind in kinds):
        return
    for index, ref in enumerate(refs):
        if not isinstance(ref, ObjectRef):
            raise TypeError(
                f"{function}() takes ObjectRefs; number {index} of the list is {type(ref).__name__} ({ref!r}){_hint_for(ref)}"
            )


def _hint_for(value: Any) -> str:
    if isinstance(value, list | tuple) and value and all(isinstance(one, ObjectRef) for one in value):
        return "; that is a list of refs inside the list: get each of them by itself"
    if isinstance(value, ActorHandle):
        return "; an actor is asked by calling a method: handle.method.remote()"
    if isinstance(value, RemoteFunction):
        return f"; write {value.__name__}.remote(…) for a ref of its result"
    if isinstance(value, ObjectRefGenerator):
        return "; iterate over a generator for its refs"
    return ""


def _check_timeout(function: str, timeout: Any) -> None:
    if isinstance(timeout, bool) or not hasattr(timeout, "__float__"):
        raise TypeError(f"{function}(): timeout={timeout!r} must be a number of seconds or None")
    if not timeout >= 0:
        raise ValueError(f"{function}(): timeout={timeout!r} must not be negative; None waits as long as it takes")


def put(value: T, *, _owner: ActorHandle[Any] | None = None, _tensor_transport: str | None = None) -> ObjectRef[T]:
    """Put a value into the object store, as it is now.

    Args:
        _owner: An actor that keeps the value alive instead of this process.

    Raises:
        TypeError: The value is a ref already, or can't be pickled.
        ObjectStoreFullError, OutOfDiskError: There is no room and none can be made.
    """
    if isinstance(value, ObjectRef):
        raise TypeError(
            "put() takes a value, and this is an ObjectRef already: use it as it is, or put a list that holds it, [ref]"
        )
    if isinstance(value, ObjectRefGenerator):
        raise TypeError("put() takes a value; an ObjectRefGenerator can't be stored: put the list of its refs")
    if _owner is None:
        return current.active().put(value)
    if not isinstance(_owner, ActorHandle):
        raise TypeError(f"put(): _owner must be an actor's handle, not {type(_owner).__name__}")
    return current.active().put(value, _owner._skate.actor_id)


_WAIT_FEW = 64


def wait(
    refs: Sequence[Any], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Any], list[Any]]:
    """Wait until some of the refs have their values.

    Args:
        refs: A list without repetitions. An `ObjectRefGenerator` among them is ready when its next item, or its end, is there.
        num_returns: For how many to wait.
        timeout: Seconds; None waits as long as it takes, 0 looks only.
        fetch_local: False: ready means that the value exists somewhere.

    Returns:
        (ready, not ready), both in the order of `refs`; at most `num_returns` are ready. A ref whose task failed is ready.
    """
    if refs.__class__ is not list and not isinstance(refs, list | tuple):
        if isinstance(refs, ObjectRef | ObjectRefGenerator):
            raise TypeError(f"wait() takes a list of refs, not a single {type(refs).__name__}: write skate.wait([ref])")
        raise TypeError(f"wait() takes a list of refs, not {type(refs).__name__}")
    if timeout is not None and (timeout.__class__ not in _NUMBERS or not timeout >= 0):
        _check_timeout("wait", timeout)
    if isinstance(num_returns, bool) or not isinstance(num_returns, int):
        raise TypeError(f"wait(): num_returns={num_returns!r} must be an int")
    if num_returns > 0 and len(refs) > _WAIT_FEW and refs.__class__ is list:
        # What is ready is looked for first: the checks below look at every ref, and a loop that waits for one after another would pay for
        # them a thousand times (5 µs a turn instead of 290 at 1,000 refs, when the first is ready). A mistake in the list is found as soon as there is to wait.
        split = current.of_refs().split_ready(refs, num_returns)
        if split is not None:
            return split
    kinds = set(map(type, refs))
    if ObjectRefGenerator in kinds:
        return _wait_mixed(refs, num_returns, timeout, kinds)
    if kinds != _JUST_REFS:
        _check_refs("wait", refs, kinds)
    if num_returns <= 0:
        raise ValueError(f"wait(): num_returns={num_returns} must be at least 1")
    if not refs:
        return [], []
    if num_returns > len(refs):
        raise ValueError(f"wait(): num_returns={num_returns} is more than the {len(refs)} refs given")
    if len({ref._id for ref in refs}) != len(refs):
        raise ValueError(f"wait() needs unique refs: {_first_repeated(refs)!r} is in the list more than once")
    return current.of_refs().wait(refs, num_returns, timeout, fetch_local=fetch_local)


def _first_repeated(refs: Sequence[Any]) -> Any:
    seen = set()
    for ref in refs:
        if ref in seen:
            return ref
        seen.add(ref)
    raise AssertionError("nothing is repeated")


def _wait_mixed(refs: Sequence[Any], num_returns: int, timeout: float | None, kinds: set[type]) -> tuple[list[Any], list[Any]]:
    """`wait` when some of the refs are generators."""
    _check_refs("wait", [ref for ref in refs if type(ref) is not ObjectRefGenerator], kinds - {ObjectRefGenerator})
    if not 1 <= num_returns <= len(refs):
        raise ValueError(f"wait(): num_returns={num_returns} must be from 1 to the {len(refs)} refs given")
    if len(set(refs)) != len(refs):
        raise ValueError(f"wait() needs unique refs: {_first_repeated(refs)!r} is in the list more than once")
    import threading

    arrived = threading.Semaphore(0)
    ready: set[int] = set()

    def mark(index: int) -> Callable[..., None]:
        def call(*_result: Any) -> None:
            ready.add(index)
            arrived.release()

        return call

    for index, ref in enumerate(refs):
        if isinstance(ref, ObjectRefGenerator):
            ref._stream.add_next_callback(mark(index))
        else:
            ref._host.add_done_callback(ref, mark(index))
    import time

    deadline_s = None if timeout is None else time.monotonic() + timeout
    backend = current.of_refs()
    with _blocked(backend):
        for _ in range(num_returns):
            if not arrived.acquire(timeout=None if deadline_s is None else max(0.0, deadline_s - time.monotonic())):
                break
    chosen = {index for index in range(len(refs)) if index in ready}
    first = sorted(chosen)[:num_returns]
    taken = set(first)
    return [refs[index] for index in first], [ref for index, ref in enumerate(refs) if index not in taken]


def _blocked(backend: Any) -> Any:
    """While it is open, this worker's CPUs may go to others."""
    from contextlib import nullcontext

    blocked = getattr(backend, "blocked", None)
    return blocked() if blocked is not None else nullcontext()


def cancel(ref: ObjectRef[Any] | ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True) -> None:
    """Stop a task, or a call of an actor. Its ref then raises TaskCancelledError, unless it had finished.

    One that waits never runs. A task that runs gets a KeyboardInterrupt; an async actor's call gets asyncio.CancelledError; a call of
    another actor sees `get_runtime_context().is_canceled()`.

    Args:
        ref: The call's ref, or its generator.
        force: Kill the worker that runs it. Not for actors' calls.
        recursive: Also what the task has started.
    """
    target: Any = ref.completed() if isinstance(ref, ObjectRefGenerator) else ref
    if not isinstance(target, ObjectRef):
        hint = "; an actor is ended by skate.kill(actor)" if isinstance(target, ActorHandle) else ""
        raise TypeError(f"cancel() takes an ObjectRef or an ObjectRefGenerator, not {type(target).__name__}{hint}")
    current.of_refs().cancel(target, force=force, recursive=recursive)


def free(refs: ObjectRef[Any] | Sequence[ObjectRef[Any]]) -> None:
    """Drop values although there are references; whoever wants them later gets ObjectFreedError."""
    refs = [refs] if isinstance(refs, ObjectRef) else refs
    _check_refs("free", refs, set(map(type, refs)))
    current.active().free(refs)


# ---------------------------------------------------------------- resources


def cluster_resources() -> dict[str, float]:
    """Everything there is to share out, name → amount."""
    return current.active().cluster_resources()


def available_resources() -> dict[str, float]:
    """What is free now, name → amount."""
    return current.active().available_resources()


def nodes() -> list[dict[str, Any]]:
    """The machines, each with "NodeID", "Alive", "Resources", "Labels", …: one, unless this is a cluster."""
    return current.active().nodes()


def get_gpu_ids() -> list[int] | list[str]:
    """The GPUs this process may use; numbers, or strings where CUDA_VISIBLE_DEVICES has names."""
    ids = current.active().runtime_context().get("accelerator_ids", {}).get("GPU", [])
    return [int(one) for one in ids] if all(str(one).isdigit() for one in ids) else list(ids)
