"""Skate: tasks, actors and an object store on one machine, with the programming model that Ray made popular.

    import skate

    @skate.remote
    def square(x):
        return x * x

    print(skate.get([square.remote(i) for i in range(4)]))  # [0, 1, 4, 9]

Importing it starts nothing; the first `.remote()` does. A program written for Ray's core API runs by `import skate as ray`.
"""

from __future__ import annotations

import sys

if not sys.platform.startswith("linux"):
    raise ImportError(
        f"skate needs Linux (memfd, SOCK_SEQPACKET, pidfd); this is {sys.platform}. On Windows it works inside WSL 2."
    )

TYPE_CHECKING = False  # Importing typing takes 10 ms.
if TYPE_CHECKING:
    from typing import Any

    from skate import (
        actor as actor,
        autoscaler as autoscaler,
        cloudpickle as cloudpickle,
        cluster_utils as cluster_utils,
        dag as dag,
        dashboard as dashboard,
        exceptions as exceptions,
        experimental as experimental,
        metrics as metrics,
        remote_function as remote_function,
        runtime_context as runtime_context,
        runtime_env as runtime_env,
        state as state,
        util as util,
    )
    from skate._ids import (
        ActorClassID as ActorClassID,
        ActorID as ActorID,
        FunctionID as FunctionID,
        JobID as JobID,
        NodeID as NodeID,
        ObjectID as ObjectID,
        PlacementGroupID as PlacementGroupID,
        TaskID as TaskID,
        UniqueID as UniqueID,
        WorkerID as WorkerID,
    )
    from skate.actor import get_actor as get_actor, kill as kill, method as method
    from skate.api import (
        available_resources as available_resources,
        cancel as cancel,
        cluster_resources as cluster_resources,
        get as get,
        get_gpu_ids as get_gpu_ids,
        init as init,
        is_initialized as is_initialized,
        nodes as nodes,
        put as put,
        remote as remote,
        shutdown as shutdown,
        wait as wait,
    )
    from skate.backends.log_records import LoggingConfig as LoggingConfig
    from skate.generator import (
        DynamicObjectRefGenerator as DynamicObjectRefGenerator,
        ObjectRefGenerator as ObjectRefGenerator,
    )
    from skate.object_ref import ObjectRef as ObjectRef
    from skate.progressing import progress as progress
    from skate.reporting import publish as publish, report as report
    from skate.reproduce import recreate_error_locally as recreate_error_locally
    from skate.runtime_context import get_runtime_context as get_runtime_context
    from skate.timeline import timeline as timeline

__version__ = "0.1.0"

__all__ = [
    "ActorClassID", "ActorID", "DynamicObjectRefGenerator", "FunctionID", "JobID", "LoggingConfig", "NodeID", "ObjectID", "ObjectRef",
    "ObjectRefGenerator", "PlacementGroupID", "TaskID", "UniqueID", "WorkerID", "__version__", "actor", "autoscaler", "available_resources", "cancel",
    "cloudpickle", "cluster_resources", "cluster_utils", "dag", "dashboard", "exceptions", "experimental", "get", "get_actor", "get_gpu_ids",
    "get_runtime_context", "init", "is_initialized", "kill", "method", "metrics", "nodes", "progress", "publish", "put", "recreate_error_locally", "remote", "remote_function", "report", "runtime_context",
    "runtime_env", "shutdown", "state", "timeline", "util", "wait",
]  # fmt: skip

_MODULE_OF = {
    "ActorClassID": "_ids", "ActorID": "_ids", "FunctionID": "_ids", "JobID": "_ids", "NodeID": "_ids", "ObjectID": "_ids",
    "PlacementGroupID": "_ids", "TaskID": "_ids", "UniqueID": "_ids", "WorkerID": "_ids",
    "get_actor": "actor", "kill": "actor", "method": "actor",
    "LoggingConfig": "backends.log_records", "available_resources": "api", "cancel": "api", "cluster_resources": "api", "get": "api", "get_gpu_ids": "api",
    "init": "api", "is_initialized": "api", "nodes": "api", "put": "api", "remote": "api", "shutdown": "api", "wait": "api",
    "DynamicObjectRefGenerator": "generator", "ObjectRefGenerator": "generator",
    "ObjectRef": "object_ref",
    "get_runtime_context": "runtime_context",
    "progress": "progressing",
    "recreate_error_locally": "reproduce",
    "publish": "reporting", "report": "reporting",
    "timeline": "timeline",
}  # fmt: skip
_MODULES = frozenset({
    "actor", "autoscaler", "cloudpickle", "cluster_utils", "dag", "dashboard", "exceptions", "experimental", "metrics", "remote_function",
    "runtime_context", "runtime_env", "state", "util",
})  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for. The engine's processes import this package, too, and use none of it."""
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"skate.{name}")
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'skate' has no attribute {name!r}")
    value = getattr(import_module(f"skate.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
