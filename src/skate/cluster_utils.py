"""`Cluster`: several logical nodes in one session, to try on one machine what depends on where work is placed.

```python
cluster = Cluster(head_node_args={"num_cpus": 2})
cluster.add_node(num_cpus=4, resources={"disk": 1})
cluster.connect()                 # instead of skate.init(address=cluster.address)
```

Nodes are added before `connect`: they are parts of one node process, not processes of their own, and none can fail by itself.
"""

from __future__ import annotations

from typing import Any

import skate


class LogicalNode:
    """What `add_node` returns: the node's resources."""

    def __init__(self, resources: dict[str, float]) -> None:
        self.resources = resources


class Cluster:
    """Nodes to be; a session after `connect`.

    Args:
        initialize_head: Add the first node at once.
        connect: Start at once.
        head_node_args: As for `add_node`.
    """

    def __init__(
        self,
        initialize_head: bool = True,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        self._init_options: dict[str, Any] = {}
        self.nodes: list[LogicalNode] = []
        self.connected = False
        if initialize_head or head_node_args:
            self.add_node(**(head_node_args or {}))
        if connect:
            self.connect()

    @property
    def address(self) -> str:
        return "local"

    def add_node(
        self,
        wait: bool = True,
        *,
        num_cpus: float = 1,
        num_gpus: float = 0,
        resources: dict[str, float] | None = None,
        memory: float | None = None,
        **head_options: Any,
    ) -> LogicalNode:
        """Add a node with these resources.

        The first one may have the other options of `skate.init`, such as `object_store_memory`.
        """
        if self.connected:
            raise RuntimeError("nodes have to be added before connect(): a running session cannot grow")
        amounts: dict[str, float] = {"CPU": num_cpus, **(resources or {})}
        if num_gpus:
            amounts["GPU"] = num_gpus
        if memory is not None:
            amounts["memory"] = memory
        if not self.nodes:
            self._init_options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "resources": dict(resources or {}), **head_options}
        node = LogicalNode(amounts)
        self.nodes.append(node)
        return node

    def connect(self, namespace: str | None = None, **init_options: Any) -> Any:
        """Start the session with these nodes. Arguments go to `skate.init`."""
        if not self.nodes:
            raise RuntimeError("a cluster needs a node: call add_node() first")
        options = {**self._init_options, **init_options}
        if namespace is not None:
            options["namespace"] = namespace
        context = skate.init(_extra_nodes=[node.resources for node in self.nodes[1:]], **options)
        self.connected = True
        return context

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Nothing to wait for: all nodes start with the session."""

    def list_all_nodes(self) -> list[LogicalNode]:
        return list(self.nodes)

    def remove_node(self, node: LogicalNode, allow_graceful: bool = True) -> None:
        """Before `connect` only."""
        if self.connected:
            raise RuntimeError("logical nodes cannot be removed from a running session")
        self.nodes.remove(node)

    def shutdown(self) -> None:
        skate.shutdown()
        self.nodes.clear()
        self.connected = False
