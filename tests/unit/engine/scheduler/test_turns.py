"""Claims about turns: nobody waits for ever beside somebody who always has more to do."""

from __future__ import annotations

from skate.engine.spec import events as e, messages as m
from tests.unit.engine.scheduler.rig import Rig

_QUANTUM_S = 0.005


def test_a_newcomer_gets_a_lease_called_back_after_a_quantum(rig: Rig) -> None:
    one, other = rig.driver(), rig.driver()
    first, second = rig.lease(one), rig.lease(one)

    rig.request(other)
    assert not rig.all(m.LeaseRevoked)

    rig.wait(_QUANTUM_S)
    assert [revoked.lease for revoked in rig.all(m.LeaseRevoked)] == [first.lease], "the longest held, and only one"

    rig.give_back(first)
    assert rig.one(e.Grant).client == other
    assert second.lease in rig.scheduler.state.leases


def test_a_lease_that_is_not_returned_soon_is_not_counted_on(rig: Rig) -> None:
    """It runs a long task; the other one may run short ones."""
    one, other = rig.driver(), rig.driver()
    leases = [rig.lease(one).lease, rig.lease(one).lease]
    rig.request(one)
    rig.request(other)

    rig.wait(0.02)
    assert [revoked.lease for revoked in rig.all(m.LeaseRevoked)] == leases[:1]
    rig.wait(0.02)
    assert [revoked.lease for revoked in rig.all(m.LeaseRevoked)] == leases[1:]


def test_two_clients_share_evenly(rig: Rig) -> None:
    one, other = rig.driver(), rig.driver()
    leases = [rig.lease(one), rig.lease(one)]
    rig.request(one)
    rig.request(other)
    rig.request(other)
    rig.wait(0.01)
    assert len(rig.all(m.LeaseRevoked)) == 1, "each gets one of two CPUs"
    rig.give_back(leases[0])

    commands = rig.wait(1.0)

    assert not [c for c in commands if isinstance(c, e.Send) and isinstance(c.message, m.LeaseRevoked)], "and so it stays"


def test_on_one_cpu_two_clients_take_turns() -> None:
    rig = Rig()
    rig.node(CPU=1)
    one, other = rig.driver(), rig.driver()
    holder = rig.lease(one)
    rig.request(other)

    turns = []
    for _ in range(4):
        rig.wait(0.01)
        assert rig.one(m.LeaseRevoked).lease == holder.lease
        rig.give_back(holder)
        grant = rig.one(e.Grant)
        rig.request(holder.client)
        holder = grant
        turns.append(holder.client)

    assert turns == [other, one, other, one]


def test_a_lease_that_may_be_idle_is_called_back_when_somebody_else_waits(rig: Rig) -> None:
    one, other = rig.driver(), rig.driver()
    idle = rig.lease(one)
    rig.lease(other)
    rig.request(other)

    rig.wait(0.1)

    assert rig.one(m.LeaseRevoked).lease == idle.lease


def test_a_client_is_not_called_back_for_itself(rig: Rig) -> None:
    driver = rig.driver()
    rig.lease(driver)
    rig.lease(driver)
    rig.request(driver)

    rig.wait(1.0)

    assert not rig.all(m.LeaseRevoked)


def test_another_shape_of_the_same_client_gets_its_turn(rig: Rig) -> None:
    driver = rig.driver()
    rig.lease(driver)
    rig.lease(driver)
    rig.request(driver, {"CPU": 1}, env='{"env_vars": {}}')

    rig.wait(0.1)

    assert rig.all(m.LeaseRevoked)


def test_a_large_request_is_served_beside_a_stream_of_small_ones(rig: Rig) -> None:
    one, other = rig.driver(), rig.driver()
    first, second = rig.lease(one), rig.lease(one)
    large = rig.request(other, {"CPU": 2})
    rig.wait(0.1)
    assert len(rig.all(m.LeaseRevoked)) == 2

    rig.give_back(first)
    rig.request(one)
    assert not rig.all(e.Grant), "held back"
    rig.give_back(second)

    assert rig.one(e.Grant).request == large


def test_holding_back_ends_when_it_is_in_vain(rig: Rig) -> None:
    one, other = rig.driver(), rig.driver()
    first, _ = rig.lease(one), rig.lease(one)
    rig.request(other, {"CPU": 2})
    rig.wait(0.1)
    rig.give_back(first)
    small = rig.request(one)

    rig.wait(1.0)

    assert rig.one(e.Grant).request == small


def test_waiting_in_vain_asks_for_few_ticks(rig: Rig) -> None:
    """The node process sleeps while everybody waits for two long tasks."""
    one, other = rig.driver(), rig.driver()
    for _ in range(2):
        rig.lease(one)
    rig.request(other, {"CPU": 2})
    rig.request(one)
    rig.request(other)
    rig.group(one, {"CPU": 1}, {"CPU": 1})
    rig.wait(30)

    ticks = 0
    end_s = rig.now_s + 60
    while (deadline_s := rig.scheduler.next_deadline_s()) is not None and deadline_s < end_s:
        rig.wait(deadline_s - rig.now_s)
        ticks += 1

    assert ticks < 40


def test_nested_requests_are_never_held_back(rig: Rig) -> None:
    one, other = rig.driver(), rig.driver()
    first, second = rig.lease(one), rig.lease(one)
    rig.request(other, {"CPU": 2})
    rig.wait(0.1)
    rig.give_back(first)

    assert rig.lease(second.worker)


def test_a_hundred_nested_tasks_run_on_two_cpus(rig: Rig) -> None:
    parent = rig.driver()
    for _ in range(100):
        grant = rig.lease(parent)
        rig.tell(grant.worker, m.Blocked())
        parent = grant.worker

    assert rig.free() == 2


def test_a_worker_that_goes_on_takes_its_cpu_back_and_nothing_new_starts(rig: Rig) -> None:
    driver = rig.driver()
    blocked, other = rig.lease(driver), rig.lease(driver)
    rig.tell(blocked.worker, m.Blocked())
    rig.lease(driver)
    rig.tell(blocked.worker, m.Unblocked())

    rig.request(driver)
    assert not rig.all(e.Grant)

    rig.give_back(other)
    assert not rig.all(e.Grant), "three were running on two CPUs"


def test_a_blocked_worker_keeps_its_gpu() -> None:
    rig = Rig()
    rig.node(CPU=1, GPU=1)
    driver = rig.driver()
    grant = rig.lease(driver, {"CPU": 1, "GPU": 1})

    rig.tell(grant.worker, m.Blocked())

    assert (rig.free("CPU"), rig.free("GPU")) == (1, 0)


def test_a_lease_given_back_while_blocked_leaves_nothing_lent(rig: Rig) -> None:
    driver = rig.driver()
    grant = rig.lease(driver)
    rig.tell(grant.worker, m.Blocked())
    rig.give_back(grant)

    rig.tell(grant.worker, m.Unblocked())

    assert rig.free() == 2
