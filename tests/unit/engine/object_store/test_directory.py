"""The object directory: counts, fetches, pins, room, spilling, losses. One claim each; `test_directory_rules` has what always holds."""

from __future__ import annotations

from typing import Any

import pytest

from skate.engine.object_store.directory import Directory
from skate.engine.object_store.room import CREATE_PATIENCE_S, OVERTAKE_WITHIN_S, RESTORE_PATIENCE_S
from skate.engine.spec import events as e, messages as m
from skate.engine.spec.ids import NODE_CLIENT

MB = 1 << 20
DRIVER, WORKER, OTHER = 1, 2, 3
VALUE = m.Value(0, b"value")


def oid(number: int, owner: int = DRIVER) -> bytes:
    return b"test" + owner.to_bytes(4, "big") + number.to_bytes(8, "big") + b"\0\0\0\1"


class Store:
    """A directory with the clock and the shell's part of the work."""

    def __init__(self, capacity_mb: int = 100) -> None:
        self.directory = Directory(capacity_mb * MB)
        self.now_s = 100.0
        self.requests = 0

    def tell(self, client: int, *events: Any) -> list[Any]:
        commands: list[Any] = []
        for event in events:
            commands += self.directory.handle(client, event, self.now_s)
        return commands

    def node(self, *events: Any) -> list[Any]:
        return self.tell(NODE_CLIENT, *events)

    def create(self, object_id: bytes, mb: int, client: int = DRIVER) -> list[Any]:
        self.requests += 1
        return self.tell(client, m.Create(self.requests, object_id, mb * MB))

    def put(
        self, object_id: bytes, mb: int, client: int = DRIVER, holder: int = DRIVER, contains: tuple[bytes, ...] = ()
    ) -> None:
        created = sent(self.create(object_id, mb, client), m.Created)
        assert created and created[0].offset >= 0
        self.tell(client, m.Seal(object_id, holder, list(contains)))

    def fetch(self, object_id: bytes, client: int = DRIVER) -> list[m.Fetched]:
        return sent(self.tell(client, m.Fetch(object_id)), m.Fetched)

    def pass_time(self, seconds: float) -> list[Any]:
        self.now_s += seconds
        return self.node(e.Tick())

    def objects(self) -> dict[bytes, dict[str, Any]]:
        return {bytes.fromhex(row["object_id"]): row for row in self.directory.describe("objects")}

    @property
    def summary(self) -> dict[str, int]:
        return self.directory.describe("summary")


def sent(commands: list[Any], kind: type) -> list[Any]:
    return [command.message for command in commands if isinstance(command, e.Send) and isinstance(command.message, kind)]


def of(commands: list[Any], kind: type) -> list[Any]:
    return [command for command in commands if isinstance(command, kind)]


@pytest.fixture
def store() -> Store:
    return Store()


# ---------------------------------------------------------------- values and counts


def test_a_fetch_waits_for_the_value(store: Store) -> None:
    store.tell(DRIVER, m.AddRef(oid(1), DRIVER), m.AddRef(oid(1), WORKER))
    assert store.fetch(oid(1), WORKER) == []

    [answer] = of(store.tell(DRIVER, m.Resolve(oid(1), VALUE)), e.Send)

    assert answer.client == WORKER and answer.message.value == VALUE
    assert store.fetch(oid(1), WORKER)[0].value == VALUE


def test_a_fetch_may_come_before_everything_else_about_an_object(store: Store) -> None:
    assert store.fetch(oid(1), WORKER) == []
    store.tell(DRIVER, m.AddRef(oid(1), DRIVER), m.AddRef(oid(1), WORKER))
    assert sent(store.tell(DRIVER, m.Resolve(oid(1), VALUE)), m.Fetched)


def test_a_value_goes_with_its_last_holder(store: Store) -> None:
    store.put(oid(1), 10)
    store.tell(DRIVER, m.AddRef(oid(1), WORKER), m.DropRefs([(oid(1), 1)]))
    assert store.objects()[oid(1)]["holders"] == [WORKER]

    store.tell(WORKER, m.DropRefs([(oid(1), 1)]))

    assert store.objects() == {} and store.summary["used_bytes"] == 0


def test_a_receiver_may_be_done_before_the_node_hears_that_it_was_given(store: Store) -> None:
    store.put(oid(1), 1)
    store.tell(WORKER, m.DropRefs([(oid(1), 1)]))
    store.tell(DRIVER, m.AddRef(oid(1), WORKER))
    assert oid(1) in store.objects()
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    assert store.objects() == {}


