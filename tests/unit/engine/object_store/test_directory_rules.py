"""What always holds in the directory, whatever order messages of different clients come in, whoever dies, and however full the store is:

a value that is mapped stays as it was written; what is fetched is what was sealed, also after a round trip to the disk
every fetch is answered, except while its owner lives and has not made the value yet
an object that somebody holds is readable, or in the arena, or on disk, or has an owner to make it again
after all holders let go nothing remains
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.engine.object_store.allocator import PAGE_BYTES, pages_of
from skate.engine.object_store.directory import Directory
from skate.engine.spec import events as e, messages as m
from skate.engine.spec.ids import NODE_CLIENT, owner_of

CAPACITY_PAGES = 8
ERROR = 2


class Person:
    """A client as far as objects go: what it believes to hold, and what it does with the node's answers. Follows `engine/client`."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.is_alive = True
        self.to_node: deque[Any] = deque()
        self.counts: Counter[bytes] = Counter()
        self.pins: list[tuple[bytes, int, int]] = []  # (id, offset, size)
        self.fetching: set[bytes] = set()
        self.promised: set[bytes] = set()
        self.writes: dict[int, tuple[bytes, int, int, list[bytes], bool]] = {}  # request → (id, holder, size, contains, is_again)
        self.made: dict[bytes, int] = {}  # Large values of ours that can be made again: id → size.
        self.made_count = 0

    def new_id(self) -> bytes:
        self.made_count += 1
        return b"test" + self.number.to_bytes(4, "big") + self.made_count.to_bytes(8, "big") + b"\0\0\0\1"

    def tell(self, message: Any) -> None:
        self.to_node.append(message)

    def held(self) -> list[bytes]:
        return sorted(any_id for any_id, count in self.counts.items() if count > 0)

    def write(self, object_id: bytes, holder: int, size: int, contains: list[bytes], *, is_again: bool = False) -> None:
        request = self.world.next_request()
        self.writes[request] = (object_id, holder, size, contains, is_again)
        for inner in contains:
            self.tell(m.AddRef(inner, self.number))  # Kept until it is sealed.
        self.tell(m.Create(request, object_id, size))

    def drop(self, any_id: bytes) -> None:
        if any_id in self.fetching:
            self.fetching.discard(any_id)
            self.tell(m.CancelFetch(any_id))
        self.tell(m.DropRefs([(any_id, self.counts.pop(any_id))]))

    def hear(self, message: Any) -> None:
        if isinstance(message, m.Created):
            self.on_created(message)
        elif isinstance(message, m.Fetched):
            self.on_fetched(message)
        elif isinstance(message, m.ObjectLost):
            self.on_lost(message.id)

    def on_created(self, message: m.Created) -> None:
        object_id, holder, size, contains, is_again = self.writes.pop(message.request)
        if message.offset >= 0:
            self.world.write(message.offset, size, object_id)
            self.tell(m.Seal(object_id, holder, contains))
            if holder == self.number:
                self.counts[object_id] += 1
                self.made[object_id] = size
            else:
                self.world.direct.append((self.number, holder, object_id))
        else:
            assert message.error.startswith(("store_full:", "out_of_disk:"))
            if is_again:
                self.tell(m.Resolve(object_id, m.Value(ERROR, b"full")))
        for inner in contains:
            self.tell(m.DropRefs([(inner, 1)]))

    def on_fetched(self, message: m.Fetched) -> None:
        if message.offset >= 0:
            self.world.check(message.offset, message.size, message.id)
        if message.id not in self.fetching:
            if message.offset >= 0:
                self.tell(m.Unpin([message.id]))
            for inner in message.contains:
                self.tell(m.DropRefs([(inner, 1)]))
            return
        self.fetching.discard(message.id)
        self.counts.update(message.contains)
        if message.offset >= 0:
            self.pins.append((message.id, message.offset, message.size))
        elif message.value is None and message.lost_kind == "lost":
            assert message.lost.startswith("store_full:")
        elif message.value is None:
            assert message.lost_kind == "owner_died"
            assert not self.world.people[owner_of(message.id)].is_alive

    def on_lost(self, object_id: bytes) -> None:
        if self.counts[object_id] > 0 and object_id in self.made:
            if not any(write[0] == object_id for write in self.writes.values()):
                self.counts[object_id] -= 1
                self.tell(m.DropRefs([(object_id, 1)]))
                self.write(object_id, self.number, self.made[object_id], [], is_again=True)
        elif not any(write[0] == object_id for person in self.world.people.values() for write in person.writes.values()):
            self.tell(m.Resolve(object_id, m.Value(ERROR, b"cannot make it again")))


