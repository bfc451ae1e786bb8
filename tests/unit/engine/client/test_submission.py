"""Tasks on leases: who is asked for workers, what is sent where, what is taken back."""

from __future__ import annotations

import time

import pytest

from skate.engine.spec import messages as m
from skate.engine.transport import tokens
from tests.unit.engine.client.conftest import Rig


def requests(rig: Rig) -> list[m.RequestLease]:
    return [message for message in rig.heard() if isinstance(message, m.RequestLease)]


def test_no_more_leases_are_asked_for_than_can_be_had_at_once(rig: Rig) -> None:
    refs = [rig.submit() for _ in range(10)]
    assert len(requests(rig)) == 2
    assert len(refs) == 10


def test_a_result_comes_back_to_its_ref(rig: Rig) -> None:
    ref = rig.submit(3)
    worker = rig.grant(requests(rig)[0], 1, 20)
    [call] = worker.calls()
    worker.answer(call, 9)
    assert rig.client.get([ref], 5) == [9]


def test_tasks_of_unknown_length_are_sent_one_at_a_time(rig: Rig) -> None:
    for _ in range(5):
        rig.submit()
    worker = rig.grant(requests(rig)[0], 1, 20)
    assert len(worker.calls()) == 1


def test_quick_tasks_are_sent_ahead(rig: Rig) -> None:
    first = rig.submit()
    [request] = requests(rig)
    worker = rig.grant(request, 1, 20)
    [call] = worker.calls()
    worker.answer(call, 0)
    assert rig.client.get([first], 5) == [0]
    for _ in range(40):
        rig.submit()
    rig.client.flush()
    assert len(worker.calls()) > 10


def test_calls_behind_a_silent_worker_are_taken_back(rig: Rig) -> None:
    """A long task must not hold up what was sent ahead behind it."""
    first = rig.submit()
    worker = rig.grant(requests(rig)[0], 1, 20)
    worker.answer(worker.calls()[0], 0)
    rig.client.get([first], 5)
    for _ in range(20):
        rig.submit()
    rig.client.flush()
    with rig.client.lock:
        [lease] = rig.client.submission.leases()
        assert len(lease.in_flight) > 1
        started = tokens.claim(worker.token_read)
        lease.progress_at_s -= 1.0
        rig.client.submission.tick(time.monotonic())
    assert tokens.claim(worker.token_read) == -1  # Nothing is left for it to start.
    with rig.client.lock:
        assert list(lease.in_flight) == [started]


def test_a_task_whose_worker_dies_is_run_again(rig: Rig) -> None:
    ref = rig.submit(1)
    worker = rig.grant(requests(rig)[0], 1, 20)
    [call] = worker.calls()
    rig.say(m.LeaseLost(1, "signal", "SIGKILL"))
    [request] = requests(rig)
    second = rig.grant(request, 2, 21)
    [again] = second.calls()
    assert (again.task, again.attempt) == (call.task, 1)
    second.answer(again, "done")
    assert rig.client.get([ref], 5) == ["done"]


def test_a_task_the_dead_worker_had_not_started_keeps_its_retries(rig: Rig) -> None:
    first = rig.submit()
    worker = rig.grant(requests(rig)[0], 1, 20)
    worker.answer(worker.calls()[0], 0)
    rig.client.get([first], 5)
    for _ in range(10):
        rig.submit()
    rig.client.flush()
    rig.heard()
    rig.say(m.LeaseLost(1, "signal", "SIGKILL"))
    second = rig.grant(requests(rig)[0], 2, 21)
    assert all(call.attempt == 0 for call in second.calls())


def test_a_rejected_request_fails_its_tasks_with_the_reason(rig: Rig) -> None:
    from skate.exceptions import RayError

    ref = rig.submit()
    rig.say(m.LeaseRejected(requests(rig)[0].request, "unschedulable", "no node has 3 CPUs"))
    with pytest.raises(RayError, match="no node has 3 CPUs"):
        rig.client.get([ref], 5)


def test_a_cancelled_task_is_never_sent(rig: Rig) -> None:
    from skate.exceptions import TaskCancelledError

    ref = rig.submit()
    request = requests(rig)[0]
    rig.client.cancel(ref, force=False, recursive=True)
    worker = rig.grant(request, 1, 20)
    assert worker.calls() == []
    with pytest.raises(TaskCancelledError):
        rig.client.get([ref], 5)


def test_an_idle_lease_goes_back_after_a_while(rig: Rig) -> None:
    ref = rig.submit()
    worker = rig.grant(requests(rig)[0], 1, 20)
    worker.answer(worker.calls()[0], 0)
    rig.client.get([ref], 5)
    with rig.client.lock:
        rig.client.submission.tick(rig.client.submission.leases()[0].idle_since_s + 10)
    assert any(isinstance(message, m.ReturnLease) for message in rig.heard())