def test_an_owner_may_let_go_before_the_worker_seals(store: Store) -> None:
    store.create(oid(1), 1, WORKER)
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    store.tell(WORKER, m.Seal(oid(1), DRIVER))
    assert store.objects() == {} and store.summary["used_bytes"] == 0


def test_a_value_holds_the_references_inside_it_and_passes_them_on(store: Store) -> None:
    store.tell(DRIVER, m.AddRef(oid(1), DRIVER), m.Resolve(oid(1), VALUE))
    store.put(oid(2), 1, contains=(oid(1),))
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]), m.AddRef(oid(2), WORKER))
    assert oid(1) in store.objects()

    assert store.fetch(oid(2), WORKER)[0].contains == [oid(1)]
    store.tell(WORKER, m.Unpin([oid(2)]), m.DropRefs([(oid(2), 1)]))
    store.tell(DRIVER, m.DropRefs([(oid(2), 1)]))

    assert store.objects()[oid(1)]["holders"] == [WORKER]


def test_a_chain_of_a_hundred_thousand_values_goes_without_recursion(store: Store) -> None:
    store.tell(DRIVER, m.AddRef(oid(0), DRIVER), m.Resolve(oid(0), VALUE))
    for number in range(1, 100_000):
        store.tell(DRIVER, m.AddRef(oid(number), DRIVER), m.Resolve(oid(number), VALUE, [oid(number - 1)]))
        store.tell(DRIVER, m.DropRefs([(oid(number - 1), 1)]))
    store.tell(DRIVER, m.DropRefs([(oid(99_999), 1)]))
    assert store.objects() == {}


def test_a_second_resolve_replaces_nothing(store: Store) -> None:
    store.tell(DRIVER, m.AddRef(oid(1), DRIVER), m.Resolve(oid(1), VALUE), m.Resolve(oid(1), m.Value(2, b"other")))
    assert store.fetch(oid(1))[0].value == VALUE


def test_the_value_of_a_task_that_ran_twice_is_the_first_and_each_seal_counts(store: Store) -> None:
    for worker in (WORKER, OTHER):
        store.create(oid(1), 10, worker)
    store.tell(WORKER, m.Seal(oid(1), DRIVER))
    store.tell(OTHER, m.Seal(oid(1), DRIVER))
    assert store.summary["used_bytes"] == 10 * MB
    assert store.objects()[oid(1)]["reference_count"] == 2


def test_what_was_meant_for_somebody_and_never_sent_is_taken_back(store: Store) -> None:
    store.put(oid(1), 1)
    store.tell(DRIVER, m.AddRef(oid(1), WORKER), m.DropRefs([(oid(1), 1)]), m.Unshare(oid(1), WORKER))
    assert store.objects() == {}


def test_an_actor_nobody_holds_is_reported_once(store: Store) -> None:
    actor = oid(1)[:16]
    store.tell(DRIVER, m.AddRef(actor, DRIVER), m.AddRef(actor, WORKER))
    assert store.tell(DRIVER, m.DropRefs([(actor, 1)])) == []
    assert store.node(e.WorkerExited(WORKER, "exit", "")) == [e.ActorUnreferenced(actor)]
    assert store.tell(DRIVER, m.DropRefs([(actor, 1)])) == []


def test_a_dead_actor_lets_go_of_what_was_held_in_its_name(store: Store) -> None:
    actor = oid(9)[:16]
    store.put(oid(1), 1)
    store.node(e.AddHolder(oid(1), actor))
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    assert store.objects()[oid(1)]["holders"] == [actor.hex()]
    store.node(e.DropHolder(actor))
    assert store.objects() == {}


# ---------------------------------------------------------------- pins


def test_a_mapped_range_is_not_given_to_anybody_else(store: Store) -> None:
    store.put(oid(1), 60)
    [mapped] = store.fetch(oid(1))
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    assert sent(store.create(oid(2), 60), m.Created) == []

    [created] = sent(store.tell(DRIVER, m.Unpin([oid(1)])), m.Created)

    assert created.offset == mapped.offset


def test_a_value_that_was_made_again_does_not_free_the_old_mapping(store: Store) -> None:
    store.put(oid(1), 10)
    old = store.fetch(oid(1))[0].offset
    store.tell(DRIVER, m.Free([oid(1)]))
    store.put(oid(1), 10)
    new = store.fetch(oid(1))[0].offset
    assert new != old
    store.tell(DRIVER, m.Unpin([oid(1)]))  # Of which copy? Neither goes before both are given back.
    assert store.summary["used_bytes"] == 20 * MB
    store.tell(DRIVER, m.Unpin([oid(1)]))
    assert store.summary["used_bytes"] == 10 * MB