class World:
    def __init__(self) -> None:
        self.directory = Directory(CAPACITY_PAGES * PAGE_BYTES)
        self.people = {number: Person(self, number) for number in (1, 2, 3)}
        self.now_s = 0.0
        self.requests = 0
        self.pages: dict[int, bytes] = {}  # What the arena holds.
        self.disk: dict[bytes, bytes] = {}
        self.moves: list[e.SpillObject | e.RestoreObject] = []
        self.direct: deque[tuple[int, int, bytes]] = (
            deque()
        )  # Between clients: (from, to, an id with one count for the receiver).

    def next_request(self) -> int:
        self.requests += 1
        return self.requests

    def write(self, offset: int, size: int, content: bytes) -> None:
        for page in range(offset, offset + pages_of(size), PAGE_BYTES):
            assert not any(start <= page < start + pages_of(length) for p in self.people.values() for _, start, length in p.pins)
            self.pages[page] = content

    def check(self, offset: int, size: int, content: bytes) -> None:
        assert {self.pages.get(page) for page in range(offset, offset + pages_of(size), PAGE_BYTES)} == {content}

    def handle(self, client: int, event: Any) -> None:
        for command in self.directory.handle(client, event, self.now_s):
            match command:
                case e.Send(client=to, message=message):
                    if self.people[to].is_alive:
                        self.people[to].hear(message)
                case e.SpillObject() | e.RestoreObject():
                    assert command.id not in [move.id for move in self.moves]
                    self.moves.append(command)
                case e.DeleteSpill(id=object_id):
                    assert object_id not in [move.id for move in self.moves]
                    self.disk.pop(object_id, None)
                case e.DiscardRange(offset=offset, size=size):
                    for page in range(offset, offset + size, PAGE_BYTES):
                        self.pages.pop(page, None)

    def deliver(self, person: Person) -> None:
        self.handle(person.number, person.to_node.popleft())

    def deliver_direct(self) -> None:
        _sender, receiver, any_id = self.direct.popleft()
        if self.people[receiver].is_alive:
            self.people[receiver].counts[any_id] += 1

    def finish_move(self, *, fails: bool) -> None:
        move = self.moves.pop(0)
        error = "no space left on device" if fails else ""
        if isinstance(move, e.SpillObject):
            if not error:
                self.disk[move.id] = self.pages.get(move.offset, b"")
            self.handle(NODE_CLIENT, e.SpillDone(move.id, error))
        else:
            if not error:
                self.write(move.offset, move.size, self.disk[move.id])
            self.handle(NODE_CLIENT, e.RestoreDone(move.id, error))

    def settle(self) -> None:
        """Everything arrives, and enough time passes."""
        for _ in range(100_000):
            talkers = [person for person in self.people.values() if person.to_node]
            if talkers:
                self.deliver(talkers[0])
            elif self.direct:
                self.deliver_direct()
            elif self.moves:
                self.finish_move(fails=False)
            else:
                deadline_s = self.directory.next_deadline_s()
                if deadline_s is None:
                    return
                self.now_s = max(self.now_s, deadline_s)
                self.handle(NODE_CLIENT, e.Tick())
        raise AssertionError("it never comes to rest")


