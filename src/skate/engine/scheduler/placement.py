"""Where a request goes: a node, or a bundle of its placement group. Looks, and takes nothing."""

from __future__ import annotations

from skate.engine.scheduler.labels import labels_match
from skate.engine.scheduler.node_pool import OPEN, Node, ResourcePool
from skate.engine.scheduler.state import State
from skate.engine.scheduler.waiting import Shape


def choose_pool(state: State, shape: Shape) -> ResourcePool | None:
    """A pool with room for one request of this shape now; None: it waits."""
    need = shape.need
    if shape.domain:
        group = state.groups.get(shape.domain)
        if group is not None and group.is_created:
            for bundle in group.bundles_for(shape.bundle):
                if bundle.node.is_alive and bundle.fits(need):
                    return bundle
        return None
    nodes = state.nodes.alive
    if len(nodes) == 1 and not shape.node and not shape.labels:
        return nodes[0] if nodes[0].fits(need) else None
    fitting = [node for node in candidates(state, shape) if node.fits(need)]
    if not fitting:
        return None
    if shape.strategy == "SPREAD":
        return min(fitting, key=lambda node: node.spread_turn)
    # Pack until a node is half full, then level out, as Ray does.
    for node in fitting:
        if node.utilisation() < state.config.pack_threshold:
            return node
    return min(fitting, key=Node.utilisation)


def candidates(state: State, shape: Shape) -> list[Node]:
    """Nodes that may ever run it, going by its affinity and labels; amounts are not looked at."""
    if shape.node:
        node = state.nodes.get(shape.node)
        if node is not None and (not shape.soft or node.can_ever_fit(shape.need)):
            return [node]
        if not shape.soft:
            return []
    if shape.labels:
        return [node for node in state.nodes.alive if labels_match(shape.labels, node.labels)]
    return state.nodes.alive


def is_feasible(state: State, shape: Shape) -> bool:
    """Whether it fits on an empty machine."""
    if shape.epoch != state.nodes.epoch:
        shape.epoch = state.nodes.epoch
        if shape.domain == OPEN:
            shape.is_feasible = any(node.can_ever_fit(shape.need) for node in candidates(state, shape))
        else:
            shape.is_feasible = True  # Requests that no bundle can hold are refused at once.
    return shape.is_feasible


def why_never(state: State, shape: Shape) -> str:
    """Why a request can never be placed, however long it waits; "": it may wait."""
    if shape.domain:
        group = state.groups.get(shape.domain)
        if group is None:
            return ""
        bundles = group.specs
        if shape.bundle >= len(bundles):
            return f"bundle {shape.bundle} of its placement group does not exist: the group has {len(bundles)} bundles, counted from 0"
        if shape.bundle >= 0:
            bundles = [bundles[shape.bundle]]
        if not any(all(bundle.get(name, 0) >= amount for name, amount in shape.need.items()) for bundle in bundles):
            return "it needs more than any bundle of its placement group reserves: make the bundle larger, or ask for less (num_cpus is 1 by default)"
        return ""
    if shape.node and not shape.soft and state.nodes.get(shape.node) is None:
        return (
            f"node {shape.node.hex()}, which its NodeAffinitySchedulingStrategy names, does not exist or has died: "
            "use soft=True to let it run elsewhere"
        )
    return ""