def test_a_dead_client_pins_nothing(store: Store) -> None:
    store.put(oid(1), 10)
    store.fetch(oid(1), WORKER)
    store.fetch(oid(1), WORKER)
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    store.node(e.WorkerExited(WORKER, "signal", "9"))
    assert store.summary["used_bytes"] == 0


# ---------------------------------------------------------------- deaths and losses


def test_what_an_ended_owner_left_at_the_node_can_still_be_had(store: Store) -> None:
    store.tell(WORKER, m.AddRef(oid(1, WORKER), WORKER), m.AddRef(oid(1, WORKER), DRIVER), m.Resolve(oid(1, WORKER), VALUE))
    store.node(e.WorkerExited(WORKER, "exit", ""))
    assert store.fetch(oid(1, WORKER))[0].value == VALUE


def test_what_an_ended_owner_never_made_is_an_error_for_those_who_wait_and_those_who_come(store: Store) -> None:
    store.tell(WORKER, m.AddRef(oid(1, WORKER), WORKER), m.AddRef(oid(1, WORKER), DRIVER))
    store.fetch(oid(1, WORKER))

    [waited] = sent(store.node(e.WorkerExited(WORKER, "signal", "9")), m.Fetched)

    assert waited.lost_kind == "owner_died" and "client 2" in waited.lost
    assert store.fetch(oid(1, WORKER))[0].lost_kind == "owner_died"


def test_a_result_whose_owner_died_goes_at_once(store: Store) -> None:
    store.create(oid(1), 10, WORKER)
    store.node(e.ClientGone(DRIVER, True))
    store.tell(WORKER, m.Seal(oid(1), DRIVER))
    assert store.objects() == {} and store.summary["used_bytes"] == 0


def test_a_dead_worker_s_half_written_range_is_used_again(store: Store) -> None:
    store.create(oid(1), 90, WORKER)
    assert sent(store.create(oid(2), 90), m.Created) == []
    assert sent(store.node(e.WorkerExited(WORKER, "signal", "9")), m.Created)[0].offset >= 0


def test_messages_of_and_for_the_dead_change_nothing(store: Store) -> None:
    store.put(oid(1), 1)
    store.node(e.WorkerExited(WORKER, "signal", "9"))
    store.tell(DRIVER, m.AddRef(oid(1), WORKER))
    store.tell(WORKER, m.AddRef(oid(1), WORKER), m.Fetch(oid(1)), m.Create(1, oid(7), 5))
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    assert store.objects() == {} and store.summary["waiting_creations"] == 0


def test_the_owner_makes_a_freed_value_again_when_somebody_asks(store: Store) -> None:
    store.put(oid(1), 10)
    store.tell(DRIVER, m.AddRef(oid(1), WORKER), m.Free([oid(1)]))
    assert store.summary["used_bytes"] == 0

    asked = store.tell(WORKER, m.Fetch(oid(1)))
    assert asked == [e.Send(DRIVER, m.ObjectLost(oid(1)))]
    assert store.tell(OTHER, m.Fetch(oid(1))) == []  # Asked once.

    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))  # As the client does when it starts the task again.
    store.create(oid(1), 10, OTHER)
    answers = of(store.tell(OTHER, m.Seal(oid(1), DRIVER)), e.Send)
    assert [answer.client for answer in answers] == [WORKER, OTHER]


def test_an_owner_alone_with_a_lost_value_gets_it_back(store: Store) -> None:
    store.put(oid(1), 10)
    store.tell(DRIVER, m.Free([oid(1)]))
    store.fetch(oid(1))
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    store.create(oid(1), 10, WORKER)
    [answer] = sent(store.tell(WORKER, m.Seal(oid(1), DRIVER)), m.Fetched)
    assert answer.offset >= 0
    assert store.objects()[oid(1)]["reference_count"] == 1


def test_a_result_announced_but_never_sealed_is_made_again_with_the_right_count(store: Store) -> None:
    store.create(oid(1), 10, WORKER)
    store.node(e.WorkerExited(WORKER, "signal", "9"))  # It had told the owner; the seal was lost with it.

    assert store.tell(DRIVER, m.Fetch(oid(1))) == [e.Send(DRIVER, m.ObjectLost(oid(1)))]
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))  # The count of the seal that never came.
    store.create(oid(1), 10, OTHER)
    [answer] = sent(store.tell(OTHER, m.Seal(oid(1), DRIVER)), m.Fetched)

    assert answer.offset >= 0
    store.tell(DRIVER, m.Unpin([oid(1)]))
    assert store.objects()[oid(1)]["reference_count"] == 1


