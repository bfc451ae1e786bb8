"""Who waits for resources, and in which order they get them.

    Line (of one domain) ── Shape (same needs, environment, placement) ── per client: requests, first come first served

Requests of one shape fit or do not fit together, so one look decides about all of them: 10,000 queued requests cost one look per event. Shapes
take turns, and within a shape clients take turns. A request is a lease's, or an actor's that waits to be placed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from skate.engine.scheduler.clients import Client
from skate.engine.spec.resources import Resources

if TYPE_CHECKING:
    from skate.engine.scheduler.actors import Actor

ShapeKey = tuple[object, ...]


class Request:
    """One worker wanted."""

    __slots__ = ("actor", "captures", "client", "is_retriable", "name", "number", "shape", "since_s")

    def __init__(
        self,
        client: Client,
        number: int,
        shape: Shape,
        name: str,
        since_s: float,
        actor: Actor | None,
        *,
        captures: bool,
        is_retriable: bool = True,
    ) -> None:
        self.client = client
        self.number = number  # The client's number of a lease request; 0 for an actor.
        self.shape = shape
        self.name = name
        self.since_s = since_s
        self.actor = actor
        self.captures = captures  # Child tasks stay in the placement group.
        self.is_retriable = is_retriable

    @property
    def key(self) -> int | bytes:
        return self.number if self.actor is None else self.actor.id


class Shape:
    """What requests that fit or do not fit together have in common."""

    __slots__ = (
        "bundle", "by_client", "count", "domain", "env", "epoch", "held", "hold_not_before_s", "hold_s", "is_feasible", "job", "key", "labels", "need", "node", "notified",
        "soft", "strategy",
    )  # fmt: skip

    def __init__(
        self, key: ShapeKey, domain: bytes, need: Resources, job: int, env: str, strategy: str, bundle: int, node: bytes,
        labels: dict[str, str], *, soft: bool,
    ) -> None:  # fmt: skip
        self.key = key
        self.domain = domain  # OPEN, or the placement group's id.
        self.need = need
        self.job = job
        self.env = env
        self.strategy = strategy
        self.bundle = bundle
        self.node = node
        self.labels = labels
        self.soft = soft
        self.by_client: OrderedDict[int, OrderedDict[int | bytes, Request]] = OrderedDict()  # In the order of turns.
        self.count = 0
        self.epoch = -1  # Of the node pool, when `is_feasible` was found out.
        self.is_feasible = True
        self.held: dict[int, int] = {}  # client → its leases of this shape, without those that have lent their CPU.
        self.hold_s = 0.0  # How long others were last held back for it: see `turns`.
        self.hold_not_before_s = 0.0
        self.notified: set[tuple[int, str]] = set()  # (client, which notice)

    def count_held(self, client: int, change: int) -> None:
        held = self.held.get(client, 0) + change
        if held:
            self.held[client] = held
        else:
            self.held.pop(client, None)


class Line:
    """All that waits in one domain."""

    __slots__ = ("domain", "held_for", "held_names", "held_until_s", "looked_s", "shapes", "turn_timer_s")

    def __init__(self, domain: bytes) -> None:
        self.domain = domain
        self.shapes: OrderedDict[ShapeKey, Shape] = OrderedDict()  # Those with requests, in the order of turns.
        self.held_for: object = None  # The shape or group that resources are being gathered for.
        self.held_names: frozenset[str] = frozenset()
        self.held_until_s = 0.0
        self.looked_s = -1e9  # When `turns` looked at it last.
        self.turn_timer_s = 0.0  # When somebody's turn ends; 0: no timer is set.

    def add(self, request: Request) -> None:
        shape = request.shape
        if not shape.count:
            self.shapes[shape.key] = shape
        of_client = shape.by_client.get(request.client.number)
        if of_client is None:
            of_client = shape.by_client[request.client.number] = OrderedDict()
        key = request.key
        if key not in of_client:
            shape.count += 1
        of_client[key] = request

    def remove(self, request: Request) -> bool:
        shape = request.shape
        client = request.client.number
        of_client = shape.by_client.get(client)
        if of_client is None or of_client.pop(request.key, None) is None:
            return False
        shape.count -= 1
        if self.held_for is shape and not shape.count:
            self.held_for = None
        if not of_client:
            del shape.by_client[client]
        if not shape.count:
            self.shapes.pop(shape.key, None)
        return True

    def take_turn(self, request: Request) -> None:
        """It is served: its client and its shape go to the end of their rows."""
        shape = request.shape
        self.remove(request)
        if self.held_for is shape:
            self.held_for = None
        shape.hold_s = shape.hold_not_before_s = 0.0
        if request.client.number in shape.by_client:
            shape.by_client.move_to_end(request.client.number)
        if shape.count:
            self.shapes.move_to_end(shape.key)

    def requests(self) -> list[Request]:
        return [r for shape in self.shapes.values() for of_client in shape.by_client.values() for r in of_client.values()]

    def __bool__(self) -> bool:
        return bool(self.shapes)
