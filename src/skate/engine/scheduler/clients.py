"""Clients as the scheduler knows them: drivers, observers and workers. Data only.

A worker is a client too: its tasks ask for leases, create actors and groups. What a client owns ends with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skate.engine.scheduler.actors import Actor
    from skate.engine.scheduler.leases import Lease
    from skate.engine.scheduler.waiting import Request

DRIVER, WORKER, OBSERVER = "driver", "worker", "observer"


class Client:
    __slots__ = (
        "actors",
        "env",
        "is_driver",
        "job",
        "kind",
        "leases",
        "namespace",
        "newest_counter",
        "number",
        "requests",
        "watched",
    )

    def __init__(self, number: int, kind: str, job: int, namespace: str, env: str) -> None:
        self.number = number
        self.kind = kind
        self.is_driver = kind == DRIVER
        self.job = job
        self.namespace = namespace
        self.env = env
        self.newest_counter = 0  # Of the ids of actors and groups it has created: see `early_arrivals`.
        self.requests: dict[int, Request] = {}  # Lease requests without an answer.
        self.leases: dict[int, Lease] = {}  # That it holds.
        self.actors: dict[bytes, Actor] = {}  # That it created and that are not dead.
        self.watched: dict[bytes, Actor] = {}  # Actors whose changes of state it is told.

    def owns_something(self) -> bool:
        """Something would be lost if it ended now."""
        return bool(self.leases or self.requests or self.actors)
