"""Nodes, and what is free on them. Amounts are whole units (1 CPU is 10,000, see `spec/resources.py`).

    total = free + what workers hold directly + what bundles reserve        for every node and resource
    total = free + what workers hold                                        for every bundle of a placement group

A GPU is more than an amount: it has a number, and a share of one must come from a single GPU. So `gpu_free` keeps each GPU's free
units: half a GPU goes to the first one with enough room, whole ones only to GPUs nobody uses.
`free["CPU"]` may fall below zero when a worker that lent its CPU while it was blocked takes it back.
"""

from __future__ import annotations

from collections.abc import Iterator

from skate.engine.spec.resources import UNITS, Resources

CPU = "CPU"
GPU = "GPU"
OPEN = b""  # The domain of whatever is outside all placement groups. A placement group's domain is its id.

GpuShares = tuple[tuple[int, int], ...]  # (GPU number, units)


class Allocation:
    """What one worker, or one bundle, holds of a pool."""

    __slots__ = ("gpu_shares", "is_cpu_lent", "pool", "resources")

    def __init__(self, pool: ResourcePool, resources: Resources, gpu_shares: GpuShares) -> None:
        self.pool = pool
        self.resources = resources
        self.gpu_shares = gpu_shares
        self.is_cpu_lent = False

    @property
    def gpu_ids(self) -> tuple[int, ...]:
        return tuple(number for number, _ in self.gpu_shares) if self.gpu_shares else ()

    def held(self, name: str) -> int:
        """Units held right now: a lent CPU is not."""
        return 0 if self.is_cpu_lent and name == CPU else self.resources.get(name, 0)


class ResourcePool:
    """Amounts that can be taken and given back: a node, or a bundle of a placement group."""

    __slots__ = ("domain", "free", "gpu_free", "total")

    def __init__(self, total: Resources, gpus: dict[int, int]) -> None:
        self.domain = OPEN
        self.total = dict(total)
        self.free = dict(total)
        self.gpu_free = dict(gpus)

    def fits(self, need: Resources) -> bool:
        free = self.free
        for name, amount in need.items():
            if free.get(name, 0) < amount:
                return False
        return GPU not in need or self._choose_gpus(need[GPU]) is not None

    def take(self, need: Resources) -> Allocation:
        """Take what `fits` said is there."""
        free = self.free
        for name, amount in need.items():
            free[name] = free.get(name, 0) - amount
        if GPU not in need:
            return Allocation(self, need, ())
        shares = self._choose_gpus(need[GPU])
        assert shares is not None, "take() without fits()"
        for number, units in shares:
            self.gpu_free[number] -= units
        return Allocation(self, need, shares)

    def give_back(self, allocation: Allocation) -> None:
        free = self.free
        for name, amount in allocation.resources.items():
            if not (allocation.is_cpu_lent and name == CPU):
                free[name] += amount
        for number, units in allocation.gpu_shares:
            self.gpu_free[number] += units

    def lend_cpu(self, allocation: Allocation) -> None:
        """A blocked worker does not use its CPU: let others have it."""
        allocation.is_cpu_lent = True
        self.free[CPU] = self.free.get(CPU, 0) + allocation.resources.get(CPU, 0)

    def reclaim_cpu(self, allocation: Allocation) -> None:
        """It goes on. Its CPU may be in use by then: free falls below zero, and nothing new starts until it is back."""
        allocation.is_cpu_lent = False
        self.free[CPU] = self.free.get(CPU, 0) - allocation.resources.get(CPU, 0)

    def copy_free(self) -> ResourcePool:
        """A pool to try things on, with what is free here."""
        return ResourcePool(self.free, self.gpu_free)

    def _choose_gpus(self, units: int) -> GpuShares | None:
        if units < UNITS:
            for number, free in self.gpu_free.items():
                if free >= units:
                    return ((number, units),)
            return None
        whole = [number for number, free in self.gpu_free.items() if free >= UNITS][: units // UNITS]
        return tuple((number, UNITS) for number in whole) if len(whole) == units // UNITS else None


class Node(ResourcePool):
    """One machine, or one logical node of it (for tests)."""

    __slots__ = ("id", "idle", "is_alive", "is_reaper_set", "labels", "spread_turn", "workers_idle_max")

    def __init__(self, node_id: bytes, total: Resources, labels: dict[str, str], workers_idle_max: int) -> None:
        super().__init__(total, _gpu_slots(total.get(GPU, 0)))
        self.id = node_id
        self.labels = labels
        self.is_alive = True
        self.idle: dict[int, None] = {}  # Idle workers, the longest idle first.
        self.is_reaper_set = False
        self.spread_turn = 0  # When SPREAD chose it last.
        self.workers_idle_max = workers_idle_max

    def empty_copy(self) -> ResourcePool:
        """A pool to try things on, with all that this node has."""
        return ResourcePool(self.total, _gpu_slots(self.total.get(GPU, 0)))

    def can_ever_fit(self, need: Resources) -> bool:
        return self.empty_copy().fits(need)

    def utilisation(self) -> float:
        """Of the scarcest resource, 0 to 1 (above 1 while lent CPUs are used twice)."""
        used = 0.0
        for name, total in self.total.items():
            if total:
                used = max(used, 1 - self.free[name] / total)
        return used


class Bundle(ResourcePool):
    """What a placement group reserves on one node: a pool of its own for whoever runs in the group."""

    __slots__ = ("allocation", "index", "is_closed", "node")

    def __init__(self, domain: bytes, index: int, node: Node, allocation: Allocation) -> None:
        super().__init__(allocation.resources, dict(allocation.gpu_shares))
        self.domain = domain
        self.index = index
        self.node = node
        self.allocation = allocation
        self.is_closed = False  # Its group was removed: the node gets it back when nobody uses it any more.


def node_of(pool: ResourcePool) -> Node:
    if isinstance(pool, Node):
        return pool
    assert isinstance(pool, Bundle)
    return pool.node


class NodePool:
    """All nodes, in the order they joined."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, Node] = {}
        self.alive: list[Node] = []
        self.epoch = 0  # Grows with every change of membership: tells what was computed from the old one.

    def add(self, node: Node) -> None:
        self._nodes[node.id] = node
        self.alive.append(node)
        self.epoch += 1

    def remove(self, node_id: bytes) -> Node | None:
        node = self._nodes.pop(node_id, None)
        if node is not None:
            node.is_alive = False
            self.alive.remove(node)
            self.epoch += 1
        return node

    def get(self, node_id: bytes) -> Node | None:
        return self._nodes.get(node_id)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.alive)

    def __len__(self) -> int:
        return len(self.alive)

    def total(self) -> Resources:
        return _sum(node.total for node in self.alive)

    def free(self) -> Resources:
        return _sum(node.free for node in self.alive)


def _sum(amounts: Iterator[Resources]) -> Resources:
    result: Resources = {}
    for one in amounts:
        for name, amount in one.items():
            result[name] = result.get(name, 0) + amount
    return result


def _gpu_slots(units: int) -> dict[int, int]:
    slots = dict.fromkeys(range(units // UNITS), UNITS)
    if units % UNITS:
        slots[len(slots)] = units % UNITS
    return slots
