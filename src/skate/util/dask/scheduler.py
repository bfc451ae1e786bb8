"""A dask scheduler function: each node of the graph becomes a task, its edges become refs. dask is imported when it is used.

Nodes are submitted in dask's own order, which keeps few intermediate results alive; a ref is dropped as soon as its last
dependant is submitted. Needs dask ≥ 2024.12, whose graphs consist of `GraphNode`s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import skate


def skate_dask_get(dsk: Any, keys: Any, **options: Any) -> Any:
    """Compute `keys` of the graph `dsk`: what `dask.compute(scheduler=…)` calls.

    Args:
        options: `ray_persist=True` returns refs instead of values; `ray_remote_args`: options of the tasks. The rest is dask's
        and ignored.
    """
    import dask.order
    from dask._task_spec import Alias, DataNode, convert_legacy_graph

    remote_options = dict(options.pop("ray_remote_args", None) or {})
    if hasattr(dsk, "__dask_graph__"):  # An expression, in newer versions.
        dsk = dsk.__dask_graph__()
    graph = convert_legacy_graph(dict(dsk))
    wanted = set(_flat(keys))
    priorities = dask.order.order(graph)
    uses = Counter(dependency for node in graph.values() for dependency in node.dependencies)
    refs: dict[Any, Any] = {}
    run = skate.remote(_run_node)
    for key in sorted(graph, key=priorities.__getitem__):
        node = graph[key]
        dependencies = sorted(node.dependencies, key=str)
        if isinstance(node, Alias):
            refs[key] = refs[node.target]
        elif isinstance(node, DataNode):
            refs[key] = skate.put(node.value)
        else:
            inputs = [refs[dependency] for dependency in dependencies]
            refs[key] = run.options(name=f"dask:{_shown(key)}", **remote_options).remote(node, dependencies, *inputs)
        for dependency in dependencies:
            uses[dependency] -= 1
            if not uses[dependency] and dependency not in wanted:
                del refs[dependency]
    if options.get("ray_persist"):
        return _pack(keys, refs)
    ordered = list(wanted)
    return _pack(keys, dict(zip(ordered, skate.get([refs[key] for key in ordered]), strict=True)))


def skate_dask_get_sync(dsk: Any, keys: Any, **_options: Any) -> Any:
    """Compute in this process, to look for a mistake in the graph."""
    from dask.local import get_sync

    return get_sync(dsk, keys)


def enable_dask_on_skate(shuffle: str | None = "tasks", use_shuffle_optimization: bool = True) -> Any:
    """Make Skate dask's scheduler. The result may be used as a context manager that undoes it.

    Args:
        shuffle: How dask.dataframe moves rows between partitions; "tasks" goes through the object store.
        use_shuffle_optimization: Accepted for Ray's sake; refs make it unnecessary.
    """
    import dask

    settings: dict[str, Any] = {"scheduler": skate_dask_get}
    if shuffle is not None:
        settings["dataframe.shuffle.method"] = shuffle
    return dask.config.set(settings)


def disable_dask_on_skate() -> Any:
    """Go back to dask's own schedulers."""
    import dask

    return dask.config.set({"scheduler": None, "dataframe.shuffle.method": None})


ray_dask_get = skate_dask_get
ray_dask_get_sync = skate_dask_get_sync
enable_dask_on_ray = enable_dask_on_skate
disable_dask_on_ray = disable_dask_on_skate


def _run_node(node: Any, dependencies: list[Any], *inputs: Any) -> Any:
    return node(dict(zip(dependencies, inputs, strict=True)))


def _flat(keys: Any) -> list[Any]:
    """dask nests keys in lists; a tuple is a key."""
    if isinstance(keys, list):
        return [key for part in keys for key in _flat(part)]
    return [keys]


def _pack(keys: Any, values: Mapping[Any, Any]) -> Any:
    if isinstance(keys, list):
        return tuple(_pack(part, values) for part in keys)
    return values[keys]


def _shown(key: Any) -> str:
    return str(key[0] if isinstance(key, tuple) else key)