def test_an_owner_that_cannot_make_it_again_answers_with_an_error(store: Store) -> None:
    store.put(oid(1), 1)
    store.tell(DRIVER, m.AddRef(oid(1), WORKER), m.Free([oid(1)]))
    store.tell(WORKER, m.Fetch(oid(1)))
    error = m.Value(2, b"gone")
    assert sent(store.tell(DRIVER, m.Resolve(oid(1), error)), m.Fetched)[0].value == error


def test_an_owner_that_dies_while_it_makes_a_value_again(store: Store) -> None:
    store.put(oid(1), 1)
    store.tell(DRIVER, m.AddRef(oid(1), WORKER), m.Free([oid(1)]))
    store.tell(WORKER, m.Fetch(oid(1)))
    [answer] = sent(store.node(e.ClientGone(DRIVER, True)), m.Fetched)
    assert answer.lost_kind == "owner_died" and "freed" in answer.lost


# ---------------------------------------------------------------- room


def test_what_can_never_fit_is_refused_with_numbers_and_advice(store: Store) -> None:
    [refused] = sent(store.create(oid(1), 101), m.Created)
    assert refused.offset == -1
    assert refused.error.startswith("store_full:")
    for part in ("105,906,176", "104,857,600", "object_store_memory"):
        assert part in refused.error


def test_cold_objects_are_spilled_for_new_ones(store: Store) -> None:
    for number in (1, 2, 3):
        store.put(oid(number), 30)
    store.fetch(oid(1))
    store.tell(DRIVER, m.Unpin([oid(1)]))  # Now 2 is the coldest.

    [spill] = store.create(oid(4), 30)
    assert isinstance(spill, e.SpillObject) and spill.id == oid(2)
    assert sent(store.node(e.SpillDone(oid(2))), m.Created)[0].offset == spill.offset
    assert store.objects()[oid(2)]["is_spilled"]


def test_a_spilled_object_comes_back_when_it_is_fetched(store: Store) -> None:
    store.put(oid(1), 60)
    store.create(oid(2), 60)
    store.node(e.SpillDone(oid(1)))
    store.tell(DRIVER, m.Abort(oid(2)))

    [restore] = of(store.tell(DRIVER, m.Fetch(oid(1))), e.RestoreObject)
    done = store.node(e.RestoreDone(oid(1)))

    assert of(done, e.DeleteSpill) == [e.DeleteSpill(oid(1))]
    assert sent(done, m.Fetched)[0].offset == restore.offset


def test_an_object_that_is_mapped_while_it_is_spilled_stays(store: Store) -> None:
    store.put(oid(1), 60)
    store.create(oid(2), 60)
    assert store.fetch(oid(1))[0].offset >= 0
    assert store.node(e.SpillDone(oid(1))) == [e.DeleteSpill(oid(1))]
    assert of(store.tell(DRIVER, m.Unpin([oid(1)])), e.SpillObject)


def test_an_object_dropped_while_it_is_spilled_leaves_nothing(store: Store) -> None:
    store.put(oid(1), 60)
    store.create(oid(2), 60)
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    done = store.node(e.SpillDone(oid(1)))
    assert of(done, e.DeleteSpill) and sent(done, m.Created)[0].offset >= 0


def test_a_full_disk_fails_the_creation_and_loses_nothing(store: Store) -> None:
    store.put(oid(1), 60)
    store.create(oid(2), 60)
    [failed] = sent(store.node(e.SpillDone(oid(1), "no space left on the disk")), m.Created)
    assert failed.error.startswith("out_of_disk: no space left")
    assert store.fetch(oid(1))[0].offset >= 0


def test_a_spilled_object_comes_back_although_store_and_disk_are_full(store: Store) -> None:
    store.put(oid(1), 60)
    store.create(oid(2), 60)
    store.node(e.SpillDone(oid(1)))
    store.tell(DRIVER, m.Seal(oid(2), DRIVER))
    assert of(store.tell(DRIVER, m.Fetch(oid(1))), e.SpillObject)

    [restore] = of(store.node(e.SpillDone(oid(2), "no space left")), e.RestoreObject)

    assert restore.id == oid(1)
    assert sent(store.node(e.RestoreDone(oid(1))), m.Fetched)[0].offset == restore.offset


def test_a_spilled_object_comes_back_although_everything_is_mapped(store: Store) -> None:
    store.put(oid(1), 60)
    store.create(oid(2), 60)
    store.node(e.SpillDone(oid(1)))
    store.tell(DRIVER, m.Seal(oid(2), DRIVER), m.Fetch(oid(2)))
    assert store.tell(DRIVER, m.Fetch(oid(1))) == []
    assert of(store.pass_time(RESTORE_PATIENCE_S), e.RestoreObject)


