"""The local backend: this machine's engine, seen through the seam of `base.Backend`. Drivers and workers use the same class.

    start    a driver: spawn a node process, or join a session that is kept; import the client while the node starts
    WorkerHooks.attach   a worker: the engine gives its client

What is hot (submit_task, call_actor, get) is the client's own function, without a hop. Options become the engine's messages here: amounts become
units, functions and classes become pickles, runtime environments canonical JSON.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from skate.backends import current
from skate.backends.base import DYNAMIC, ActorClassSpec, InitOptions, MethodSpec, TaskSpec
from skate.backends.definitions import Definition, Definitions
from skate.backends.environments import canonical, merge
from skate.config import INLINE_BYTES_MAX
from skate.engine.client import current as current_client, errors
from skate.engine.client.client import Client
from skate.engine.client.objects import Waiter
from skate.engine.client.tasks import FunctionToken, MethodToken
from skate.engine.spec import messages as m
from skate.engine.spec.resources import to_amounts, to_units
from skate.exceptions import (
    ActorAlreadyExistsError,
    ActorHandleNotFoundError,
    ActorPlacementGroupRemoved,
    ObjectFreedError,
    RaySystemError,
)
from skate.object_ref import ObjectRef

if TYPE_CHECKING:
    from skate.engine.client.actor_calls import Connection
    from skate.engine.driver.launch import NodeProcess
    from skate.engine.driver.session import DriverSession

_DEFINITION_INDEX = b"\xff\xff\xff\xff"
_ARGUMENTS_INDEX = b"\xff\xff\xff\xfe"
_ASYNC_CALLS_MAX = 1000  # max_concurrency of an async actor that does not say otherwise, as in Ray.
_FREE_TASKS_AT_ONCE = 64  # Workers at once for tasks that ask for no resources at all.
_encode_meta = msgspec.msgpack.Encoder().encode


class HandleMeta(msgspec.Struct, array_like=True):
    """What a handle needs to know of its actor: for the client, and (`public`) for the public API."""

    class_name: str
    max_task_retries: int
    max_pending_calls: int
    is_concurrent: bool
    public: bytes


_decode_meta = msgspec.msgpack.Decoder(HandleMeta).decode


class LocalBackend:
    """Implements `base.Backend` by a `Client`."""

    name = "local"

    def __init__(
        self, client: Client, *, session: DriverSession | None, runtime: Any, env: Mapping[str, Any], import_path: Sequence[str]
    ) -> None:
        """
        Args:
            session: Of a driver.
            runtime: Of a worker: D's `WorkerRuntime`.
            env: The runtime environment that tasks inherit from here.
            import_path: Where other processes of this job import from.
        """
        self.client = client
        self.is_worker = session is None
        self._session = session
        self._runtime = runtime
        self._env = env
        self._definitions = Definitions(import_path)
        self._endings: dict[bytes, list[Callable[[Any, bytes | None], None]]] = {}  # Who waits for the end of an actor.
        self._cluster: dict[str, float] | None = None
        # The hot paths, without a hop.
        self.submit_task = client.submit_task
        self.call_actor = client.call_actor
        self.get = client.get
        self.split_ready = client.values.split_ready
        self.drop_actor: Callable[[bytes], None] = client.drop
        client.on_actor_dead = self._on_actor_dead  # type: ignore[method-assign]

    @classmethod
    def start(cls, options: InitOptions, node: NodeProcess | None, address: str) -> LocalBackend:
        """A driver's: with the node process that was started for it, or of the session at `address`: "auto", a name or a directory."""
        from skate.engine.driver.session import DriverSession

        env = dict(options.runtime_env)
        session = DriverSession.open(options, node, address, canonical(env), ObjectRef)
        current_client.set_client(session.client)
        backend = cls(session.client, session=session, runtime=None, env=env, import_path=session.import_path)
        session.watch(on_exit=current.stop, on_fork=backend._on_fork)
        return backend

    # ------------------------------------------------------------ tasks

    def prepare_task(self, spec: TaskSpec) -> FunctionToken:
        definition = self._definitions.of(spec.function, spec.name)
        value, holder = self._place(definition)
        place = spec.placement
        units = to_units(place.resources)
        request = m.RequestLease(
            0, units, self._merged(place.runtime_env), place.strategy, place.placement_group, place.bundle, place.node, place.soft,
            dict(place.labels), getattr(spec.function, "__qualname__", spec.name), place.capture_child_tasks,
            spec.max_retries != 0,
        )  # fmt: skip
        is_dynamic = spec.num_returns == DYNAMIC
        template = m.Template(
            0, spec.name, value, definition.digest if holder is None else holder._id, "", spec.num_returns, bool(spec.retry_exceptions),
            spec.max_calls, spec.max_calls == 1, "", spec.backpressure, definition.code_digest, _retry_types(spec.retry_exceptions),
            spec.is_recorded,
        )  # fmt: skip
        with self.client.lock:
            queue = self.client.submission.queue_for(request, self._slots_max(units))
        token = FunctionToken(spec.function, template, queue, spec.max_retries, retries_errors=bool(spec.retry_exceptions))
        token.definition = (holder, definition)  # Also keeps the refs that the function has captured.
        if is_dynamic:
            token.num_returns = 1
        return token

    def _place(self, definition: Definition) -> tuple[m.Value | m.Stored, Any]:
        """A definition as it travels: in the message, or in the store, held by the returned ref."""
        for any_id in definition.packed.contains:
            with self.client.lock:
                self.client.publish(any_id)
        if definition.packed.size <= INLINE_BYTES_MAX:
            return m.Value(definition.packed.kind, definition.packed.data()), None
        if definition.holder is None or definition.holder._host is not self.client:
            definition.holder = self.client.put_packed(definition.packed)
        return m.Stored(definition.packed.size), definition.holder

    def _merged(self, env: Mapping[str, Any]) -> str:
        return canonical(merge(self._env, env) if env else self._env)

    def _slots_max(self, need: Mapping[str, int]) -> int:
        """How many of these the machine could run at once."""
        total = self._total(need)
        slots = [total.get(name, 0) // amount for name, amount in need.items()]
        return max(1, min(slots)) if slots else _FREE_TASKS_AT_ONCE

    def _total(self, need: Mapping[str, int]) -> Mapping[str, int]:
        total = self.client.welcome.total
        if self._session is not None and self._session.extra_nodes:
            total = dict(total)
            for node in self._session.extra_nodes:
                for name, amount in to_units(node).items():
                    total[name] = total.get(name, 0) + amount
        return total

    # ------------------------------------------------------------ actors

    def retain_actor(self, actor_id: bytes) -> None:
        with self.client.lock:
            self.client.retain(actor_id)

    def create_actor(self, spec: ActorClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        client = self.client
        concurrency = spec.max_concurrency or (_ASYNC_CALLS_MAX if spec.is_async else 1)
        meta = HandleMeta(
            spec.class_name, spec.max_task_retries, spec.max_pending_calls,
            spec.is_async or concurrency > 1 or bool(spec.concurrency_groups), spec.handle_meta,
        )  # fmt: skip
        definition = self._definitions.of(spec.cls, spec.class_name)
        packed, deps, borrowed = client.pack_arguments(args, kwargs)
        actor = client.new_id()
        place = spec.placement
        with client.lock:
            client.retain(actor)
        shared: list[bytes] = []
        try:
            held = [*(deps or ()), *definition.packed.contains, *((borrowed or ()) if isinstance(packed, bytes) else ())]
            with client.lock:
                for any_id in held:
                    client.share(any_id, actor)
                    shared.append(any_id)
            stored_definition: m.Value | m.Stored
            if definition.packed.size <= INLINE_BYTES_MAX:
                stored_definition = m.Value(definition.packed.kind, definition.packed.data())
            else:
                client.store(actor + _DEFINITION_INDEX, definition.packed, actor)
                shared.append(actor + _DEFINITION_INDEX)
                stored_definition = m.Stored(definition.packed.size)
            stored_args: m.Value | m.Stored
            if isinstance(packed, bytes):
                stored_args = m.Value(_kind_of(packed), packed)
            else:
                client.store(actor + _ARGUMENTS_INDEX, packed, actor)
                shared.append(actor + _ARGUMENTS_INDEX)
                stored_args = m.Stored(packed.size)
            full = m.ActorSpec(
                actor, spec.class_name, stored_definition, stored_args, list(deps or ()), spec.name,
                spec.namespace or client.welcome.namespace, spec.detached, spec.max_restarts, spec.max_task_retries, concurrency,
                dict(spec.concurrency_groups), spec.is_async, spec.max_pending_calls, to_units(place.resources),
                to_units(spec.running_resources), self._merged(place.runtime_env), place.strategy, place.placement_group, place.bundle,
                place.node, place.soft, dict(place.labels), _encode_meta(meta), place.capture_child_tasks,
            )  # fmt: skip
            message = m.CreateActor(0, full, spec.get_if_exists)
            if not spec.name:  # Nothing can go wrong, so nobody waits: a thousand actors are created in one go.
                with client.lock:
                    if client.death:
                        raise errors.node_died_exception(client.death)
                    client.tell_node(message)
                    self._connect(actor, meta)
                return actor, spec.handle_meta
            reply = client.ask(message)
        except BaseException:
            self._forget_actor(actor, shared)
            raise
        if reply.error:
            self._forget_actor(actor, shared)
            raise ActorAlreadyExistsError(reply.error)
        if reply.existing:
            self._forget_actor(actor, shared)
            return self._adopt(reply.existing, reply.handle_meta)
        with client.lock:
            self._connect(actor, meta)
        return actor, spec.handle_meta

    def _forget_actor(self, actor: bytes, shared: list[bytes]) -> None:
        """It was not created: give back what was counted for it."""
        with self.client.lock:
            if not self.client.death:
                for any_id in shared:
                    self.client.tell_node(m.Unshare(any_id, actor))
            self.client.release(actor)

    def _adopt(self, actor: bytes, encoded: bytes) -> tuple[bytes, bytes]:
        """A handle that the node has given, with one count."""
        meta = _decode_meta(encoded)
        with self.client.lock:
            self.client.adopt([actor])
            self._connect(actor, meta)
        return actor, meta.public

    def _connect(self, actor: bytes, meta: HandleMeta) -> Connection:
        """Lock held."""
        return self.client.connection(
            actor, meta.class_name, meta.max_task_retries, meta.max_pending_calls, is_concurrent=meta.is_concurrent
        )

    def _connection_of(self, actor: bytes) -> Connection:
        """Lock held."""
        connection = self.client.actors.connections.get(actor)
        if connection is not None:
            return connection
        host = self._runtime.host if self._runtime is not None else None
        if host is not None and host.spec.actor == actor:  # An actor that calls itself.
            return self._connect(actor, _decode_meta(host.spec.handle_meta))
        raise ActorHandleNotFoundError(
            f"actor {actor.hex()} is not known in this session: its handle belongs to one that has ended; get a new one with skate.get_actor"
        )

    def prepare_method(self, actor_id: bytes, spec: MethodSpec) -> MethodToken:
        with self.client.lock:
            connection = self._connection_of(actor_id)
        template = m.Template(
            0, spec.call_name or f"{connection.class_name}.{spec.name}", None, b"", spec.name, spec.num_returns,
            bool(spec.retry_exceptions), 0, False, spec.concurrency_group, spec.backpressure, b"", _retry_types(spec.retry_exceptions),
            spec.is_recorded,
        )  # fmt: skip
        retries = connection.max_task_retries if spec.max_task_retries is None else spec.max_task_retries
        token = MethodToken(connection, template, retries, retries_errors=bool(spec.retry_exceptions))
        if spec.num_returns == DYNAMIC:
            token.num_returns = 1
        return token

    def kill_actor(self, actor_id: bytes, *, no_restart: bool) -> None:
        with self.client.lock:
            self._check_alive()
            # What was called before is sent before: the actor may still get to it.
            self.client.actors.send_all()
            self.client.tell_node(m.KillActor(actor_id, no_restart))
            self.client.actors.leave(actor_id)

    def terminate_actor(self, actor_id: bytes) -> Any:
        token = self.prepare_method(actor_id, MethodSpec("__ray_terminate__"))
        with self.client.lock:
            self._check_alive()
            ref, settle = self.client.promise()
            if token.actor.death is not None:
                settle(None, None)
                return ref
            self._endings.setdefault(actor_id, []).append(settle)
        self.client.call_actor(token, (), {})  # In its turn, after the calls made before.
        return ref

    def _on_actor_dead(self, connection: Connection) -> None:
        """Lock held."""
        for settle in self._endings.pop(connection.actor_id, ()):
            settle(None, None)

    def get_named_actor(self, name: str, namespace: str) -> tuple[bytes, bytes]:
        namespace = namespace or self._namespace()
        reply = self.client.ask(m.GetNamedActor(0, name, namespace))
        if not reply.actor:
            names = [known for space, known in self.list_named_actors(all_namespaces=True) if space == namespace]
            have = f"; this namespace has {', '.join(map(repr, sorted(names)[:10]))}" if names else ""
            raise ValueError(
                f"there is no actor named {name!r} in namespace {namespace!r}{have}: it may have ended, or have been made in another namespace"
            )
        return self._adopt(reply.actor, reply.handle_meta)

    def list_named_actors(self, *, all_namespaces: bool) -> list[tuple[str, str]]:
        reply = self.client.ask(m.ListNamedActors(0, self._namespace(), all_namespaces))
        return [(namespace, name) for namespace, name in reply.names]

    def _namespace(self) -> str:
        if self._runtime is not None and self._runtime.host is not None:
            return str(self._runtime.host.spec.namespace)
        return self.client.welcome.namespace

    def reduce_actor(self, actor_id: bytes, handle_meta: bytes) -> tuple[Any, ...]:
        with self.client.lock:
            connection = self._connection_of(actor_id)
        meta = HandleMeta(
            connection.class_name,
            connection.max_task_retries,
            connection.max_pending_calls,
            connection.is_concurrent,
            handle_meta,
        )
        self.client.note_travelling(actor_id)
        return rebuild_handle, (actor_id, _encode_meta(meta))

    def exit_actor(self) -> None:
        if self._runtime is None:
            raise TypeError("exit_actor() was called outside of an actor: it ends the actor whose method calls it")
        self._runtime.exit_actor()

    # ------------------------------------------------------------ objects

    def put(self, value: Any, owner: bytes = b"") -> ObjectRef[Any]:
        ref: ObjectRef[Any] = self.client.put(value)
        if owner:
            with self.client.lock:
                self.client.share(ref._id, owner)
        return ref

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout_s: float | None, *, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        return self.client.wait(refs, num_returns, timeout_s)  # All memory is local: there is nothing to fetch.

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None:
        self.client.cancel(ref, force=force, recursive=recursive)

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        client = self.client
        with client.lock:
            self._check_alive()
            client.tell_node(m.Free([ref._id for ref in refs]))
            for ref in refs:
                entry = client.table.get(ref._id)
                if entry is not None and entry.state:
                    entry.view = entry.mapping = None
                    client.values.set_inline(entry, 2, errors.pack(ObjectFreedError(ref.hex())))

    # ------------------------------------------------------------ resources

    def cluster_resources(self) -> dict[str, float]:
        return dict(self.query("resources", {})["total"])

    def available_resources(self) -> dict[str, float]:
        with self.client.lock:  # What we keep for the next call is free for all.
            self.client.submission.return_idle_leases()
        return dict(self.query("resources", {})["available"])

    def nodes(self) -> list[dict[str, Any]]:
        rows = []
        for row in self.query("nodes", {}):
            alive = row.get("state", "ALIVE") == "ALIVE"
            rows.append({
                "NodeID": row["node_id"], "Alive": alive, "alive": alive, "NodeManagerAddress": "127.0.0.1",
                "NodeManagerHostname": os.uname().nodename, "NodeManagerPort": 0, "ObjectManagerPort": 0, "NodeName": "127.0.0.1",
                "ObjectStoreSocketName": "", "RayletSocketName": "", "MetricsExportPort": 0, "Resources": dict(row["resources_total"]),
                "Labels": dict(row.get("labels") or {}),
            })  # fmt: skip
        return rows

    def create_placement_group(
        self, bundles: Sequence[Mapping[str, float]], strategy: str, name: str, *, detached: bool
    ) -> bytes:
        group = self.client.new_id()
        units = [to_units(bundle) for bundle in bundles]
        with self.client.lock:
            self._check_alive()
            self.client.tell_node(m.CreatePlacementGroup(group, units, strategy, name, self._namespace(), detached))
        return group

    def remove_placement_group(self, group: bytes) -> None:
        with self.client.lock:
            self._check_alive()
            self.client.tell_node(m.RemovePlacementGroup(group))

    def get_placement_group(self, name: str) -> tuple[bytes, list[dict[str, float]], str]:
        reply = self.client.ask(m.GetPlacementGroup(0, name, self._namespace()))
        if not reply.group:
            raise ValueError(f"there is no placement group named {name!r} in namespace {self._namespace()!r}")
        return reply.group, [to_amounts(bundle) for bundle in reply.bundles], reply.strategy

    def placement_group_ready(self, group: bytes) -> ObjectRef[Any]:
        ref: ObjectRef[Any]
        with self.client.lock:
            self._check_alive()
            ref, settle = self.client.promise()

            def on_news(update: m.PlacementGroupUpdate) -> None:
                if update.state == "CREATED":
                    settle(group, None)
                else:
                    text = f"placement group {group.hex()} was not reserved: {update.detail or 'it was removed'}"
                    settle(None, errors.pack(ActorPlacementGroupRemoved(text)))

            self._watch_group(group, on_news)
        return ref

    def wait_placement_group(self, group: bytes, timeout_s: float | None) -> bool:
        waiter = Waiter(1)
        states: list[str] = []

        def on_news(update: m.PlacementGroupUpdate) -> None:
            states.append(update.state)
            waiter.notify()

        with self.client.lock:
            self._check_alive()
            self._watch_group(group, on_news)
        self.client.wait_for(waiter, timeout_s)
        return states == ["CREATED"]

    def _watch_group(self, group: bytes, on_news: Callable[[m.PlacementGroupUpdate], None]) -> None:
        """Lock held. One that was made elsewhere: creating it again asks for its state."""
        self.client.pump.start_background()
        self.client.on_group(group, on_news)
        if group[4:8] != self.client.client_id.to_bytes(4, "big"):
            self.client.tell_node(m.CreatePlacementGroup(group, [], "PACK", "", "", False))

    def captured_group(self) -> bytes:
        """The placement group that what is started here goes into; asked for every call of a worker."""
        runtime = self._runtime
        if runtime is None:
            return b""
        host = runtime.host
        if host is not None:
            return host.spec.placement_group if host.spec.capture_child_tasks else b""
        lease = runtime.lease
        return lease.placement_group if lease is not None and lease.capture_child_tasks else b""

    # ------------------------------------------------------------ context, state, the rest

    def runtime_context(self) -> Mapping[str, Any]:
        welcome = self.client.welcome
        if self._runtime is None:
            assert self._session is not None
            return {
                "job_id": welcome.job.to_bytes(4, "big"), "node_id": welcome.node_id, "worker_id": self.client.client_id.to_bytes(4, "big"),
                "task_id": None, "actor_id": None, "task_name": "", "function_name": "", "actor_name": "", "namespace": welcome.namespace,
                "resources": {}, "accelerator_ids": {"GPU": []}, "placement_group_id": None, "runtime_env": dict(self._env),
                "was_reconstructed": False, "attempt": 0, "session_name": welcome.session_name, "worker_pid": os.getpid(),
                "mode": "driver", "gcs_address": welcome.session_name, "labels": {}, "capture_child_tasks": False,
                "session_dir": self._session.directory, "temp_dir": self._session.directory,
            }  # fmt: skip
        context: dict[str, Any] = self._runtime.context()
        context["gcs_address"] = welcome.session_name
        context["session_dir"] = context["temp_dir"] = self._runtime.boot.session_dir
        host = self._runtime.host
        if host is not None:
            context["handle_meta"] = _decode_meta(host.spec.handle_meta).public
        return context

    def is_canceled(self) -> bool:
        return self._runtime is not None and bool(self._runtime.is_canceled())

    def query(self, what: str, params: Mapping[str, Any]) -> Any:
        reply = self.client.ask(m.Query(0, what, dict(params)))
        if reply.error:
            raise RaySystemError(reply.error)
        return msgspec.msgpack.decode(reply.data, strict=False)

    def report_metrics(self, rows: list[Any]) -> None:
        with self.client.lock:
            if not self.client.death:
                self.client.tell_node(m.MetricRows(rows))

    def kv_put(self, key: bytes, value: bytes, *, overwrite: bool) -> bool:
        return bool(self._ask_kv(m.KvPut(0, key, value, overwrite)))

    def kv_get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._ask_kv(m.KvGet(0, key))
        return value

    def kv_del(self, key: bytes) -> bool:
        return bool(self._ask_kv(m.KvDel(0, key)))

    def kv_list(self, prefix: bytes) -> list[bytes]:
        return list(self._ask_kv(m.KvList(0, prefix)))

    def _ask_kv(self, message: Any) -> Any:
        return msgspec.msgpack.decode(self.client.ask(message).data)

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """While it is open, this worker's CPUs may go to others."""
        self.client.on_block()
        try:
            yield
        finally:
            self.client.on_unblock()

    def _check_alive(self) -> None:
        """Lock held."""
        if self.client.death:
            raise errors.node_died_exception(self.client.death)

    # ------------------------------------------------------------ the end

    def shutdown(self) -> None:
        """Of a driver. In a worker the session is not ours to end."""
        if self._session is not None:
            current_client.set_client(None)
            self._session.close()

    def _on_fork(self) -> None:
        """In a child that the program has forked."""
        from skate.engine.driver.exit import close_in_fork

        close_in_fork(self.client)
        current_client.set_client(None)
        current.attach(None)


class WorkerHooks:
    """What the engine's workers know of the public API: see `engine/spec/boot.WorkerBoot.hooks`."""

    ref_class = ObjectRef

    @property
    def dynamic_class(self) -> Any:
        return _public("skate.generator").DynamicObjectRefGenerator

    def attach(self, client: Client, runtime: Any) -> None:
        """Make the public API of this process use the worker's client."""
        backend = LocalBackend(client, session=None, runtime=runtime, env=runtime.environment.fields, import_path=list(sys.path))
        current.attach(backend)
        config = runtime.boot.job_info.log_config
        if config:
            from skate.backends import log_records

            log_records.configure(log_records.loaded(config), backend.runtime_context)


def rebuild_handle(actor_id: bytes, encoded: bytes) -> Any:
    """What a pickled actor handle calls where it is unpickled."""
    backend = current.active()
    meta = _decode_meta(encoded)
    if isinstance(backend, LocalBackend):
        with backend.client.lock:
            backend.client.retain(actor_id)
            backend._connect(actor_id, meta)
    return _public("skate.actor").make_handle(actor_id, meta.public)


def _public(module: str) -> Any:
    """A module of the public API, which stands above the backends: found by name."""
    import importlib

    return importlib.import_module(module)


def _retry_types(wanted: bool | tuple[type[BaseException], ...]) -> bytes:
    if isinstance(wanted, bool):
        return b""
    import pickle

    try:
        data = pickle.dumps(wanted, 5)
    except Exception:
        data = b"__main__"
    if b"__main__" in data:
        import cloudpickle

        data = cloudpickle.dumps(wanted, 5)
    return data


def _kind_of(packed: bytes) -> int:
    """The format of packed arguments: a plain pickle, or one with buffers, which begins with its kind."""
    return 0 if packed[:1] == b"\x80" else 1
