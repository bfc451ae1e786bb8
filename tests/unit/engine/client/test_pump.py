"""The pump: exactly one thread reads the sockets at a time, and nobody who waits is forgotten."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from skate.engine.client.objects import Waiter
from skate.engine.client.pump import Pump


class Rig:
    """A pump with one socket; each byte that arrives notifies the waiter of that number."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pump = Pump(self.lock, lambda: None, lambda now_s: now_s + 3600.0)
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.waiters: dict[int, Waiter] = {}
        self.readers: set[int] = set()
        with self.lock:
            self.pump.add(self.near.fileno(), self._on_bytes)

    def _on_bytes(self, _events: int) -> None:
        self.readers.add(threading.get_ident())
        for number in self.near.recv(4096):
            self.waiters[number].notify()

    def waiter(self, number: int, needed: int = 1) -> Waiter:
        waiter = self.waiters[number] = Waiter(needed)
        return waiter

    def close(self) -> None:
        self.pump.close()
        self.near.close()
        self.far.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def test_the_waiting_thread_reads_its_own_answer(rig: Rig) -> None:
    waiter = rig.waiter(1)
    rig.far.send(b"\1")

    assert rig.pump.wait(waiter, None)
    assert rig.readers == {threading.get_ident()}


def test_a_wait_ends_at_its_deadline(rig: Rig) -> None:
    assert not rig.pump.wait(rig.waiter(1), time.monotonic() + 0.01)


def test_a_follower_takes_the_lead_when_the_leader_is_served(rig: Rig) -> None:
    first, second = rig.waiter(1), rig.waiter(2)
    results: list[bool] = []
    leader = threading.Thread(target=lambda: results.append(rig.pump.wait(first, None)))
    leader.start()
    while not first.leads:
        time.sleep(0)
    follower = threading.Thread(target=lambda: results.append(rig.pump.wait(second, None)))
    follower.start()
    while second.lock is None:
        time.sleep(0)

    rig.far.send(b"\1")
    leader.join(5)
    rig.far.send(b"\2")
    follower.join(5)

    assert results == [True, True]


def test_the_leader_serves_those_who_wait_behind_it(rig: Rig) -> None:
    first, second = rig.waiter(1), rig.waiter(2)
    leader = threading.Thread(target=rig.pump.wait, args=(first, None))
    leader.start()
    while not first.leads:
        time.sleep(0)
    results: list[bool] = []
    follower = threading.Thread(target=lambda: results.append(rig.pump.wait(second, None)))
    follower.start()
    while second.lock is None:
        time.sleep(0)

    rig.far.send(b"\2")
    follower.join(5)
    assert results == [True]
    assert not first.is_done

    rig.far.send(b"\1")
    leader.join(5)
    assert first.is_done


def test_a_leader_that_is_interrupted_hands_the_lead_on(rig: Rig) -> None:
    """Ctrl-C strikes the leader while it sleeps; the one who waits behind it must still be served."""
    waiting = threading.Event()
    results: list[bool] = []
    second = rig.waiter(2)

    def follow() -> None:
        waiting.wait(5)
        results.append(rig.pump.wait(second, None))

    follower = threading.Thread(target=follow)
    follower.start()

    class Interrupt(BaseException):
        pass

    def on_news(_events: int) -> None:
        near.recv(1)
        waiting.set()
        while second.lock is None and not second.leads:
            rig.lock.release()  # The follower needs it to line up.
            time.sleep(0)
            rig.lock.acquire()
        raise Interrupt

    near, far = socket.socketpair()
    with rig.lock:
        rig.pump.add(near.fileno(), on_news)
    far.send(b"x")
    with pytest.raises(Interrupt):
        rig.pump.wait(rig.waiter(1), None)
    with rig.lock:
        rig.pump.remove(near.fileno())

    rig.far.send(b"\2")
    follower.join(5)
    near.close()
    far.close()
    assert results == [True]


def test_finishing_a_waiter_twice_is_harmless() -> None:
    waiter = Waiter(1)
    waiter.lock = threading.Lock()  # Free: it was promoted a moment ago.
    waiter.finish()
    waiter.finish()
    assert waiter.is_done


def test_an_error_ends_a_wait_for_many() -> None:
    from skate.engine.client.objects import INLINE, Entry
    from skate.engine.object_store.serialization import ERROR

    waiter = Waiter(10, stops_at_error=True)
    failed = Entry(INLINE, 1, True)
    failed.kind = ERROR
    waiter.notify(failed)
    assert waiter.is_done


def test_the_background_thread_serves_when_nobody_waits(rig: Rig) -> None:
    waiter = rig.waiter(1)
    waiter.lock = threading.Lock()
    waiter.lock.acquire()
    with rig.lock:
        rig.pump.start_background()
    rig.far.send(b"\1")
    assert waiter.lock.acquire(timeout=5)
    assert rig.readers == {rig.pump.background_thread.ident}
