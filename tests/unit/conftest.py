"""A backend that runs everything at once, in the caller's thread, and remembers what it was asked: for tests of the public API alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from skate.backends import current
from skate.backends.base import DYNAMIC, STREAMING, ActorClassSpec, InitOptions, MethodSpec, TaskSpec
from skate.object_ref import ObjectRef


class FakeStream:
    """A stream whose items the test delivers, or that a generator fills at once."""

    def __init__(self, backend: FakeBackend, task_id: bytes) -> None:
        self.backend = backend
        self.task_id = task_id
        self.items: list[ObjectRef[Any]] = []
        self.has_ended = False
        self.is_closed = False
        self._callbacks: list[Callable[[], None]] = []

    def deliver(self, value: Any) -> None:
        self.items.append(self.backend.make_ref(value))
        self._wake()

    def end(self) -> None:
        self.has_ended = True
        self._wake()

    def _wake(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def next_ref(self, timeout_s: float | None) -> ObjectRef[Any] | None:
        if self.items:
            return self.items.pop(0)
        if self.has_ended:
            return None
        from skate.exceptions import GetTimeoutError

        raise GetTimeoutError(f"no item within {timeout_s} s")

    def add_next_callback(self, callback: Callable[[], None]) -> None:
        if self.items or self.has_ended:
            callback()
        else:
            self._callbacks.append(callback)

    def is_finished(self) -> bool:
        return self.has_ended and not self.items

    def completed_ref(self) -> ObjectRef[Any]:
        return self.backend.make_ref(None)

    def close(self) -> None:
        self.is_closed = True


class FakeBackend:
    name = "fake"

    def __init__(self) -> None:
        self.values: dict[bytes, Any] = {}
        self.tasks: list[TaskSpec] = []  # prepared
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
        self.actors: dict[bytes, Any] = {}
        self.actor_specs: dict[bytes, ActorClassSpec] = {}
        self.methods: list[MethodSpec] = []  # prepared
        self.names: dict[tuple[str, str], bytes] = {}
        self.handles: dict[bytes, int] = {}
        self.killed: list[tuple[bytes, bool]] = []
        self.cancelled: list[tuple[ObjectRef[Any], bool, bool]] = []
        self.context: dict[str, Any] = {
            "mode": "driver",
            "job_id": b"\0\0\0\1",
            "node_id": b"node",
            "worker_id": b"work",
            "namespace": "here",
        }
        self.groups: dict[bytes, dict[str, Any]] = {}
        self.queries: list[str] = []
        self._numbers = itertools.count(1)

    def new_id(self) -> bytes:
        return next(self._numbers).to_bytes(16, "big")

    # ---- refs
    def drop(self, ref_id: bytes) -> None:
        pass

    def make_ref(self, value: Any) -> ObjectRef[Any]:
        ref: ObjectRef[Any] = ObjectRef(self.new_id() + b"\0\0\0\1", self)  # type: ignore[arg-type]
        self.values[ref.binary()] = value
        return ref

    def pending_ref(self) -> ObjectRef[Any]:
        return ObjectRef(self.new_id() + b"\0\0\0\2", self)  # type: ignore[arg-type]

    def add_done_callback(self, ref: ObjectRef[Any], callback: Callable[[Any, BaseException | None], None]) -> None:
        if ref.binary() in self.values:
            callback(self.values[ref.binary()], None)

    def put(self, value: Any, owner: bytes = b"") -> ObjectRef[Any]:
        return self.make_ref(value)

    def get(self, refs: Any, timeout_s: float | None) -> list[Any]:
        values = [self.values[ref.binary()] for ref in refs]
        for value in values:
            if isinstance(value, BaseException):
                raise value
        return values

    def wait(self, refs: Any, num_returns: int, timeout_s: float | None, *, fetch_local: bool) -> tuple[list[Any], list[Any]]:
        ready = [ref for ref in refs if ref.binary() in self.values][:num_returns]
        return ready, [ref for ref in refs if ref not in ready]

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None:
        self.cancelled.append((ref, force, recursive))

    # ---- calls
    def _run(self, function: Callable[..., Any], num_returns: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args = tuple(map(self._resolve, args))
        kwargs = {name: self._resolve(value) for name, value in kwargs.items()}
        if num_returns == STREAMING:
            stream = self.new_stream()
            for item in function(*args, **kwargs):
                stream.deliver(item)
            stream.end()
            return stream
        value = function(*args, **kwargs)
        if num_returns in (1, DYNAMIC):
            return self.make_ref(value)
        return [self.make_ref(one) for one in value] if num_returns else None

    def _resolve(self, value: Any) -> Any:
        return self.values[value.binary()] if isinstance(value, ObjectRef) else value

    def new_stream(self) -> FakeStream:
        return FakeStream(self, self.new_id())

    def prepare_task(self, spec: TaskSpec) -> Any:
        self.tasks.append(spec)
        return spec

    def submit_task(self, token: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls.append((token, args, kwargs))
        return self._run(token.function, token.num_returns, args, kwargs)

    # ---- actors
    def retain_actor(self, actor_id: bytes) -> None:
        self.handles[actor_id] = self.handles.get(actor_id, 0) + 1

    def drop_actor(self, actor_id: bytes) -> None:
        self.handles[actor_id] -= 1

    def create_actor(self, spec: ActorClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        actor_id = self.new_id()
        self.actors[actor_id] = spec.cls(*args, **kwargs)
        self.actor_specs[actor_id] = spec
        if spec.name:
            self.names[spec.namespace, spec.name] = actor_id
        self.retain_actor(actor_id)
        return actor_id, spec.handle_meta

    def prepare_method(self, actor_id: bytes, spec: MethodSpec) -> Any:
        self.methods.append(spec)
        return actor_id, spec

    def call_actor(self, token: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        actor_id, spec = token
        self.calls.append((spec, args, kwargs))
        instance = self.actors[actor_id]
        if spec.name == "__ray_ready__":
            return self.make_ref(True)
        if spec.name == "__ray_call__":
            return self.make_ref(args[0](instance, *args[1:], **kwargs))
        return self._run(getattr(instance, spec.name), spec.num_returns, args, kwargs)

    def kill_actor(self, actor_id: bytes, *, no_restart: bool) -> None:
        self.killed.append((actor_id, no_restart))

    def terminate_actor(self, actor_id: bytes) -> Any:
        return self.make_ref("terminated")

    def get_named_actor(self, name: str, namespace: str) -> tuple[bytes, bytes]:
        try:
            actor_id = self.names[namespace, name]
        except KeyError:
            raise ValueError(f"no actor {name!r}") from None
        self.retain_actor(actor_id)
        return actor_id, self.actor_specs[actor_id].handle_meta

    def reduce_actor(self, actor_id: bytes, handle_meta: bytes) -> tuple[Any, ...]:
        return _rebuild, (actor_id, handle_meta)

    def exit_actor(self) -> None:
        raise TypeError("outside of an actor")

    # ---- the rest
    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": "ab", "Alive": True, "Labels": {"zone": "b"}}]

    def create_placement_group(self, bundles: Any, strategy: str, name: str, *, detached: bool) -> bytes:
        group = self.new_id()
        self.groups[group] = {
            "placement_group_id": group.hex(), "name": name, "state": "CREATED", "bundles": list(bundles), "strategy": strategy,
        }  # fmt: skip
        return group

    def remove_placement_group(self, group: bytes) -> None:
        del self.groups[group]

    def get_placement_group(self, name: str) -> tuple[bytes, list[dict[str, float]], str]:
        for group, row in self.groups.items():
            if row["name"] == name:
                return group, row["bundles"], row["strategy"]
        raise ValueError(f"no placement group {name!r}")

    def placement_group_ready(self, group: bytes) -> ObjectRef[Any]:
        return self.make_ref(group)

    def wait_placement_group(self, group: bytes, timeout_s: float | None) -> bool:
        return group in self.groups

    def query(self, what: str, params: Any) -> Any:
        self.queries.append(what)
        return list(self.groups.values()) if what == "placement_groups" else []

    def runtime_context(self) -> dict[str, Any]:
        return self.context

    def is_canceled(self) -> bool:
        return False

    def shutdown(self) -> None:
        pass


def _rebuild(actor_id: bytes, handle_meta: bytes) -> Any:
    from skate.actor import make_handle

    backend: Any = current.active()
    backend.retain_actor(actor_id)
    return make_handle(actor_id, handle_meta)


class FakeEngine:
    """Stands for `backends.current`."""

    def __init__(self) -> None:
        self.backend: FakeBackend | None = None
        self.started_with: list[InitOptions] = []

    def active(self) -> FakeBackend:
        if self.backend is None:
            self.start(InitOptions())
        assert self.backend is not None
        return self.backend

    def of_refs(self) -> FakeBackend:
        assert self.backend is not None
        return self.backend

    def peek(self) -> FakeBackend | None:
        return self.backend

    def start(self, options: InitOptions) -> FakeBackend:
        self.started_with.append(options)
        self.backend = FakeBackend()
        return self.backend

    def stop(self) -> None:
        self.backend = None


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """The public API on a fake backend; nothing is started yet."""
    fake = FakeEngine()
    for name in ("active", "of_refs", "peek", "start", "stop"):
        monkeypatch.setattr(current, name, getattr(fake, name))
    yield fake


@pytest.fixture
def backend(engine: FakeEngine) -> FakeBackend:
    return engine.active()
