"""`get_runtime_context()`: who is running here: which task or actor, in which worker, with what resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from skate._ids import ActorID, BaseID, JobID, NodeID, PlacementGroupID, TaskID, WorkerID
from skate.backends import current

if TYPE_CHECKING:
    from skate.actor import ActorHandle
    from skate.runtime_env import RuntimeEnv

__all__ = ["RuntimeContext", "get_runtime_context"]

AnyID = TypeVar("AnyID", bound=BaseID)


class RuntimeContext:
    """Answers for the place where it is asked; ids are in hex. What does not exist there (a driver's task) is None."""

    __slots__ = ()

    # ------------------------------------------------------------ ids

    def get_job_id(self) -> str:
        return _hex("job_id") or ""

    def get_node_id(self) -> str:
        return _hex("node_id") or ""

    def get_worker_id(self) -> str:
        return _hex("worker_id") or ""

    def get_task_id(self) -> str | None:
        """None in a driver."""
        return _hex("task_id")

    def get_actor_id(self) -> str | None:
        """None outside of actors."""
        return _hex("actor_id")

    def get_placement_group_id(self) -> str | None:
        return _hex("placement_group_id")

    # ------------------------------------------------------------ names

    def get_task_name(self) -> str | None:
        """As given by `.options(name=…)`, else the function's; "Counter.add" in an actor."""
        return _context().get("task_name") or None

    def get_task_function_name(self) -> str | None:
        """With its module: "app.square", "app.Counter.add"."""
        return _context().get("function_name") or None

    def get_actor_name(self) -> str | None:
        """ "" for an actor without a name; None outside of actors."""
        context = _context()
        return context.get("actor_name") or "" if context.get("actor_id") else None

    @property
    def namespace(self) -> str:
        return _context().get("namespace") or ""

    def get_session_name(self) -> str:
        return _context().get("session_name") or ""

    def get_temp_dir(self) -> str:
        """A directory for temporary files of this session, or the machine's."""
        import tempfile

        return _context().get("temp_dir") or tempfile.gettempdir()

    @property
    def gcs_address(self) -> str:
        """Where the cluster is; on one machine the session's name, for `init(address=…)`."""
        return _context().get("gcs_address") or ""

    # ------------------------------------------------------------ the actor that runs here

    @property
    def current_actor(self) -> ActorHandle[Any]:
        """A handle of the actor whose method this is.

        Raises:
            RuntimeError: Asked outside of an actor.
        """
        from skate.actor import make_handle

        backend = current.active()
        context = backend.runtime_context()
        actor_id = context.get("actor_id")
        if not actor_id:
            raise RuntimeError("current_actor was asked for outside of an actor: ask in a method of an actor class")
        backend.retain_actor(actor_id)
        return make_handle(actor_id, context["handle_meta"], backend)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether this actor has been started again after it died.

        Raises:
            RuntimeError: Asked outside of an actor.
        """
        context = _context()
        if not context.get("actor_id"):
            raise RuntimeError("was_current_actor_reconstructed was asked for outside of an actor")
        return bool(context.get("was_reconstructed"))

    def is_canceled(self) -> bool:
        """Whether somebody has called `skate.cancel` on the task that runs here: a long call of an actor asks, and ends by itself.

        Raises:
            RuntimeError: Asked in a driver.
        """
        backend = current.active()
        if backend.runtime_context().get("mode") == "driver":
            raise RuntimeError(
                "is_canceled was asked for in a driver: it tells a task, or an actor's call, whether it has been cancelled"
            )
        return backend.is_canceled()

    # ------------------------------------------------------------ resources

    def get_assigned_resources(self) -> dict[str, float]:
        """What this task or actor holds: {"CPU": 1.0} for a plain task."""
        return dict(_context().get("resources") or {})

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """{"GPU": ["0", "1"]}: the devices this process may use."""
        ids = {kind: [str(one) for one in devices] for kind, devices in (_context().get("accelerator_ids") or {}).items()}
        ids.setdefault("GPU", [])
        return ids

    def get_node_labels(self) -> dict[str, str]:
        return dict(_context().get("labels") or {})

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether tasks started here go into the placement group of this one."""
        return bool(_context().get("capture_child_tasks"))

    # ------------------------------------------------------------ environment

    @property
    def runtime_env(self) -> RuntimeEnv:
        from skate.runtime_env import RuntimeEnv

        return RuntimeEnv(**(_context().get("runtime_env") or {}))

    def get_runtime_env_string(self) -> str:
        import json

        return json.dumps(_context().get("runtime_env") or {}, sort_keys=True)

    # ------------------------------------------------------------ old names of Ray's

    def get(self) -> dict[str, Any]:
        """Deprecated: ask for what you need by its own method."""
        _deprecated("get()", "the get_…() methods")
        ids: dict[str, Any] = {"job_id": _id("job_id", JobID), "node_id": _id("node_id", NodeID), "namespace": self.namespace}
        ids |= {"task_id": _id("task_id", TaskID), "actor_id": _id("actor_id", ActorID)}
        return {name: value for name, value in ids.items() if value is not None}

    @property
    def job_id(self) -> JobID | None:
        _deprecated("job_id", "get_job_id()")
        return _id("job_id", JobID)

    @property
    def node_id(self) -> NodeID | None:
        _deprecated("node_id", "get_node_id()")
        return _id("node_id", NodeID)

    @property
    def worker_id(self) -> WorkerID | None:
        _deprecated("worker_id", "get_worker_id()")
        return _id("worker_id", WorkerID)

    @property
    def task_id(self) -> TaskID | None:
        _deprecated("task_id", "get_task_id()")
        return _id("task_id", TaskID)

    @property
    def actor_id(self) -> ActorID | None:
        _deprecated("actor_id", "get_actor_id()")
        return _id("actor_id", ActorID)

    @property
    def current_placement_group_id(self) -> PlacementGroupID | None:
        _deprecated("current_placement_group_id", "get_placement_group_id()")
        return _id("placement_group_id", PlacementGroupID)

    def get_resource_ids(self) -> dict[str, list[str]]:
        _deprecated("get_resource_ids()", "get_accelerator_ids()")
        return self.get_accelerator_ids()


def get_runtime_context() -> RuntimeContext:
    """The context of the driver, task or actor that asks."""
    return RuntimeContext()


def _context() -> Mapping[str, Any]:
    return current.active().runtime_context()


def _hex(name: str) -> str | None:
    value = _context().get(name)
    return value.hex() if value else None


def _id(name: str, kind: type[AnyID]) -> AnyID | None:
    value = _context().get(name)
    return kind(value) if value else None


def _deprecated(old: str, new: str) -> None:
    import warnings

    warnings.warn(f"RuntimeContext.{old} is deprecated: use {new}", DeprecationWarning, stacklevel=3)