class Rules(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def alive(self) -> list[Person]:
        return [person for person in self.world.people.values() if person.is_alive]

    def draw_person(self, data: st.DataObject) -> Person:
        return data.draw(st.sampled_from(self.alive()), label="client")

    def draw_held(self, data: st.DataObject, person: Person) -> bytes | None:
        held = person.held()
        return data.draw(st.sampled_from(held), label="id") if held else None

    def draw_contents(self, data: st.DataObject, person: Person) -> list[bytes]:
        held = person.held()
        return data.draw(st.lists(st.sampled_from(held), max_size=2, unique=True)) if held else []

    # ------------------------------------------------------------ what clients do

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def publish_small(self, data: st.DataObject) -> None:
        person = self.draw_person(data)
        object_id = person.new_id()
        contents = self.draw_contents(data, person)
        person.counts[object_id] += 1
        person.tell(m.AddRef(object_id, person.number))
        person.tell(m.Resolve(object_id, m.Value(0, object_id), contents))

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def promise(self, data: st.DataObject) -> None:
        person = self.draw_person(data)
        object_id = person.new_id()
        person.counts[object_id] += 1
        person.promised.add(object_id)
        person.tell(m.AddRef(object_id, person.number))

    @precondition(lambda self: any(person.promised for person in self.alive()))
    @rule(data=st.data())
    def keep_promise(self, data: st.DataObject) -> None:
        person = data.draw(st.sampled_from([person for person in self.alive() if person.promised]))
        object_id = data.draw(st.sampled_from(sorted(person.promised)))
        person.promised.discard(object_id)
        person.tell(m.Resolve(object_id, m.Value(0, object_id)))

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), pages=st.integers(1, 5))
    def put_large(self, data: st.DataObject, pages: int) -> None:
        person = self.draw_person(data)
        person.write(person.new_id(), person.number, pages * PAGE_BYTES - 7, self.draw_contents(data, person))

    @precondition(lambda self: len(self.alive()) > 1)
    @rule(data=st.data(), pages=st.integers(1, 3))
    def return_large(self, data: st.DataObject, pages: int) -> None:
        owner, worker = data.draw(st.permutations(self.alive()))[:2]
        object_id = owner.new_id()
        owner.made[object_id] = pages * PAGE_BYTES
        worker.write(object_id, owner.number, pages * PAGE_BYTES, self.draw_contents(data, worker))

    @precondition(lambda self: len(self.alive()) > 1)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        giver, taker = data.draw(st.permutations(self.alive()))[:2]
        object_id = self.draw_held(data, giver)
        if object_id is not None:
            giver.tell(m.AddRef(object_id, taker.number))
            self.world.direct.append((giver.number, taker.number, object_id))

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        person = self.draw_person(data)
        object_id = self.draw_held(data, person)
        if object_id is not None and object_id not in person.promised:
            person.drop(object_id)

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        person = self.draw_person(data)
        object_id = self.draw_held(data, person)
        if object_id is not None and object_id not in person.fetching:
            person.fetching.add(object_id)
            person.tell(m.Fetch(object_id))

    @precondition(lambda self: any(person.pins for person in self.alive()))
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        person = data.draw(st.sampled_from([person for person in self.alive() if person.pins]))
        object_id, offset, size = person.pins.pop(data.draw(st.integers(0, len(person.pins) - 1)))
        self.world.check(offset, size, object_id)
        person.tell(m.Unpin([object_id]))

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        person = self.draw_person(data)
        object_id = self.draw_held(data, person)
        if object_id is not None:
            person.tell(m.Free([object_id]))

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), is_told=st.booleans())
    def die(self, data: st.DataObject, is_told: bool) -> None:
        """What it had sent arrives; a seal that it could not send any more may have been announced to the owner already."""
        person = self.draw_person(data)
        world = self.world
        lost_seal = is_told and bool(person.to_node) and isinstance(person.to_node[-1], m.Seal)
        if lost_seal:
            person.to_node.pop()
        while person.to_node:
            world.deliver(person)
        person.is_alive = False
        person.pins.clear()
        person.fetching.clear()
        person.counts.clear()
        person.promised.clear()
        person.writes.clear()
        world.handle(NODE_CLIENT, e.WorkerExited(person.number, "signal", "9"))
        number = max(world.people) + 1
        world.people[number] = Person(world, number)

    # ------------------------------------------------------------ what happens meanwhile

    @precondition(lambda self: any(person.to_node for person in self.alive()))
    @rule(data=st.data(), count=st.integers(1, 5))
    def deliver(self, data: st.DataObject, count: int) -> None:
        person = data.draw(st.sampled_from([person for person in self.alive() if person.to_node]))
        for _ in range(min(count, len(person.to_node))):
            self.world.deliver(person)

    @precondition(lambda self: self.world.direct)
    @rule()
    def deliver_direct(self) -> None:
        self.world.deliver_direct()

    @precondition(lambda self: self.world.moves)
    @rule(fails=st.booleans())
    def finish_move(self, fails: bool) -> None:
        self.world.finish_move(fails=fails)

    @rule(pass_s=st.sampled_from([0.01, 0.5, 2.0, 20.0]))
    def tick(self, pass_s: float) -> None:
        self.world.now_s += pass_s
        self.world.handle(NODE_CLIENT, e.Tick())

    # ------------------------------------------------------------ what holds

    @invariant()
    def mapped_values_stay(self) -> None:
        for person in self.alive():
            for object_id, offset, size in person.pins:
                self.world.check(offset, size, object_id)

    @invariant()
    def taken_ranges_have_an_owner(self) -> None:
        directory = self.world.directory
        offsets = [entry.offset for entry in directory._entries.values() if entry.offset >= 0]
        offsets += [offset for entry in directory._entries.values() for offset in entry.stale_offsets or ()]
        offsets += [offset for writers in directory._creations.values() for offset, _ in writers.values()]
        offsets += [
            move.offset for move in directory._moves.values() if move.offset >= 0 and (move.is_abandoned or move.is_restore)
        ]
        assert sorted(offsets) == sorted(directory._room.allocator._taken)

    @rule()
    def everything_settles(self) -> None:
        """What somebody holds can be had; nothing waits but for values that their owners have not made yet."""
        world = self.world
        world.settle()
        directory = world.directory
        assert not directory._requests and not directory._room.queue and not directory._creations
        for person in self.alive():
            for object_id in person.held():
                if object_id not in person.fetching:
                    person.fetching.add(object_id)
                    person.tell(m.Fetch(object_id))
                    world.settle()
                if object_id in person.fetching:
                    owner = world.people[owner_of(object_id)]
                    assert owner.is_alive and object_id in owner.promised
                elif person.pins and person.pins[-1][0] == object_id:
                    person.pins.pop()
                    person.tell(m.Unpin([object_id]))
                    world.settle()

    def teardown(self) -> None:
        world = self.world
        world.settle()
        for person in self.alive():
            for object_id in sorted(person.promised):
                person.tell(m.Resolve(object_id, m.Value(0, b"")))
            person.promised.clear()
        world.settle()
        for person in self.alive():
            assert not person.fetching
            for object_id, _, _ in person.pins:
                person.tell(m.Unpin([object_id]))
            person.pins.clear()
            for object_id in person.held():
                person.drop(object_id)
        world.settle()
        summary = world.directory.describe("summary")
        for person in self.alive():
            world.handle(NODE_CLIENT, e.ClientGone(person.number, False))
        world.settle()
        directory = world.directory
        assert not directory._entries and not len(directory._counts) and not directory._counts._by_holder
        assert not directory._pins and not directory._waiting and not directory._moves and not directory._unsealed
        assert directory._room.allocator.allocated_bytes == 0 and not world.disk
        if all(person.is_alive for person in world.people.values()):
            assert summary["ids_held"] == 0 and summary["objects"] == 0 and summary["used_bytes"] == 0


TestRules = Rules.TestCase
TestRules.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
