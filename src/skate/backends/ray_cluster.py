"""The Ray backend: an existing Ray cluster, seen through the seam of `base.Backend`. Drivers and the cluster's workers use the same class.

Ray places, moves, retries and restarts; here names and meanings are translated: options to Ray's, Ray's refs and handles to Skate's
(`ray_objects`), errors (`ray_errors`), generators (`ray_streams`). Calls of short functions travel together (`ray_batches`).
`docs/how-to/run-on-ray.md` says what is different there.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from skate.backends import ray_worker
from skate.backends.base import DYNAMIC, STREAMING, ActorClassSpec, InitOptions, MethodSpec, Placement, TaskSpec
from skate.backends.ray_batches import Batcher, Chunk, HandedBack, Sender, may_batch, may_gather
from skate.backends.ray_errors import translated
from skate.backends.ray_objects import Entry, Objects
from skate.backends.ray_streams import RayStream
from skate.exceptions import ActorAlreadyExistsError, ActorHandleNotFoundError, GetTimeoutError, TaskCancelledError
from skate.object_ref import ObjectRef

_KV = b"skate"
_HANDLES = b"handle:"
_BATCHING_OFF = "SKATE_RAY_BATCHING"
_SLICE_S = 0.1  # How long to wait for a chunk before looking whether its elements have moved to another.


class TaskToken:
    """A remote function, ready to be submitted."""

    __slots__ = ("batcher", "body", "body_ref", "function", "spec")

    def __init__(self, spec: TaskSpec, body: Any, function: Any) -> None:
        self.spec = spec
        self.body = body  # The user's function as workers run it.
        self.function = function  # Ray's, with its options.
        self.body_ref: Any = None  # Ray's, once an element of a chunk may have to run elsewhere.
        self.batcher: Batcher | None = None


class MethodToken:
    __slots__ = ("actor_id", "method", "spec")

    def __init__(self, actor_id: bytes, spec: MethodSpec, method: Any) -> None:
        self.actor_id = actor_id
        self.spec = spec
        self.method = method


class RayBackend:
    """Implements `base.Backend` by Ray."""

    name = "ray"

    def __init__(self, *, is_worker: bool, env: Mapping[str, Any], batches: bool = True) -> None:
        import ray

        self._ray: Any = ray
        self.is_worker = is_worker
        self._env = dict(env)
        self.objects = Objects()
        self.drop_actor: Callable[[bytes], None] = self.objects.drop_actor
        self._prefix = os.urandom(16)
        self._numbers = count(1)
        self._batches = batches and not is_worker and os.environ.get(_BATCHING_OFF) != "0"
        self._sender = Sender(
            self.objects, self._new_id, self._num_cpus, HandedBack(b"chunk:" + self._prefix, self.kv_list, self._kv_take)
        )
        self._groups: dict[bytes, Any] = {}
        self._cpus = (0.0, -1e9)  # (all CPUs, when asked)

    @classmethod
    def start(cls, options: InitOptions) -> RayBackend:
        """A driver's. Raises ConnectionError and its like: see `ray_connect.connect`."""
        from skate.backends.ray_connect import connect
        from skate.backends.serializers import use_on_ray

        env = connect(options)
        use_on_ray()
        return cls(is_worker=False, env=env, batches=bool(options.extra.get("_batch_short_tasks", True)))

    def _new_id(self) -> bytes:
        return self._prefix + next(self._numbers).to_bytes(12, "big")

    def _num_cpus(self) -> float:
        cpus, asked_s = self._cpus
        now = time.monotonic()
        if now - asked_s > 5:  # Nodes come and go.
            cpus = float(self._ray.cluster_resources().get("CPU", 1.0))
            self._cpus = (cpus, now)
        return cpus

    def _kv_take(self, key: bytes) -> bytes | None:
        value = self.kv_get(key)
        if value is not None:
            self.kv_del(key)
        return value

    def captured_group(self) -> bytes:
        return b""  # Ray does it itself.

    # ------------------------------------------------------------ tasks

    def prepare_task(self, spec: TaskSpec) -> TaskToken:
        body = ray_worker.hosted_function(spec.function, spec.name, is_streaming=spec.num_returns in (STREAMING, DYNAMIC))
        options = self._placed(spec.placement)
        options["name"] = spec.name
        options["num_returns"] = _returns(spec.num_returns)
        options["max_retries"] = spec.max_retries
        if spec.max_calls:
            options["max_calls"] = spec.max_calls
        if spec.retry_exceptions:
            options["retry_exceptions"] = _retried(spec.retry_exceptions)
        if spec.backpressure > 0:
            options["_generator_backpressure_num_objects"] = spec.backpressure
        if not spec.is_recorded:
            options["enable_task_events"] = False
        with warnings.catch_warnings():  # "dynamic" is on its way out of Ray; ours is what Ray's programs write.
            warnings.simplefilter("ignore")
            token = TaskToken(spec, body, self._ray.remote(**options)(body))
        if self._batches and may_batch(spec):
            token.batcher = Batcher(token, self._sender)
        return token

    def submit_task(self, token: TaskToken, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        batcher = token.batcher
        if batcher is not None and may_gather(args, kwargs):
            return batcher.submit(args, kwargs)
        args, kwargs = self._given(args, kwargs)
        with translated():
            answer = token.function.remote(*args, **kwargs)
        return self._taken(token.spec.num_returns, answer)

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """With Ray's refs at the top level, where Ray resolves them."""
        their_ref = self.objects.their_ref
        args = tuple([their_ref(value) if type(value) is ObjectRef else value for value in args])
        kwargs = {name: their_ref(value) if type(value) is ObjectRef else value for name, value in kwargs.items()}
        return args, kwargs

    def _taken(self, num_returns: int, answer: Any) -> Any:
        adopt = self.objects.adopt
        if num_returns == 1:
            return adopt(answer)
        if num_returns == STREAMING:
            return RayStream(self.objects, answer)
        if num_returns == DYNAMIC:
            return adopt(answer, self._dynamic)
        if num_returns == 0:
            return None
        return [adopt(one) for one in answer]

    def _dynamic(self, generator: Any) -> Any:
        import importlib

        made = importlib.import_module("skate.generator").DynamicObjectRefGenerator
        return made([self.objects.adopt(one) for one in generator])

    def _placed(self, place: Placement) -> dict[str, Any]:
        """Ray's options for where something runs."""
        amounts = dict(place.resources)
        options: dict[str, Any] = {"num_cpus": amounts.pop("CPU", 0)}
        for resource, option in (("GPU", "num_gpus"), ("memory", "memory")):
            if resource in amounts:
                options[option] = amounts.pop(resource)
        if amounts:
            options["resources"] = amounts
        if place.runtime_env:
            options["runtime_env"] = dict(place.runtime_env)
        if place.labels:
            options["label_selector"] = dict(place.labels)
        if place.placement_group:
            options["scheduling_strategy"] = self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
                self._group(place.placement_group), place.bundle, place.capture_child_tasks
            )
        elif place.node:
            options["scheduling_strategy"] = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                place.node.hex(), soft=place.soft
            )
        elif place.strategy != "DEFAULT":
            options["scheduling_strategy"] = place.strategy
        return options

    # ------------------------------------------------------------ actors

    def retain_actor(self, actor_id: bytes) -> None:
        counted = self.objects.actors.get(actor_id)
        if counted is None:
            context = self._ray.get_runtime_context()
            if self.is_worker and context.get_actor_id() == actor_id.hex():
                with warnings.catch_warnings():  # Ray asks itself in a way that it warns of.
                    warnings.simplefilter("ignore")
                    self.objects.adopt_actor(context.current_actor)
                return
            raise ActorHandleNotFoundError(f"actor {actor_id.hex()} is not known in this session")
        with self.objects.lock:
            counted[1] += 1

    def create_actor(self, spec: ActorClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        self._sender.flush()
        options = self._placed(spec.placement)
        if "CPU" not in spec.running_resources:
            del options["num_cpus"]  # Ray's own rule: a CPU to be placed, none while it lives.
        options.update(max_restarts=spec.max_restarts, max_task_retries=spec.max_task_retries)
        if spec.max_concurrency is not None:
            options["max_concurrency"] = spec.max_concurrency
        if spec.max_pending_calls >= 0:
            options["max_pending_calls"] = spec.max_pending_calls
        if spec.name:
            options.update(name=spec.name, namespace=spec.namespace or None, get_if_exists=spec.get_if_exists)
        if spec.detached:
            options["lifetime"] = "detached"
        if spec.concurrency_groups:
            options["concurrency_groups"] = dict(spec.concurrency_groups)
        hosted = ray_worker.hosted_class(spec.cls, spec.handle_meta)
        args, kwargs = self._given(args, kwargs)
        try:
            with translated():
                handle = self._ray.remote(**options)(hosted).remote(*args, **kwargs)
        except ValueError as error:
            if "already" in str(error) or "taken" in str(error):
                raise ActorAlreadyExistsError(
                    f"the name {spec.name!r} is taken: choose another name, get that actor with skate.get_actor(name), or pass get_if_exists=True"
                ) from error
            raise
        actor_id = self.objects.adopt_actor(handle)
        meta = spec.handle_meta
        if spec.name:
            if spec.get_if_exists:
                meta = self.kv_get(_HANDLES + actor_id) or meta
            self.kv_put(_HANDLES + actor_id, meta, overwrite=False)
        return actor_id, meta

    def _handle(self, actor_id: bytes) -> Any:
        counted = self.objects.actors.get(actor_id)
        if counted is None:
            raise ActorHandleNotFoundError(
                f"actor {actor_id.hex()} is not known in this session: its handle belongs to one that has ended; get a new one with skate.get_actor"
            )
        return counted[0]

    def prepare_method(self, actor_id: bytes, spec: MethodSpec) -> MethodToken:
        options: dict[str, Any] = {"num_returns": _returns(spec.num_returns)}
        if spec.concurrency_group:
            options["concurrency_group"] = spec.concurrency_group
        if spec.max_task_retries is not None:
            options["max_task_retries"] = spec.max_task_retries
        if spec.retry_exceptions:
            options["retry_exceptions"] = _retried(spec.retry_exceptions)
        if spec.call_name:
            options["name"] = spec.call_name
        if spec.backpressure > 0:
            options["_generator_backpressure_num_objects"] = spec.backpressure
        if not spec.is_recorded:
            options["enable_task_events"] = False
        method = getattr(self._handle(actor_id), spec.name)
        return MethodToken(actor_id, spec, method if options == {"num_returns": 1} else method.options(**options))

    def call_actor(self, token: MethodToken, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = self._given(args, kwargs)
        with translated():
            answer = token.method.remote(*args, **kwargs)
        return self._taken(token.spec.num_returns, answer)

    def kill_actor(self, actor_id: bytes, *, no_restart: bool) -> None:
        with translated():
            self._ray.kill(self._handle(actor_id), no_restart=no_restart)

    def terminate_actor(self, actor_id: bytes) -> ObjectRef[Any]:
        """Ray answers with the error that the actor is dead: that is what was asked for."""
        ref: ObjectRef[Any] = self.objects.adopt(self._handle(actor_id).__ray_terminate__.remote())
        self.objects.find(ref).site = "ending"
        return ref

    def get_named_actor(self, name: str, namespace: str) -> tuple[bytes, bytes]:
        with translated():
            try:
                handle = self._ray.get_actor(name, namespace or None)
            except ValueError:
                raise ValueError(
                    f"there is no actor named {name!r} in namespace {namespace or self._namespace()!r}: "
                    "it may have ended, or have been made in another namespace"
                ) from None
        actor_id: bytes = handle._actor_id.binary()
        meta = self.kv_get(_HANDLES + actor_id)
        if meta is None:
            raise ValueError(f"the actor named {name!r} was not made by a Skate program: use ray.get_actor for it")
        self.objects.adopt_actor(handle)
        return actor_id, meta

    def list_named_actors(self, *, all_namespaces: bool) -> list[tuple[str, str]]:
        rows = self._ray.util.list_named_actors(all_namespaces=all_namespaces)
        if not all_namespaces:
            return sorted((self._namespace(), name) for name in rows)
        return sorted((row["namespace"], row["name"]) for row in rows)

    def _namespace(self) -> str:
        return str(self._ray.get_runtime_context().namespace)

    def reduce_actor(self, actor_id: bytes, handle_meta: bytes) -> tuple[Any, ...]:
        return ray_worker.rebuild_handle, (self._handle(actor_id), handle_meta)

    def exit_actor(self) -> None:
        if not self.is_worker or self._ray.get_runtime_context().get_actor_id() is None:
            raise TypeError("exit_actor() was called outside of an actor: it ends the actor whose method calls it")
        self._ray.actor.exit_actor()

    # ------------------------------------------------------------ objects

    def put(self, value: Any, owner: bytes = b"") -> ObjectRef[Any]:
        with translated():
            their_ref = self._ray.put(value, _owner=self._handle(owner)) if owner else self._ray.put(value)
        return self.objects.adopt(their_ref)

    def get(self, refs: Sequence[ObjectRef[Any]], timeout_s: float | None) -> list[Any]:
        find = self.objects.find
        entries = [find(ref) for ref in refs]
        self._sender.flush()
        if all(entry.chunk is None and entry.site == "" for entry in entries):
            with translated():
                values = self._ray.get([entry.their_ref for entry in entries], timeout=timeout_s)
            return [
                value if entry.convert is None else entry.convert(value) for entry, value in zip(entries, values, strict=True)
            ]
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with translated():
            return [self._value(entry, deadline_s) for entry in entries]

    def _value(self, entry: Entry, deadline_s: float | None) -> Any:
        while True:
            index = entry.index  # Before the chunk: what was moved to another chunk has that one's place last.
            chunk = entry.chunk
            if chunk is None:
                break
            if index < len(chunk.outcomes):
                return chunk.value(index)
            if entry.cancelled:
                raise TaskCancelledError
            left_s = _SLICE_S if deadline_s is None else deadline_s - time.monotonic()
            if not self._sender.wait(chunk, min(left_s, _SLICE_S)) and left_s <= 0:
                raise GetTimeoutError(
                    "the value was not there in time: it may be on its way; get(timeout=…) sets how long to wait"
                )
        timeout_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        try:
            value = self._ray.get(entry.their_ref, timeout=timeout_s)
        except self._ray.exceptions.RayActorError:
            if entry.site == "ending":
                return None
            raise
        return value if entry.convert is None else entry.convert(value)

    def split_ready(self, refs: list[ObjectRef[Any]], num_returns: int) -> None:
        return None

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout_s: float | None, *, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        self._sender.flush()
        entries = [self.objects.find(ref) for ref in refs]
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        ready: set[Any] = set()
        step_s: float | None = 0.0  # What is there already, first.
        with translated():
            while True:
                pending, has_chunks = self._not_ready(entries, ready)
                done = len(entries) - sum(pending.values())
                left_s = None if deadline_s is None else deadline_s - time.monotonic()
                if done >= num_returns or (step_s != 0.0 and left_s is not None and left_s <= 0):
                    break
                if step_s is None or step_s > 0:
                    step_s = left_s if not has_chunks else min(_SLICE_S, _SLICE_S if left_s is None else left_s)
                their_refs = [one for one in pending if type(one) is not Chunk]
                if not their_refs:
                    self._sender.wait_until_sent(step_s or 0.0)
                elif step_s == 0.0:
                    ready.update(self._ray.wait(their_refs, num_returns=len(their_refs), timeout=0, fetch_local=fetch_local)[0])
                else:
                    wanted = 1 if num_returns < len(refs) else len(their_refs)
                    ready.update(self._ray.wait(their_refs, num_returns=wanted, timeout=step_s, fetch_local=fetch_local)[0])
                step_s = None
        done_refs: list[ObjectRef[Any]] = []
        rest: list[ObjectRef[Any]] = []
        for ref, entry in zip(refs, entries, strict=True):
            (done_refs if len(done_refs) < num_returns and self._is_ready(entry, ready) else rest).append(ref)
        return done_refs, rest

    def _not_ready(self, entries: list[Entry], ready: set[Any]) -> tuple[dict[Any, int], bool]:
        """({what to wait for: how many of the entries it stands for}, whether chunks are among them). An unsent chunk stands for itself."""
        pending: dict[Any, int] = {}
        has_chunks = False
        for entry in entries:
            if not self._is_ready(entry, ready):
                chunk = entry.chunk
                has_chunks |= chunk is not None
                what = entry.their_ref if chunk is None else chunk if chunk.their_ref is None else chunk.their_ref
                pending[what] = pending.get(what, 0) + 1
        return pending, has_chunks

    def _is_ready(self, entry: Entry, ready: set[Any]) -> bool:
        index, chunk = entry.index, entry.chunk
        if chunk is not None and chunk.their_ref in ready and chunk.entries:
            try:
                chunk.settle()
            except Exception:
                return True  # An error is an answer.
            index, chunk = entry.index, entry.chunk
        if chunk is None:
            return entry.their_ref in ready
        return entry.cancelled or index < len(chunk.outcomes)

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None:
        entry = self.objects.find(ref)
        if entry.chunk is not None:
            self._sender.cancel(entry, force=force)
            return
        try:
            with translated():
                self._ray.cancel(entry.stream or entry.their_ref, force=force, recursive=recursive)
        except TypeError:  # A value that was put, or an actor call that has ended: nothing to cancel.
            pass

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        self._ray.internal.free([self.objects.their_ref(ref) for ref in refs])

    # ------------------------------------------------------------ resources

    def cluster_resources(self) -> dict[str, float]:
        return dict(self._ray.cluster_resources())

    def available_resources(self) -> dict[str, float]:
        return dict(self._ray.available_resources())

    def nodes(self) -> list[dict[str, Any]]:
        return list(self._ray.nodes())

    def create_placement_group(
        self, bundles: Sequence[Mapping[str, float]], strategy: str, name: str, *, detached: bool
    ) -> bytes:
        group = self._ray.util.placement_group(
            [dict(bundle) for bundle in bundles], strategy=strategy, name=name, lifetime="detached" if detached else None
        )
        group_id: bytes = group.id.binary()
        self._groups[group_id] = group
        return group_id

    def _group(self, group_id: bytes) -> Any:
        group = self._groups.get(group_id)
        if group is None:
            from ray.util.placement_group import PlacementGroup

            group = PlacementGroup(self._ray.PlacementGroupID(group_id))
        return group

    def remove_placement_group(self, group: bytes) -> None:
        self._ray.util.remove_placement_group(self._group(group))

    def get_placement_group(self, name: str) -> tuple[bytes, list[dict[str, float]], str]:
        with translated():
            try:
                group = self._ray.util.get_placement_group(name)
            except ValueError:
                raise ValueError(f"there is no placement group named {name!r} in namespace {self._namespace()!r}") from None
        group_id: bytes = group.id.binary()
        self._groups[group_id] = group
        strategy = str(self._ray.util.placement_group_table(group).get("strategy", "PACK"))
        return group_id, [dict(bundle) for bundle in group.bundle_specs], strategy

    def placement_group_ready(self, group: bytes) -> ObjectRef[Any]:
        return self.objects.adopt(self._group(group).ready(), lambda _: group)

    def wait_placement_group(self, group: bytes, timeout_s: float | None) -> bool:
        return bool(self._group(group).wait(timeout_seconds=3e7 if timeout_s is None else timeout_s))

    # ------------------------------------------------------------ context, state, the rest

    def runtime_context(self) -> Mapping[str, Any]:
        context = self._ray.get_runtime_context()
        actor = context.get_actor_id() if self.is_worker else None
        task = context.get_task_id() if self.is_worker else None
        group = context.get_placement_group_id() if self.is_worker else None
        return {
            "job_id": bytes.fromhex(context.get_job_id()), "node_id": bytes.fromhex(context.get_node_id()),
            "worker_id": bytes.fromhex(context.get_worker_id()), "task_id": bytes.fromhex(task) if task else None,
            "actor_id": bytes.fromhex(actor) if actor else None, "task_name": context.get_task_name() if self.is_worker else "",
            "function_name": context.get_task_function_name() if self.is_worker else "",
            "actor_name": context.get_actor_name() if actor else "", "namespace": context.namespace,
            "resources": context.get_assigned_resources() if self.is_worker else {},
            "accelerator_ids": context.get_accelerator_ids() if self.is_worker else {"GPU": []},
            "placement_group_id": bytes.fromhex(group) if group else None, "runtime_env": dict(context.runtime_env),
            "was_reconstructed": bool(actor and context.was_current_actor_reconstructed), "attempt": 0,
            "session_name": context.get_session_name(), "worker_pid": os.getpid(), "mode": "worker" if self.is_worker else "driver",
            "gcs_address": context.gcs_address, "labels": context.get_node_labels(), "handle_meta": ray_worker._handle_meta,
            "capture_child_tasks": self.is_worker and bool(context.should_capture_child_tasks_in_placement_group),
        }  # fmt: skip

    def is_canceled(self) -> bool:
        return self.is_worker and bool(self._ray.get_runtime_context().is_canceled())

    def query(self, what: str, params: Mapping[str, Any]) -> Any:
        from skate.backends.ray_state import query

        with translated():
            return query(self._ray, what, params)

    def report_metrics(self, rows: list[Any]) -> None:
        """Curves and documents: the latest of each go into the cluster's key-value store, where any program finds them."""
        import json

        for row in rows:
            if row and row[0] == "publish":
                self.kv_put(f"publish:{row[1]}:{row[2]}".encode(), json.dumps(row).encode(), overwrite=True)
            elif row and row[0] == "report":
                self.kv_put(f"report:{row[1]}".encode(), json.dumps(row).encode(), overwrite=True)

    def _kv(self) -> Any:
        from ray.experimental import internal_kv

        return internal_kv

    def kv_put(self, key: bytes, value: bytes, *, overwrite: bool) -> bool:
        """Whether it was stored. (Ray says whether there was one before.)"""
        had_one = self._kv()._internal_kv_put(key, value, overwrite=overwrite, namespace=_KV)
        return overwrite or not had_one

    def kv_get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._kv()._internal_kv_get(key, namespace=_KV)
        return value

    def kv_del(self, key: bytes) -> bool:
        return bool(self._kv()._internal_kv_del(key, namespace=_KV))

    def kv_list(self, prefix: bytes) -> list[bytes]:
        return list(self._kv()._internal_kv_list(prefix, namespace=_KV))

    def shutdown(self) -> None:
        """Leave the cluster. In a worker the connection is not ours to end."""
        if not self.is_worker:
            self._sender.close()
            self.objects.close()
            self._ray.shutdown()


def _retried(kinds: bool | tuple[type[BaseException], ...]) -> bool | list[type[BaseException]]:
    return kinds if isinstance(kinds, bool) else list(kinds)


def _returns(num_returns: int) -> int | str:
    return "streaming" if num_returns == STREAMING else "dynamic" if num_returns == DYNAMIC else num_returns
