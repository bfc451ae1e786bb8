"""The inline backend: everything in the caller's process and, but for async actors, in its thread. For debuggers and tests.

A task runs when it is submitted: a breakpoint in it stops where its caller stands. Errors are stored and raised by `get`, with the same classes
and texts as with processes. Values are pickled all the same. What needs processes does not happen: nothing runs at the same time, runtime
environments are not applied, nobody can be interrupted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from skate.backends import current
from skate.backends.base import ActorClassSpec, InitOptions, MethodSpec, TaskSpec
from skate.backends.environments import merge
from skate.backends.inline_actors import InlineActor
from skate.backends.inline_calls import ActorExit, Calls, Results, Running, Wanted, running
from skate.backends.inline_objects import Objects
from skate.engine.client import errors
from skate.engine.object_store.serialization import pack
from skate.exceptions import ActorAlreadyExistsError, ActorDiedError, ActorPlacementGroupRemoved, ObjectFreedError, RaySystemError
from skate.object_ref import ObjectRef

_OWN_NAMESPACE = "inline"


class InlineBackend:
    """Implements `base.Backend`."""

    name = "inline"

    def __init__(self, options: InitOptions) -> None:
        self._options = options
        self._prefix = os.urandom(4) + (1).to_bytes(4, "big")
        self._numbers = count(1)
        self._node = os.urandom(16)
        self._session_name = f"inline-{os.getpid()}-{self._prefix[:4].hex()}"
        self._started_s = time.time()
        self._namespace = options.namespace or _OWN_NAMESPACE
        self._total = _total(options)
        self.objects = Objects(self._on_actor_unreferenced)
        self.drop_actor = self.objects.drop
        self._calls = Calls(self.objects, self._new_id)
        self._actors: dict[bytes, InlineActor] = {}
        self._handle_metas: dict[bytes, bytes] = {}
        self._names: dict[tuple[str, str], bytes] = {}
        self._groups: dict[bytes, dict[str, Any]] = {}
        self._kv: dict[bytes, bytes] = {}
        self._metric_rows: Any = None
        self._recorder: Any = None
        self._is_closed = False

    def _new_id(self) -> bytes:
        return self._prefix + next(self._numbers).to_bytes(8, "big")

    def _check(self) -> None:
        if self._is_closed:
            raise errors.node_died_exception(f"{errors.SHUT_DOWN} (skate.shutdown)")
        self.objects.collect()

    # ------------------------------------------------------------ tasks

    def prepare_task(self, spec: TaskSpec) -> TaskSpec:
        return spec

    def submit_task(self, token: TaskSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._check()
        give, deps = self._calls.capture(args, kwargs)
        task = self._new_id()
        results = Results(self.objects, task, token.num_returns)
        place = token.placement
        call = Running(
            task, token.name, getattr(token.function, "__qualname__", token.name), place.resources, place.placement_group,
            place.capture_child_tasks, runtime_env=place.runtime_env,
        )  # fmt: skip
        wanted = Wanted(token.name, token.function, token.num_returns, token.max_retries, token.retry_exceptions)
        group = self._groups.get(place.placement_group)
        if place.placement_group and (group is None or group["state"] == "REMOVED"):
            from skate.exceptions import TaskPlacementGroupRemoved

            results.fail(errors.pack(TaskPlacementGroupRemoved(f"{token.name}() can't run: its placement group was removed")))
            return results.answer(token.num_returns)
        self.objects.wait_for(deps, len(deps), None)  # Of async actors: all else is done when it is submitted.
        try:
            self._calls.run(wanted, give, deps, results, call)
        except ActorExit:
            raise TypeError("exit_actor() was called outside of an actor: it ends the actor whose method calls it") from None
        return results.answer(token.num_returns)

    # ------------------------------------------------------------ actors

    def retain_actor(self, actor_id: bytes) -> None:
        self.objects.retain(actor_id)

    def create_actor(self, spec: ActorClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        self._check()
        key = (spec.namespace or self._namespace, spec.name)
        if spec.name and key in self._names:
            existing = self._names[key]
            if spec.get_if_exists:
                self.objects.retain(existing)
                return existing, self._handle_metas[existing]
            raise ActorAlreadyExistsError(
                f"the name {spec.name!r} is taken in namespace {key[0]!r} by an actor of class {self._actors[existing].spec.class_name}: "
                "choose another name, get that actor with skate.get_actor(name), or pass get_if_exists=True"
            )
        give, deps = self._calls.capture(args, kwargs)
        self.objects.wait_for(deps, len(deps), None)
        actor_id = self._new_id()
        self.objects.retain(actor_id)
        self._handle_metas[actor_id] = spec.handle_meta
        if spec.name:
            self._names[key] = actor_id
        self._actors[actor_id] = InlineActor(self._calls, actor_id, spec, give, self._on_actor_death)
        return actor_id, spec.handle_meta

    def _on_actor_death(self, actor: InlineActor) -> None:
        for key, actor_id in list(self._names.items()):
            if actor_id == actor.actor_id:
                del self._names[key]

    def _on_actor_unreferenced(self, actor_id: bytes) -> None:
        actor = self._actors.get(actor_id)
        if actor is not None and not actor.spec.detached:
            actor.terminate(lambda: None)
            self._actors.pop(actor_id, None)

    def prepare_method(self, actor_id: bytes, spec: MethodSpec) -> tuple[InlineActor, MethodSpec]:
        return self._actor(actor_id), spec

    def _actor(self, actor_id: bytes) -> InlineActor:
        self._check()
        actor = self._actors.get(actor_id)
        if actor is None:
            raise ActorDiedError(f"actor {actor_id.hex()} is not known: it has ended long ago, or belongs to another session")
        return actor

    def call_actor(self, token: tuple[InlineActor, MethodSpec], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._check()
        return token[0].call(token[1], args, kwargs)

    def kill_actor(self, actor_id: bytes, *, no_restart: bool) -> None:
        self._actor(actor_id).kill(no_restart=no_restart)

    def terminate_actor(self, actor_id: bytes) -> ObjectRef[Any]:
        actor = self._actor(actor_id)
        ref, stored = self.objects.create(self._new_id() + bytes(4))
        actor.terminate(lambda: self.objects.settle(stored, None))
        return ref

    def get_named_actor(self, name: str, namespace: str) -> tuple[bytes, bytes]:
        self._check()
        actor_id = self._names.get((namespace or self._namespace, name))
        if actor_id is None:
            raise ValueError(f"there is no actor named {name!r} in namespace {namespace or self._namespace!r}")
        self.objects.retain(actor_id)
        return actor_id, self._handle_metas[actor_id]

    def list_named_actors(self, *, all_namespaces: bool) -> list[tuple[str, str]]:
        self._check()
        return sorted(key for key in self._names if all_namespaces or key[0] == self._namespace)

    def reduce_actor(self, actor_id: bytes, handle_meta: bytes) -> tuple[Any, ...]:
        self.objects.note_travelling(actor_id)
        return rebuild_handle, (actor_id, handle_meta)

    def exit_actor(self) -> None:
        call = running.get()
        if call is None or call.actor is None:
            raise TypeError("exit_actor() was called outside of an actor: it ends the actor whose method calls it")
        raise ActorExit

    # ------------------------------------------------------------ objects

    def put(self, value: Any, owner: bytes = b"") -> ObjectRef[Any]:
        self._check()
        packed = pack(value)
        ref, stored = self.objects.create(self._new_id() + bytes(4))
        self.objects.settle_packed(stored, packed)
        return ref

    def get(self, refs: Sequence[ObjectRef[Any]], timeout_s: float | None) -> list[Any]:
        self._check()
        wanted = [self.objects.find(ref._id) for ref in refs]
        if not self.objects.wait_for(wanted, len(wanted), timeout_s):
            self._check()
            missing = [ref for ref, stored in zip(refs, wanted, strict=True) if not stored.is_done]
            raise errors.get_timeout(timeout_s, missing, [None] * len(missing))
        return [self.objects.value_of(stored) for stored in wanted]

    def split_ready(self, refs: list[ObjectRef[Any]], num_returns: int) -> None:
        return None  # Everything is near: `wait` is quick enough.

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout_s: float | None, *, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        self._check()
        wanted = [self.objects.find(ref._id) for ref in refs]
        self.objects.wait_for(wanted, num_returns, timeout_s)
        ready: list[ObjectRef[Any]] = []
        rest: list[ObjectRef[Any]] = []
        for ref, stored in zip(refs, wanted, strict=True):
            (ready if stored.is_done and len(ready) < num_returns else rest).append(ref)
        return ready, rest

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None:
        stored = self.objects.find(ref._id)
        if stored.is_done or stored.on_cancel is None:
            return
        if force:
            raise ValueError("force=True is not possible for an actor call: use skate.kill(actor) to end the actor")
        stored.on_cancel()

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        for ref in refs:
            stored = self.objects.find(ref._id)
            stored.data, stored.inner = None, []
            stored.error = errors.pack(ObjectFreedError(ref.hex()))

    # ------------------------------------------------------------ resources

    def cluster_resources(self) -> dict[str, float]:
        self._check()
        return dict(self._total)

    def available_resources(self) -> dict[str, float]:
        self._check()
        free = dict(self._total)
        taken = [actor.spec.running_resources for actor in self._actors.values() if actor.death is None]
        for group in self._groups.values():
            if group["state"] == "CREATED":
                taken += group["bundles"]
        call = running.get()
        if call is not None and call.actor is None:
            taken.append(call.resources)
        for amounts in taken:
            for name, amount in amounts.items():
                free[name] = max(0.0, free.get(name, 0.0) - amount)
        return free

    def nodes(self) -> list[dict[str, Any]]:
        self._check()
        return [{
            "NodeID": self._node.hex(), "Alive": True, "alive": True, "NodeManagerAddress": "127.0.0.1",
            "NodeManagerHostname": os.uname().nodename, "NodeManagerPort": 0, "ObjectManagerPort": 0, "NodeName": "127.0.0.1",
            "ObjectStoreSocketName": "", "RayletSocketName": "", "MetricsExportPort": 0, "Resources": dict(self._total),
            "Labels": {"ray.io/node-id": self._node.hex(), **self._options.labels},
        }]  # fmt: skip

    def create_placement_group(
        self, bundles: Sequence[Mapping[str, float]], strategy: str, name: str, *, detached: bool
    ) -> bytes:
        self._check()
        group = self._new_id()
        self._groups[group] = {
            "placement_group_id": group.hex(), "name": name, "state": "CREATED", "strategy": strategy, "is_detached": detached,
            "bundles": [dict(bundle) for bundle in bundles],
        }  # fmt: skip
        return group

    def remove_placement_group(self, group: bytes) -> None:
        self._check()
        if group in self._groups:
            self._groups[group]["state"] = "REMOVED"
        for actor in list(self._actors.values()):
            if actor.spec.placement.placement_group == group:
                actor.lose_group()

    def get_placement_group(self, name: str) -> tuple[bytes, list[dict[str, float]], str]:
        self._check()
        for group, row in self._groups.items():
            if row["name"] == name and row["state"] == "CREATED":
                return group, row["bundles"], row["strategy"]
        raise ValueError(f"there is no placement group named {name!r}")

    def placement_group_ready(self, group: bytes) -> ObjectRef[Any]:
        if self.wait_placement_group(group, 0):
            return self.put(group)
        ref, stored = self.objects.create(self._new_id() + bytes(4))
        self.objects.fail(stored, errors.pack(ActorPlacementGroupRemoved(f"placement group {group.hex()} was removed")))
        return ref

    def wait_placement_group(self, group: bytes, timeout_s: float | None) -> bool:
        self._check()
        return group in self._groups and self._groups[group]["state"] == "CREATED"

    def captured_group(self) -> bytes:
        call = running.get()
        return call.placement_group if call is not None and call.captures else b""

    # ------------------------------------------------------------ context, state, the rest

    is_worker = True  # Tasks run here, so what is submitted here may be the child of one: see `captured_group`.

    def runtime_context(self) -> Mapping[str, Any]:
        call = running.get()
        actor = call.actor if call is not None else None
        gpus = int(call.resources.get("GPU", 0) + 0.999) if call is not None else 0
        context = {
            "job_id": (1).to_bytes(4, "big"), "node_id": self._node, "worker_id": (1).to_bytes(4, "big"),
            "task_id": call.task if call is not None else None, "actor_id": actor.actor_id if actor is not None else None,
            "task_name": call.name if call is not None else "", "function_name": call.function_name if call is not None else "",
            "actor_name": actor.spec.name if actor is not None else "",
            "namespace": (actor.spec.namespace if actor is not None else "") or self._namespace,
            "resources": dict(call.resources) if call is not None else {}, "accelerator_ids": {"GPU": [str(gpu) for gpu in range(gpus)]},
            "placement_group_id": (call.placement_group if call is not None else b"") or None,
            "runtime_env": merge(self._options.runtime_env, call.runtime_env if call is not None else {}),
            "was_reconstructed": actor is not None and actor.restarts > 0, "attempt": call.attempt if call is not None else 0,
            "session_name": self._session_name, "worker_pid": os.getpid(), "mode": "driver" if call is None else "worker",
            "gcs_address": "inline", "labels": dict(self._options.labels), "capture_child_tasks": call is not None and call.captures,
        }  # fmt: skip
        if actor is not None:
            context["handle_meta"] = actor.spec.handle_meta
        return context

    def is_canceled(self) -> bool:
        call = running.get()
        return call is not None and call.is_cancelled

    def query(self, what: str, params: Mapping[str, Any]) -> Any:
        self._check()
        pid = os.getpid()
        match what:
            case "tasks":
                return [self._task_row(row) for row in self._calls.events][-(params.get("limit") or 100_000) :]
            case "timeline":
                return [list(row) for row in self._calls.events]
            case "actors":
                return [self._actor_row(actor) for actor in self._actors.values()]
            case "objects":
                return self.objects.describe()
            case "workers":
                return [{
                    "worker_id": "00000001", "pid": pid, "state": "idle", "job_id": "00000001", "node_id": self._node.hex(), "rss_bytes": 0,
                    "start_time_ms": self._started_s * 1000,
                }]  # fmt: skip
            case "nodes":
                return [{
                    "node_id": self._node.hex(), "state": "ALIVE", "is_head_node": True, "resources_total": dict(self._total),
                    "labels": dict(self._options.labels),
                }]  # fmt: skip
            case "placement_groups":
                return list(self._groups.values())
            case "jobs":
                return [{
                    "job_id": "00000001", "pid": pid, "namespace": self._namespace, "start_time": self._started_s, "end_time": 0.0,
                    "status": "RUNNING", "entrypoint": "", "name": "",
                }]  # fmt: skip
            case "resources":
                return {"total": self.cluster_resources(), "available": self.available_resources()}
            case "metrics":
                return self._metric_rows.rows() if self._metric_rows is not None else []
            case "logs":
                return {}
            case "leases" | "demand":
                return []
            case "stacks":
                import traceback

                return {pid: "".join(traceback.format_stack())}
            case "session":
                return self._session_row()
            case "summary":
                return {
                    "session": self._session_row(), "resources": self.query("resources", {}), "objects": {"count": len(self.objects.describe())},
                    "demand": [], "actors": {}, "workers": {"idle": 1}, "jobs": {"RUNNING": 1},
                }  # fmt: skip
            case _:
                raise RaySystemError(f"nothing is known about {what!r}")

    def _session_row(self) -> dict[str, Any]:
        return {
            "name": self._session_name, "pid": os.getpid(), "started_s": self._started_s, "is_embedded": True, "driver_pid": os.getpid(),
            "uptime_s": time.time() - self._started_s, "num_cpus": self._total.get("CPU", 0), "session_dir": "", "drivers": 1, "workers": 0,
        }  # fmt: skip

    def _task_row(self, row: tuple[Any, ...]) -> dict[str, Any]:
        task, attempt, name, kind, status, _worker, actor, _parent, start_us, end_us, error, _owner = row
        error_type, _, message = error.partition(": ")
        return {
            "task_id": task.hex(), "attempt_number": attempt, "name": name, "func_or_class_name": name,
            "type": ("NORMAL_TASK", "ACTOR_CREATION_TASK", "ACTOR_TASK")[kind], "state": "FINISHED" if status == 1 else "FAILED",
            "actor_id": actor.hex() or None, "parent_task_id": None, "worker_id": "00000001", "worker_pid": os.getpid(),
            "node_id": self._node.hex(), "job_id": "00000001", "owner": 1, "start_time_ms": start_us / 1000, "end_time_ms": end_us / 1000,
            "error_type": error_type or None, "error_message": message or None,
        }  # fmt: skip

    def _actor_row(self, actor: InlineActor) -> dict[str, Any]:
        return {
            "actor_id": actor.actor_id.hex(), "class_name": actor.spec.class_name, "name": actor.spec.name,
            "state": "ALIVE" if actor.death is None else "DEAD", "pid": os.getpid(), "job_id": "00000001",
            "ray_namespace": actor.spec.namespace or self._namespace, "node_id": self._node.hex(), "num_restarts": actor.restarts,
            "death_cause": actor.cause or None, "is_detached": actor.spec.detached,
        }  # fmt: skip

    def report_metrics(self, rows: list[Any]) -> None:
        if self._metric_rows is None:
            from skate.engine.node.state import Metrics

            self._metric_rows = Metrics()
        self._metric_rows.add([row for row in rows if row[0] not in ("report", "publish")])
        told = [row for row in rows if row[0] in ("report", "publish")]
        if told:
            self._record(told)

    def _record(self, rows: list[Any]) -> None:
        """What `skate.report` was told, into a run file of this process's own."""
        from skate import run_format
        from skate.engine.node.recorder import Recorder

        if self._recorder is None:
            folder = run_format.runs_folder(os.environ) if run_format.is_recording(os.environ) else ""
            directory = os.path.join(folder, self._session_name) if folder else ""
            self._recorder = Recorder(directory, self._session_row(), lambda _delay_s, _callback: None)
        for row in rows:
            self._recorder.tell(1, row)
        self._recorder.flush()

    def kv_put(self, key: bytes, value: bytes, *, overwrite: bool) -> bool:
        self._check()
        if not overwrite and key in self._kv:
            return False
        self._kv[key] = value
        return True

    def kv_get(self, key: bytes) -> bytes | None:
        self._check()
        return self._kv.get(key)

    def kv_del(self, key: bytes) -> bool:
        self._check()
        return self._kv.pop(key, None) is not None

    def kv_list(self, prefix: bytes) -> list[bytes]:
        self._check()
        return sorted(key for key in self._kv if key.startswith(prefix))

    def shutdown(self) -> None:
        self._is_closed = True
        if self._recorder is not None:
            self._recorder.close("the session was shut down by its driver")
        actors = list(self._actors.values())
        for actor in actors:
            actor.die(ActorDiedError("the session was shut down"), "the session was shut down")
        for actor in actors:
            actor.join()
        self._actors.clear()
        self.objects.close()


def rebuild_handle(actor_id: bytes, handle_meta: bytes) -> Any:
    """What a pickled actor handle calls where it is unpickled."""
    import importlib

    current.active().retain_actor(actor_id)
    return importlib.import_module("skate.actor").make_handle(actor_id, handle_meta)


def _total(options: InitOptions) -> dict[str, float]:
    memory = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    store = float(options.object_store_memory or memory * 0.3)
    total = {
        "CPU": float(len(os.sched_getaffinity(0))) if options.num_cpus is None else options.num_cpus,
        "GPU": options.num_gpus or 0.0, "memory": memory - store, "object_store_memory": store, "node:127.0.0.1": 1.0,
        **options.resources,
    }  # fmt: skip
    return {name: amount for name, amount in total.items() if amount}
