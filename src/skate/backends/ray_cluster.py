"""The ray backend: an existing Ray cluster, seen through the seam of `base.Backend`. A thin adapter: membership, placement, transfer, retries are Ray's.

ray_cluster_connect  joins the cluster      ray_cluster_refs    Skate's refs and handles with Ray's inside
ray_cluster_calls    runs in the workers    ray_cluster_errors  Ray's errors as Skate's
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from skate.backends import current
from skate.backends.base import DYNAMIC, STREAMING, ActorClassSpec, InitOptions, MethodSpec, Placement, TaskSpec
from skate.backends.ray_cluster_calls import AsyncHost, PlainHost, host, make_task
from skate.backends.ray_cluster_connect import connect
from skate.backends.ray_cluster_errors import RetriedCallFailedError, translate
from skate.backends.ray_cluster_refs import RayRef, rebuild_handle, unwrap
from skate.exceptions import ActorDiedError, GetTimeoutError, RaySystemError
from skate.object_ref import ObjectRef

_KV_NAMESPACE = b"skate"
_ASYNC_CALLS_MAX = 1000


class RayBackend:
    """Implements `base.Backend`."""

    name = "ray"
    is_worker = False  # Ray itself captures children into placement groups.

    def __init__(self, ray: Any, *, is_driver: bool) -> None:
        self._ray = ray
        self._is_driver = is_driver
        self._lock = threading.Lock()
        self._handles: dict[bytes, tuple[Any, int]] = {}  # actor id → Ray's handle, and how many of ours there are
        self._dropped: deque[bytes] = deque()
        self.drop_actor: Callable[[bytes], None] = self._drop_actor

    @classmethod
    def start(cls, options: InitOptions, address: str) -> RayBackend:
        """A driver."""
        return cls(connect(options, address), is_driver=True)

    @classmethod
    def in_worker(cls) -> RayBackend:
        import ray

        backend = cls(ray, is_driver=False)
        current.attach(backend)
        return backend

    # ------------------------------------------------------------ tasks

    def prepare_task(self, spec: TaskSpec) -> Any:
        options = self._placed(spec.placement)
        options.update(name=spec.name, max_retries=spec.max_retries, num_returns=_returns(spec.num_returns))
        if spec.max_calls:
            options["max_calls"] = spec.max_calls
        if spec.retry_exceptions:
            options["retry_exceptions"] = [RetriedCallFailedError]
        if spec.num_returns == STREAMING and spec.backpressure > 0:
            options["_generator_backpressure_num_objects"] = spec.backpressure
        call = make_task(spec.function, spec.name, spec.retry_exceptions, spec.num_returns)
        call.__name__ = call.__qualname__ = getattr(spec.function, "__name__", spec.name)
        return self._ray.remote(**options)(call), spec.num_returns

    def submit_task(self, token: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        function, num_returns = token
        return _answer(function.remote(*_given(args), **_named(kwargs)), num_returns)

    def _placed(self, place: Placement) -> dict[str, Any]:
        """Ray's options for a placement."""
        from ray.util import scheduling_strategies as theirs

        resources = dict(place.resources)
        options: dict[str, Any] = {"num_cpus": resources.pop("CPU", 0), "num_gpus": resources.pop("GPU", 0)}
        if memory := resources.pop("memory", 0):
            options["memory"] = memory
        if resources:
            options["resources"] = resources
        if place.placement_group:
            options["scheduling_strategy"] = theirs.PlacementGroupSchedulingStrategy(
                self._group(place.placement_group), place.bundle, place.capture_child_tasks
            )
        elif place.node:
            options["scheduling_strategy"] = theirs.NodeAffinitySchedulingStrategy(place.node.hex(), place.soft)
        elif place.strategy != "DEFAULT":
            options["scheduling_strategy"] = place.strategy
        if place.labels:
            options["label_selector"] = dict(place.labels)
        if place.runtime_env:
            options["runtime_env"] = dict(place.runtime_env)
        return options

    # ------------------------------------------------------------ actors

    def create_actor(self, spec: ActorClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        from skate.exceptions import ActorAlreadyExistsError

        self._collect()
        running = dict(spec.running_resources)
        options = self._placed(spec.placement._replace(resources=running))
        if not running.keys() - {"memory"}:
            options.pop("num_cpus")  # Ray's own rule: a CPU to be placed, none while it lives.
            options.pop("num_gpus")
        options.update(max_restarts=spec.max_restarts, max_task_retries=spec.max_task_retries)
        if spec.name:
            options.update(name=spec.name, get_if_exists=spec.get_if_exists)
        if spec.namespace:
            options["namespace"] = spec.namespace
        if spec.detached:
            options["lifetime"] = "detached"
        if spec.max_concurrency or spec.is_async:
            options["max_concurrency"] = spec.max_concurrency or _ASYNC_CALLS_MAX
        if spec.concurrency_groups:
            options["concurrency_groups"] = dict(spec.concurrency_groups)
        if spec.max_pending_calls > 0:
            options["max_pending_calls"] = spec.max_pending_calls
        base = AsyncHost if spec.is_async else PlainHost
        try:
            maker = self._ray.remote(type(spec.class_name, (base,), {"__module__": "__main__"})).options(**options)
            handle = maker.remote(spec.cls, spec.class_name, spec.handle_meta, *_given(args), **_named(kwargs))
        except ValueError as error:
            if spec.name and "already" in str(error):
                raise ActorAlreadyExistsError(
                    f"the name {spec.name!r} is taken: choose another name, get that actor with skate.get_actor(name), or pass get_if_exists=True"
                ) from error
            raise
        meta = spec.handle_meta
        if spec.name:
            key = b"actor:" + handle._actor_id.binary()
            if not self.kv_put(key, meta, overwrite=False):
                meta = self.kv_get(key) or meta
        return self.adopt(handle), meta

    def adopt(self, handle: Any) -> bytes:
        """One more handle of ours for an actor."""
        actor_id: bytes = handle._actor_id.binary()
        with self._lock:
            known, count = self._handles.get(actor_id, (handle, 0))
            self._handles[actor_id] = (known, count + 1)
        return actor_id

    def retain_actor(self, actor_id: bytes) -> None:
        if actor_id not in self._handles:
            self.adopt(self._ray.get_runtime_context().current_actor)
            return
        self.adopt(self._handles[actor_id][0])

    def _drop_actor(self, actor_id: bytes) -> None:
        """From `__del__`: never waits for a lock. What can't be counted now is counted by the next call."""
        self._dropped.append(actor_id)
        self._collect()

    def _collect(self) -> None:
        if not self._dropped or not self._lock.acquire(blocking=False):
            return
        gone = []  # Let go after the lock: Ray's handles run code when they go.
        try:
            while self._dropped:
                actor_id = self._dropped.popleft()
                handle, count = self._handles.get(actor_id, (None, 0))
                if count > 1:
                    self._handles[actor_id] = (handle, count - 1)
                elif count:
                    gone.append(self._handles.pop(actor_id))
        finally:
            self._lock.release()

    def _handle(self, actor_id: bytes) -> Any:
        known = self._handles.get(actor_id)
        if known is None:
            raise ActorDiedError(f"actor {actor_id.hex()} is not known: it belongs to another session")
        return known[0]

    def prepare_method(self, actor_id: bytes, spec: MethodSpec) -> Any:
        handle = self._handle(actor_id)
        options: dict[str, Any] = {"num_returns": _returns(spec.num_returns)}
        if spec.call_name:
            options["name"] = spec.call_name
        if spec.max_task_retries is not None:
            options["max_task_retries"] = spec.max_task_retries
        if spec.retry_exceptions:
            options["retry_exceptions"] = [RetriedCallFailedError]
        if spec.concurrency_group:
            options["concurrency_group"] = spec.concurrency_group
        method = (handle.stream if spec.num_returns == STREAMING else handle.run).options(**options)
        return method, spec.name, spec.retry_exceptions, spec.num_returns

    def call_actor(self, token: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        method, name, retried, num_returns = token
        try:
            made = method.remote(name, retried, *_given(args), **_named(kwargs))
        except self._ray.exceptions.RayError as error:
            raise translate(error) from None
        return _answer(made, num_returns)

    def kill_actor(self, actor_id: bytes, *, no_restart: bool) -> None:
        self._ray.kill(self._handle(actor_id), no_restart=no_restart)

    def terminate_actor(self, actor_id: bytes) -> Any:
        return RayRef(self._handle(actor_id).__ray_terminate__.remote())

    def get_named_actor(self, name: str, namespace: str) -> tuple[bytes, bytes]:
        try:
            handle = self._ray.get_actor(name, namespace or None)
        except ValueError:
            where = namespace or self._ray.get_runtime_context().namespace
            raise ValueError(f"there is no actor named {name!r} in namespace {where!r}") from None
        meta = self.kv_get(b"actor:" + handle._actor_id.binary())
        if meta is None:
            raise ValueError(f"the actor named {name!r} was not made by skate: get it with ray.get_actor")
        return self.adopt(handle), meta

    def list_named_actors(self, *, all_namespaces: bool) -> list[tuple[str, str]]:
        rows = self._ray.util.list_named_actors(all_namespaces=all_namespaces)
        if all_namespaces:
            return sorted((row["namespace"], row["name"]) for row in rows)
        return sorted((self._ray.get_runtime_context().namespace, name) for name in rows)

    def reduce_actor(self, actor_id: bytes, handle_meta: bytes) -> tuple[Any, ...]:
        return rebuild_handle, (self._handle(actor_id), handle_meta)

    def exit_actor(self) -> None:
        if host() is None:
            raise TypeError("exit_actor() was called outside of an actor: it ends the actor whose method calls it")
        self._ray.actor.exit_actor()

    # ------------------------------------------------------------ objects

    def put(self, value: Any, owner: bytes = b"") -> ObjectRef[Any]:
        try:
            return RayRef(self._ray.put(value, _owner=self._handle(owner)) if owner else self._ray.put(value))
        except self._ray.exceptions.RayError as error:
            raise translate(error) from None

    def get(self, refs: Sequence[ObjectRef[Any]], timeout_s: float | None) -> list[Any]:
        self._collect()
        try:
            values: list[Any] = self._ray.get([unwrap(ref) for ref in refs], timeout=timeout_s)
        except self._ray.exceptions.GetTimeoutError:
            missing = ", ".join(repr(ref) for ref in refs[:3])
            raise GetTimeoutError(f"get: not all of {len(refs)} values were there within {timeout_s} s: {missing}") from None
        except self._ray.exceptions.RayError as error:
            raise translate(error) from None
        return values

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout_s: float | None, *, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        theirs = [unwrap(ref) for ref in refs]
        ready = set(self._ray.wait(theirs, num_returns=num_returns, timeout=timeout_s, fetch_local=fetch_local)[0])
        chosen = [one in ready for one in theirs]
        return (
            [ref for ref, is_ready in zip(refs, chosen, strict=True) if is_ready],
            [ref for ref, is_ready in zip(refs, chosen, strict=True) if not is_ready],
        )

    def split_ready(self, refs: list[ObjectRef[Any]], num_returns: int) -> None:
        return None

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None:
        self._ray.cancel(unwrap(ref), force=force, recursive=recursive)

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        import ray._private.internal_api as internal

        internal.free(  # type: ignore[attr-defined]
            [unwrap(ref) for ref in refs], local_only=False
        )

    # ------------------------------------------------------------ resources

    def cluster_resources(self) -> dict[str, float]:
        return dict(self._ray.cluster_resources())

    def available_resources(self) -> dict[str, float]:
        return dict(self._ray.available_resources())

    def nodes(self) -> list[dict[str, Any]]:
        return list(self._ray.nodes())

    def _group(self, group: bytes) -> Any:
        from ray import PlacementGroupID
        from ray.util.placement_group import PlacementGroup

        return PlacementGroup(PlacementGroupID(group))

    def create_placement_group(
        self, bundles: Sequence[Mapping[str, float]], strategy: str, name: str, *, detached: bool
    ) -> bytes:
        made = self._ray.util.placement_group(
            [dict(bundle) for bundle in bundles], strategy, name, "detached" if detached else None
        )
        group: bytes = made.id.binary()
        return group

    def remove_placement_group(self, group: bytes) -> None:
        self._ray.util.remove_placement_group(self._group(group))

    def get_placement_group(self, name: str) -> tuple[bytes, list[dict[str, float]], str]:
        found = self._ray.util.get_placement_group(name)
        return found.id.binary(), [dict(bundle) for bundle in found.bundle_specs], "PACK"

    def placement_group_ready(self, group: bytes) -> ObjectRef[Any]:
        return RayRef(self._group(group).ready())

    def wait_placement_group(self, group: bytes, timeout_s: float | None) -> bool:
        return bool(self._group(group).wait(timeout_s if timeout_s is not None else 1 << 30))

    # ------------------------------------------------------------ context, state, the rest

    def runtime_context(self) -> Mapping[str, Any]:
        context = self._ray.get_runtime_context()
        task, actor = (
            (None, None) if self._is_driver else (context.get_task_id(), context.get_actor_id())
        )  # Ray logs an error in drivers.
        group = None if self._is_driver else context.get_placement_group_id()
        found: dict[str, Any] = {
            "job_id": bytes.fromhex(context.get_job_id()), "node_id": bytes.fromhex(context.get_node_id()),
            "worker_id": bytes.fromhex(context.get_worker_id()), "task_id": bytes.fromhex(task) if task else None,
            "actor_id": bytes.fromhex(actor) if actor else None, "task_name": "" if self._is_driver else context.get_task_name() or "",
            "function_name": "" if self._is_driver else context.get_task_function_name() or "",
            "actor_name": (context.get_actor_name() or "") if actor else "", "namespace": context.namespace,
            "resources": {} if self._is_driver else dict(context.get_assigned_resources()), "accelerator_ids": dict(context.get_accelerator_ids()),
            "placement_group_id": bytes.fromhex(group) if group else None, "runtime_env": dict(context.runtime_env),
            "was_reconstructed": bool(actor) and context.was_current_actor_reconstructed, "attempt": 0,
            "session_name": context.get_session_name(), "worker_pid": os.getpid(), "mode": "driver" if self._is_driver else "worker",
            "gcs_address": context.gcs_address, "labels": dict(context.get_node_labels()),
            "capture_child_tasks": context.should_capture_child_tasks_in_placement_group,
        }  # fmt: skip
        here = host()
        if here is not None:
            found["handle_meta"] = here.handle_meta
        return found

    def is_canceled(self) -> bool:
        return bool(self._ray.get_runtime_context().is_canceled())

    def query(self, what: str, params: Mapping[str, Any]) -> Any:
        match what:
            case "resources":
                return {"total": self.cluster_resources(), "available": self.available_resources()}
            case "nodes":
                return [
                    {
                        "node_id": row["NodeID"],
                        "state": "ALIVE" if row["Alive"] else "DEAD",
                        "is_head_node": "node:__internal_head__" in row["Resources"],
                        "resources_total": row["Resources"],
                        "labels": row.get("Labels") or {},
                    }
                    for row in self.nodes()
                ]
            case "placement_groups":
                table = self._ray.util.placement_group_table()
                return [{**row, "bundles": list(row["bundles"].values())} for row in table.values()]
        return _not_yet(f"query({what!r})")

    def report_metrics(self, rows: list[Any]) -> None:
        """Not gathered on a Ray cluster yet: docs/how-to/run-on-ray.md says so."""

    def kv_put(self, key: bytes, value: bytes, *, overwrite: bool) -> bool:
        from ray.experimental import internal_kv

        existed = internal_kv._internal_kv_put(key, value, overwrite=overwrite, namespace=_KV_NAMESPACE)
        return overwrite or not existed

    def kv_get(self, key: bytes) -> bytes | None:
        from ray.experimental import internal_kv

        value: bytes | None = internal_kv._internal_kv_get(key, namespace=_KV_NAMESPACE)
        return value

    def kv_del(self, key: bytes) -> bool:
        from ray.experimental import internal_kv

        return bool(internal_kv._internal_kv_del(key, namespace=_KV_NAMESPACE))

    def kv_list(self, prefix: bytes) -> list[bytes]:
        from ray.experimental import internal_kv

        return sorted(internal_kv._internal_kv_list(prefix, namespace=_KV_NAMESPACE))

    def shutdown(self) -> None:
        """Of a driver. In a worker the session is not ours to end."""
        if self._is_driver:
            self._handles.clear()
            self._ray.shutdown()


class RayStream:
    """Implements `base.StreamHandle` by Ray's generator."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._ahead: RayRef | None = None
        self._has_ended = False
        self.task_id: bytes = generator.task_id().binary() if hasattr(generator, "task_id") else b""

    def next_ref(self, timeout_s: float | None) -> ObjectRef[Any] | None:
        if self._has_ended:
            return None
        if timeout_s is not None:
            import ray

            if not ray.wait([self._generator], timeout=timeout_s)[0]:
                raise GetTimeoutError(f"the generator did not yield its next item within {timeout_s} s")
        try:
            return RayRef(next(self._generator))
        except StopIteration:
            self._has_ended = True
            return None

    def add_next_callback(self, callback: Any) -> None:
        def wait() -> None:
            import ray

            ray.wait([self._generator])
            callback()

        threading.Thread(target=wait, name="skate-ray-stream", daemon=True).start()

    def is_finished(self) -> bool:
        return self._has_ended or bool(self._generator.is_finished())

    def completed_ref(self) -> ObjectRef[Any]:
        return RayRef(self._generator.completed())

    def close(self) -> None:
        self._has_ended = True
        self._generator = None


def _returns(num_returns: int) -> Any:
    return "streaming" if num_returns == STREAMING else 1 if num_returns == DYNAMIC else num_returns


def _answer(made: Any, num_returns: int) -> Any:
    if num_returns == STREAMING:
        return RayStream(made)
    if num_returns in (1, DYNAMIC):
        return RayRef(made)
    return [RayRef(one) for one in made] if num_returns else None


def _given(args: tuple[Any, ...]) -> Any:
    """Refs that are arguments themselves become Ray's, so that Ray waits for them and gives their values."""
    for value in args:
        if value.__class__ is RayRef:
            return [one.ray if one.__class__ is RayRef else one for one in args]
    return args


def _named(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.ray if value.__class__ is RayRef else value for name, value in kwargs.items()} if kwargs else kwargs


def _not_yet(what: str) -> NoReturn:
    raise RaySystemError(f"{what} is not there on a Ray cluster yet; Ray's own `ray list` and `ray status` tell it")
