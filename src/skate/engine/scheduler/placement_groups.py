"""Placement groups: bundles of resources reserved together, all or none.

    CreatePlacementGroup ──► pending ──► created ──► removed
                                └────────────────────┘
A created group is a domain of its own: who runs in it takes from its bundles, not from the nodes. It ends by RemovePlacementGroup, or
with its job unless it is detached; then what runs in it is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from skate.engine.scheduler.clients import Client
from skate.engine.scheduler.names import Names
from skate.engine.scheduler.node_pool import OPEN, Bundle, Node, ResourcePool
from skate.engine.scheduler.serving import Serving
from skate.engine.scheduler.state import State
from skate.engine.scheduler.tombstones import Tombstones
from skate.engine.scheduler.workers import WorkerPool
from skate.engine.spec.ids import owner_of
from skate.engine.spec.messages import (
    CreatePlacementGroup,
    GetPlacementGroup,
    PlacementGroupReply,
    PlacementGroupUpdate,
    RemovePlacementGroup,
)
from skate.engine.spec.resources import Resources

_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_GONE = "this placement group is not known: it was removed long ago, or never created"


class PlacementGroup:
    __slots__ = (
        "bundles", "detached", "hold_not_before_s", "hold_s", "id", "is_removed", "is_told_infeasible", "job", "name_key", "since_s",
        "specs", "strategy", "watchers",
    )  # fmt: skip

    def __init__(self, message: CreatePlacementGroup, job: int, since_s: float) -> None:
        self.id = message.group
        self.specs: list[Resources] = [{name: amount for name, amount in bundle.items() if amount} for bundle in message.bundles]
        self.strategy = message.strategy if message.strategy in _STRATEGIES else "PACK"
        self.name_key = (message.namespace, message.name) if message.name else None
        self.detached = message.detached
        self.job = job
        self.since_s = since_s
        self.bundles: list[Bundle | None] = [None] * len(self.specs)  # None: not reserved (yet, or its node died).
        self.is_removed = False
        self.is_told_infeasible = False
        self.hold_s = 0.0  # See `turns`.
        self.hold_not_before_s = 0.0
        self.watchers: dict[int, None] = {}

    @property
    def is_created(self) -> bool:
        return not self.is_removed and None not in self.bundles

    @property
    def state(self) -> str:
        if self.is_removed:
            return "REMOVED"
        return "CREATED" if self.is_created else "PENDING"

    def bundles_for(self, index: int) -> Sequence[Bundle]:
        """Reserved bundles that a request with this index may use."""
        chosen = self.bundles if index < 0 else self.bundles[index : index + 1]
        return [bundle for bundle in chosen if bundle is not None]


class PlacementGroups:
    def __init__(self, state: State, workers: WorkerPool, serving: Serving) -> None:
        self._state = state
        self._workers = workers
        self._serving = serving
        self._names: Names[PlacementGroup] = Names()
        self._tombstones = Tombstones(state.groups, state.config.tombstones_max)
        self._living: dict[bytes, PlacementGroup] = {}
        self._pending: dict[bytes, PlacementGroup] = {}
        self.on_removed: Callable[[bytes], None]  # Set by the scheduler: actors in the group die.

    def pending(self) -> list[PlacementGroup]:
        return list(self._pending.values())

    # ------------------------------------------------------------ messages

    def on_create(self, client: Client, message: CreatePlacementGroup) -> None:
        """Reserve. Sent again, or by another client, it asks for the state: by `PlacementGroupUpdate`, now and later."""
        state = self._state
        group = state.groups.get(message.group)
        if group is None and owner_of(message.group) != client.number:
            if state.early.is_early(message.group, state.clients):
                state.early.keep(message.group, client.number, message)
            else:
                state.send(client.number, PlacementGroupUpdate(message.group, "REMOVED", _GONE))
            return
        if group is not None:
            group.watchers[client.number] = None
            if group.state != "PENDING":
                state.send(client.number, PlacementGroupUpdate(group.id, group.state, ""))
            return
        problem = self._problem(message)
        if problem:
            state.send(client.number, PlacementGroupUpdate(message.group, "REMOVED", problem))
            return
        group = state.groups[message.group] = self._living[message.group] = PlacementGroup(message, client.job, state.now_s)
        group.watchers[client.number] = None
        if group.name_key is not None:
            self._names.take(group.name_key, group)
        if not self._reserve(group):
            self._wait(group)

    def _problem(self, message: CreatePlacementGroup) -> str:
        if any(min(bundle.values(), default=0) < 0 for bundle in message.bundles):
            return f"its bundles have negative amounts: {message.bundles}"
        if message.name and self._names.get((message.namespace, message.name)) is not None:
            return (
                f"the name {message.name!r} is taken by another placement group: choose another, or use get_placement_group(name)"
            )
        return ""

    def on_get(self, client: Client, message: GetPlacementGroup) -> None:
        group = self._names.get((message.namespace, message.name))
        if group is None:
            self._state.send(client.number, PlacementGroupReply(message.request, b"", [], ""))
            return
        group.watchers[client.number] = None
        self._state.send(client.number, PlacementGroupReply(message.request, group.id, group.specs, group.strategy))
        if group.is_created:
            self._state.send(client.number, PlacementGroupUpdate(group.id, "CREATED", ""))

    def on_remove(self, client: Client, message: RemovePlacementGroup) -> None:
        group = self._state.groups.get(message.group)
        if group is not None:
            self.remove(group, "it was removed with remove_placement_group")
        elif self._state.early.is_early(message.group, self._state.clients):
            self._state.early.keep(message.group, client.number, message)

    # ------------------------------------------------------------ reserving

    def reserve_pending(self) -> None:
        """Something was freed: the groups that wait come first, in their order."""
        for group in self.pending():
            if self._reserve(group):
                del self._pending[group.id]
                line = self._serving.line(OPEN)
                if line.held_for is group:
                    line.held_for = None
                group.hold_s = group.hold_not_before_s = 0.0

    def _wait(self, group: PlacementGroup) -> None:
        self._pending[group.id] = group
        self._serving.wait_for_group()

    def _reserve(self, group: PlacementGroup) -> bool:
        nodes = self._state.nodes.alive
        places = self._plan(group, {node.id: node.copy_free() for node in nodes})
        if places is None:
            return False
        for index, node in places:
            group.bundles[index] = Bundle(group.id, index, node, node.take(group.specs[index]))
        for watcher in group.watchers:
            self._state.send(watcher, PlacementGroupUpdate(group.id, "CREATED", ""))
        self._state.freed[group.id] = None
        return True

    def is_feasible(self, group: PlacementGroup) -> bool:
        """Whether it could be reserved on an empty machine."""
        return (
            self._plan(group, {node.id: node.empty_copy() for node in self._state.nodes.alive}, ignores_reserved=True) is not None
        )

    def _plan(
        self, group: PlacementGroup, pools: dict[bytes, ResourcePool], *, ignores_reserved: bool = False
    ) -> list[tuple[int, Node]] | None:
        """(bundle, node) for each bundle that is not reserved, or None. Takes from the copies in `pools`."""
        nodes = self._state.nodes.alive
        missing = [index for index, bundle in enumerate(group.bundles) if bundle is None or ignores_reserved]
        used = [] if ignores_reserved else [bundle.node.id for bundle in group.bundles if bundle is not None]
        if group.strategy in ("PACK", "STRICT_PACK"):
            for node in nodes:
                if group.strategy == "STRICT_PACK" and used and node.id not in used:
                    continue
                trial = pools[node.id].copy_free()
                if all(_take_if_fits(trial, group.specs[index]) for index in missing):
                    return [(index, node) for index in missing]
            if group.strategy == "STRICT_PACK":
                return None
        counts = {node.id: used.count(node.id) for node in nodes}
        places: list[tuple[int, Node]] = []
        # The most demanding first: it has the fewest nodes to go to.
        for index in sorted(missing, key=lambda index: sum(pools[node.id].fits(group.specs[index]) for node in nodes)):
            fitting = [node for node in nodes if pools[node.id].fits(group.specs[index])]
            if group.strategy == "STRICT_SPREAD":
                fitting = [node for node in fitting if not counts[node.id]]
            if not fitting:
                return None
            if group.strategy == "PACK":
                node = max(fitting, key=lambda node: counts[node.id])
            else:
                node = min(fitting, key=lambda node: counts[node.id])
            counts[node.id] += 1
            pools[node.id].take(group.specs[index])
            places.append((index, node))
        return places

    # ------------------------------------------------------------ end

    def remove(self, group: PlacementGroup, reason: str) -> None:
        if group.is_removed:
            return
        state = self._state
        group.is_removed = True
        self._pending.pop(group.id, None)
        self._living.pop(group.id, None)
        self._names.free(group.name_key, group)
        text = f"placement group {group.id.hex()} is gone: {reason}"
        self._serving.refuse_line(group.id, "placement_group_removed", text)
        for worker in list(state.workers.values()):
            if worker.allocation is not None and worker.allocation.pool.domain == group.id:
                self._workers.stop(worker, "kill", text, "placement_group_removed")
        self.on_removed(group.id)
        for bundle in group.bundles:
            if bundle is not None:
                state.close_bundle(bundle)
        for watcher in group.watchers:
            state.send(watcher, PlacementGroupUpdate(group.id, "REMOVED", reason))
        group.watchers = {}
        line = self._serving.line(OPEN)
        if line.held_for is group:
            line.held_for = None
        state.freed[OPEN] = None
        self._tombstones.add(group.id)

    def on_job_ended(self, job: int) -> None:
        for group in list(self._living.values()):
            if group.job == job and not group.detached:
                self.remove(group, "the program that created it has ended")

    def on_client_gone(self, client: Client) -> None:
        for group in self._living.values():
            group.watchers.pop(client.number, None)

    def on_node_removed(self, node: Node) -> None:
        """Reserve what it had elsewhere."""
        for group in list(self._living.values()):
            if all(bundle is None or bundle.node is not node for bundle in group.bundles):
                continue
            group.bundles = [None if bundle is not None and bundle.node is node else bundle for bundle in group.bundles]
            if not self._reserve(group):
                self._wait(group)


def _take_if_fits(pool: ResourcePool, need: Resources) -> bool:
    if not pool.fits(need):
        return False
    pool.take(need)
    return True
