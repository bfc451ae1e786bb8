"""Skate: tasks, actors and an object store on one machine, with the programming model that Ray made popular.

    import skate

    @skate.remote
    def square(x):
        return x * x

    print(skate.get([square.remote(i) for i in range(4)]))  # [0, 1, 4, 9]

Importing it starts nothing; the first `.remote()` does. A program written for Ray's core API runs by `import skate as ray`.
"""

import sys
from typing import TYPE_CHECKING, Any

if not sys.platform.startswith("linux"):
    raise ImportError(
        f"skate needs Linux (memfd, SOCK_SEQPACKET, pidfd); this is {sys.platform}. On Windows it works inside WSL 2."
    )

from skate.actor import get_actor, kill, method
from skate.api import (
    available_resources,
    cancel,
    cluster_resources,
    get,
    get_gpu_ids,
    init,
    is_initialized,
    nodes,
    put,
    remote,
    shutdown,
    wait,
)
from skate.generator import DynamicObjectRefGenerator, ObjectRefGenerator
from skate.object_ref import ObjectRef

if TYPE_CHECKING:
    from skate import (
        actor as actor,
        cloudpickle as cloudpickle,
        cluster_utils as cluster_utils,
        dag as dag,
        exceptions as exceptions,
        experimental as experimental,
        metrics as metrics,
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
    from skate.api import LoggingConfig as LoggingConfig
    from skate.runtime_context import get_runtime_context as get_runtime_context
    from skate.timeline import timeline as timeline

__version__ = "0.1.0"

__all__ = [
    "ActorClassID", "ActorID", "DynamicObjectRefGenerator", "FunctionID", "JobID", "LoggingConfig", "NodeID", "ObjectID", "ObjectRef",
    "ObjectRefGenerator", "PlacementGroupID", "TaskID", "UniqueID", "WorkerID", "__version__", "actor", "available_resources", "cancel",
    "cloudpickle", "cluster_resources", "cluster_utils", "dag", "exceptions", "experimental", "get", "get_actor", "get_gpu_ids",
    "get_runtime_context", "init", "is_initialized", "kill", "method", "metrics", "nodes", "put", "remote", "runtime_context", "runtime_env",
    "shutdown", "state", "timeline", "util", "wait",
]  # fmt: skip

_LAZY = {  # Name → module it is in; the module itself where the two are the same.
    "ActorClassID": "_ids", "ActorID": "_ids", "FunctionID": "_ids", "JobID": "_ids", "NodeID": "_ids", "ObjectID": "_ids",
    "PlacementGroupID": "_ids", "TaskID": "_ids", "UniqueID": "_ids", "WorkerID": "_ids",
    "LoggingConfig": "api",
    "get_runtime_context": "runtime_context",
    "timeline": "timeline",
}  # fmt: skip
_MODULES = frozenset({
    "cloudpickle", "cluster_utils", "dag", "exceptions", "experimental", "metrics", "runtime_context", "runtime_env", "state", "util",
})  # fmt: skip


def __getattr__(name: str) -> Any:
    """What a program may never use is imported when it is asked for: `import skate` stays quick."""
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"skate.{name}")
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'skate' has no attribute {name!r}")
    value = getattr(import_module(f"skate.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
