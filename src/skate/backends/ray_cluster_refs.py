"""Refs and handles of a Ray cluster: Skate's own outside, with Ray's inside.

What travels is Ray's ref or handle, so that Ray counts it; where it arrives it is wrapped again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.backends import current
from skate.backends.ray_cluster_errors import translate
from skate.object_ref import ObjectRef


class RayHost:
    """Implements `object_ref.RefHost`."""

    def __init__(self) -> None:
        self.drop: Callable[[bytes], None] = _nothing

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        return wrap, (unwrap(ref),)

    def add_done_callback(self, ref: ObjectRef[Any], callback: Callable[[Any, BaseException | None], None]) -> None:
        def deliver(future: Any) -> None:
            error = future.exception()
            if error is None:
                callback(future.result(), None)
            else:
                callback(None, translate(error))

        unwrap(ref).future().add_done_callback(deliver)

    def call_site(self, ref_id: bytes) -> str:
        return ""


class RayRef(ObjectRef[Any]):
    """An ObjectRef with Ray's inside."""

    __slots__ = ("ray",)

    def __init__(self, ray_ref: Any) -> None:
        super().__init__(ray_ref.binary(), HOST)
        self.ray = ray_ref

    def __del__(self) -> None:
        """Ray's ref goes with this one."""

    def task_id(self) -> Any:
        from skate._ids import TaskID

        return TaskID(self.ray.task_id().binary())


def _nothing(_ref_id: bytes) -> None:
    """Ray counts its own refs, and ours holds one of them."""


HOST = RayHost()


def wrap(ray_ref: Any) -> RayRef:
    return RayRef(ray_ref)


def unwrap(ref: ObjectRef[Any]) -> Any:
    """
    Raises:
        ValueError: It is of another session.
    """
    if not isinstance(ref, RayRef):
        raise ValueError(f"{ref!r} belongs to another session: refs can't be used after shutdown, or on another cluster")
    return ref.ray


def rebuild_handle(ray_handle: Any, handle_meta: bytes) -> Any:
    """What a pickled actor handle calls where it is unpickled."""
    import importlib

    from skate.backends.ray_cluster import RayBackend

    here = current.peek()
    backend = here if isinstance(here, RayBackend) else RayBackend.in_worker()
    return importlib.import_module("skate.actor").make_handle(backend.adopt(ray_handle), handle_meta, backend)