def test_a_value_that_cannot_be_read_back_is_made_again(store: Store) -> None:
    store.put(oid(1), 60)
    store.create(oid(2), 60)
    store.node(e.SpillDone(oid(1)))
    store.tell(DRIVER, m.Abort(oid(2)), m.Fetch(oid(1)))
    commands = store.node(e.RestoreDone(oid(1), "input/output error"))
    assert sent(commands, m.ObjectLost) == [m.ObjectLost(oid(1))]


def test_a_creation_waits_while_everything_is_mapped_and_fails_when_nothing_moves(store: Store) -> None:
    store.put(oid(1), 60)
    store.fetch(oid(1))
    assert store.create(oid(2), 60) == []
    assert store.directory.next_deadline_s() == store.now_s + CREATE_PATIENCE_S

    assert store.pass_time(CREATE_PATIENCE_S - 0.1) == []
    [failed] = sent(store.pass_time(0.1), m.Created)

    assert failed.error.startswith("store_full:")
    for part in ("62,914,560", "104,857,600", "pinned", "object_store_memory"):
        assert part in failed.error
    assert store.directory.next_deadline_s() is None


def test_creations_are_served_in_order(store: Store) -> None:
    store.put(oid(1), 90)
    store.fetch(oid(1))
    store.create(oid(2), 80, WORKER)
    store.create(oid(3), 80, OTHER)
    answers = of(store.tell(DRIVER, m.DropRefs([(oid(1), 1)]), m.Unpin([oid(1)])), e.Send)
    assert [answer.client for answer in answers] == [WORKER]


def test_a_small_creation_may_pass_a_large_one_that_is_stuck_but_not_for_ever(store: Store) -> None:
    store.put(oid(1), 60)
    store.put(oid(2), 1)
    store.fetch(oid(1))
    store.fetch(oid(2))
    store.create(oid(3), 90, WORKER)
    assert sent(store.create(oid(4), 1, OTHER), m.Created)

    store.pass_time(OVERTAKE_WITHIN_S)
    store.tell(DRIVER, m.Unpin([oid(2)]))  # Things move: now it is the large one's turn.
    assert sent(store.create(oid(5), 1, OTHER), m.Created) == []

    assert sent(store.pass_time(OVERTAKE_WITHIN_S), m.Created)  # They don't any more.


def test_memory_goes_back_to_the_machine_when_refs_go(store: Store) -> None:
    store.put(oid(1), 90)
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    discarded = 0
    while (deadline_s := store.directory.next_deadline_s()) is not None:
        discarded += sum(command.size for command in store.pass_time(deadline_s - store.now_s))
    assert discarded == 90 * MB and store.now_s < 106.0


def test_a_range_is_discarded_before_it_is_given_out_again(store: Store) -> None:
    store.put(oid(1), 40)
    store.put(oid(2), 40)
    store.tell(DRIVER, m.DropRefs([(oid(1), 1)]))
    commands = store.create(oid(3), 55)
    kinds = [type(command) for command in commands]
    assert kinds == [e.DiscardRange, e.Send]


# ---------------------------------------------------------------- nonsense


@pytest.mark.parametrize(
    "message",
    [
        m.DropRefs([(b"", 1), (oid(1), -5), (oid(1), 0)]),
        m.Unpin([oid(1)]),
        m.Seal(oid(1), DRIVER),
        m.Abort(oid(1)),
        m.CancelFetch(oid(1)),
        m.Free([oid(1), b""]),
        m.Unshare(oid(1), -3),
        m.Resolve(oid(1), VALUE),
        m.Resolve(b"short", VALUE),
        m.AddRef(oid(1), -1),
        m.Create(1, oid(1), -1),
        m.Create(1, b"short", 1),
        m.Fetch(b"short"),
        m.Goodbye(),
        e.SpillDone(oid(1)),
        e.RestoreDone(oid(1), "x"),
        e.ClientGone(0, True),
        e.ClientGone(-4, True),
    ],
    ids=lambda message: repr(message)[:40],
)
def test_nonsense_is_ignored_or_refused(store: Store, message: Any) -> None:
    store.tell(WORKER, message, message)
    assert store.summary["used_bytes"] == 0
    store.node(e.WorkerExited(WORKER, "signal", "9"))
    assert not store.directory._waiting and not store.directory._requests
    store.put(oid(2), 1)
    assert store.fetch(oid(2))[0].offset >= 0
