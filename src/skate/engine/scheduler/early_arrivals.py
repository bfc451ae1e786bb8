"""Messages about an actor or placement group that overtook the message which creates it.

A handle can travel from its creator to another process by a direct channel, and the other one's message about it may reach the node
first: different sockets have no common order. Such a message is kept here and handled again once its subject exists, or its creator
is gone. An id tells its creator and a counter that grows: one below the creator's newest is not early, it is forgotten (`is_early`).
"""

from __future__ import annotations

from skate.engine.scheduler.clients import Client
from skate.engine.spec.events import Event
from skate.engine.spec.ids import owner_of
from skate.engine.spec.messages import CreateActor, Message

Arrival = tuple[int, Event | Message]  # (client that sent it, what it sent)


def counter_of(any_id: bytes) -> int:
    return int.from_bytes(any_id[8:16], "big")


class EarlyArrivals:
    def __init__(self) -> None:
        self._by_subject: dict[bytes, list[Arrival]] = {}
        self._delayed: dict[bytes, None] = {}  # Actors whose creation is kept here itself, until their placement group exists.

    def is_early(self, subject: bytes, clients: dict[int, Client]) -> bool:
        if subject in self._delayed:
            return True
        creator = clients.get(owner_of(subject)) if subject else None
        return creator is not None and counter_of(subject) > creator.newest_counter

    def keep(self, subject: bytes, client: int, event: Event | Message) -> None:
        self._by_subject.setdefault(subject, []).append((client, event))
        if isinstance(event, CreateActor):
            self._delayed[event.spec.actor] = None

    def of_subject(self, subject: bytes) -> list[Arrival]:
        """Hand out what was kept about something that now exists."""
        return self._hand_out([subject])

    def of_creator(self, creator: int) -> list[Arrival]:
        """Hand out what was kept about things that will never exist: their creator is gone."""
        subjects = [subject for subject in self._by_subject if owner_of(subject) == creator]
        return self._hand_out(subjects)

    def _hand_out(self, subjects: list[bytes]) -> list[Arrival]:
        arrivals = [arrival for subject in subjects for arrival in self._by_subject.pop(subject, [])]
        for _, event in arrivals:
            if isinstance(event, CreateActor):
                self._delayed.pop(event.spec.actor, None)
        return arrivals

    def all(self) -> list[Arrival]:
        return [arrival for arrivals in self._by_subject.values() for arrival in arrivals]

    def __len__(self) -> int:
        return sum(map(len, self._by_subject.values()))
