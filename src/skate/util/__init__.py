"""What stands on the public API and is useful everywhere, where Ray users look for it.

Names are resolved when they are first used: `import skate` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# At once: importing the module later would put it over the function of the same name.
from skate.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

if TYPE_CHECKING:
    from skate.util import (
        accelerators,
        collective,
        iter,
        metrics,
        multiprocessing,
        pdb,
        queue,
        rpdb,
        scheduling_strategies,
        state,
    )
    from skate.util.actor_group import ActorGroup
    from skate.util.actor_pool import ActorPool
    from skate.util.check_serialize import inspect_serializability
    from skate.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
    from skate.util.helpers import as_completed, map_unordered
    from skate.util.named_actors import list_named_actors
    from skate.util.network import get_node_ip_address
    from skate.util.serialization import deregister_serializer, register_serializer

_MODULES = {
    "ActorGroup": "actor_group",
    "ActorPool": "actor_pool",
    "as_completed": "helpers",
    "deregister_serializer": "serialization",
    "disable_log_once_globally": "debug",
    "enable_periodic_logging": "debug",
    "get_node_ip_address": "network",
    "inspect_serializability": "check_serialize",
    "list_named_actors": "named_actors",
    "log_once": "debug",
    "map_unordered": "helpers",
    "register_serializer": "serialization",
}
_SUBMODULES = frozenset(
    {"accelerators", "collective", "iter", "metrics", "multiprocessing", "pdb", "queue", "rpdb", "scheduling_strategies", "state"}
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = getattr(import_module(f"skate.util.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return import_module(f"skate.util.{name}")
    raise AttributeError(f"module 'skate.util' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_SUBMODULES})


__all__ = [
    "ActorGroup",
    "ActorPool",
    "accelerators",
    "as_completed",
    "collective",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "iter",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "metrics",
    "multiprocessing",
    "pdb",
    "placement_group",
    "placement_group_table",
    "queue",
    "register_serializer",
    "remove_placement_group",
    "rpdb",
    "scheduling_strategies",
    "state",
]
