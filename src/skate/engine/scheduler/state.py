"""What all parts of the scheduler share: who is there, what is free, what the time is, and the commands of the event at hand."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from skate.engine.scheduler.clients import Client
from skate.engine.scheduler.config import SchedulerConfig
from skate.engine.scheduler.early_arrivals import EarlyArrivals
from skate.engine.scheduler.node_pool import Allocation, Bundle, NodePool
from skate.engine.scheduler.timers import Timers
from skate.engine.spec.events import Command, Send
from skate.engine.spec.messages import Message

if TYPE_CHECKING:
    from skate.engine.scheduler.actors import Actor
    from skate.engine.scheduler.leases import Lease
    from skate.engine.scheduler.placement_groups import PlacementGroup
    from skate.engine.scheduler.workers import Worker


class State:
    def __init__(self, config: SchedulerConfig) -> None:
        self.config = config
        self.now_s = 0.0
        self.commands: list[Command] = []
        self.nodes = NodePool()
        self.timers = Timers()
        self.early = EarlyArrivals()
        self.clients: dict[int, Client] = {}
        self.workers: dict[int, Worker] = {}  # Every process that has not been reported dead.
        self.leases: dict[int, Lease] = {}  # In the order they were granted.
        self.actors: dict[bytes, Actor] = {}  # Not dead, or a tombstone.
        self.groups: dict[bytes, PlacementGroup] = {}  # Not removed, or a tombstone.
        self.jobs: dict[int, str] = {}  # Of drivers that are here: their namespaces.
        self.freed: dict[bytes, None] = {}  # Domains in which something may now be placed.
        self._client_numbers = count(1)
        self._lease_numbers = count(1)

    def next_client_id(self) -> int:
        return next(self._client_numbers)

    def next_lease_id(self) -> int:
        return next(self._lease_numbers)

    def send(self, client: int, message: Message) -> None:
        if client in self.clients:
            self.commands.append(Send(client, message))

    def give_back(self, allocation: Allocation) -> None:
        """Whoever waits in that domain is served when the event at hand has been handled."""
        pool = allocation.pool
        pool.give_back(allocation)
        self.freed[pool.domain] = None
        if type(pool) is Bundle and pool.is_closed:
            self.close_bundle(pool)

    def close_bundle(self, bundle: Bundle) -> None:
        """Its group was removed: the node gets back what it reserved, once nobody uses it."""
        bundle.is_closed = True
        if bundle.free == bundle.total and bundle.allocation.resources:
            bundle.node.give_back(bundle.allocation)
            bundle.allocation = Allocation(bundle.node, {}, ())
            self.freed[bundle.node.domain] = None

    def driver_of(self, client: Client) -> int:
        """Who reads the notices of a client: people sit at drivers. 0: nobody."""
        return client.number if client.is_driver else client.job
