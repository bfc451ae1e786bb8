"""Reference counts: what the node is told when refs come, travel and go."""

from __future__ import annotations

import gc
import pickle
import time

from skate.engine.spec import messages as m
from skate.engine.transport import tokens
from tests.unit.engine.client.conftest import Rig
from tests.unit.engine.client.test_submission import requests


def test_a_private_value_never_reaches_the_node(rig: Rig) -> None:
    ref = rig.client.put(41)
    assert rig.client.get([ref], None) == [41]
    del ref
    gc.collect()
    rig.client.housekeep()
    assert rig.heard() == []
    assert rig.client.table == {}


def test_a_ref_inside_arguments_is_counted_for_the_worker_before_the_call_is_sent(rig: Rig) -> None:
    inner = rig.client.put("inner")
    rig.submit([inner])
    request = requests(rig)[0]
    worker = rig.grant(request, 1, 20)
    [call] = worker.calls()
    assert call.borrowed == [inner.binary()]
    heard = rig.heard()
    assert m.AddRef(inner.binary(), 20) in heard
    assert any(isinstance(message, m.Resolve) and message.id == inner.binary() for message in heard)


def test_a_call_taken_back_takes_back_what_was_counted_for_its_worker(rig: Rig) -> None:
    first = rig.submit()
    worker = rig.grant(requests(rig)[0], 1, 20)
    worker.answer(worker.calls()[0], 0)
    rig.client.get([first], 5)
    inner = rig.client.put("inner")
    for _ in range(4):
        rig.submit([inner])
    rig.client.flush()
    with rig.client.lock:
        [lease] = rig.client.submission.leases()
        tokens.claim(worker.token_read)
        lease.progress_at_s -= 1.0
        rig.client.submission.tick(time.monotonic())
    heard = rig.heard()
    added = sum(1 for message in heard if message == m.AddRef(inner.binary(), 20))
    taken = sum(1 for message in heard if message == m.Unshare(inner.binary(), 20))
    assert added - 1 == taken > 0  # One call was started: its count is the worker's to give back.


def test_refs_inside_a_result_are_adopted_and_given_back(rig: Rig) -> None:
    ref = rig.submit()
    worker = rig.grant(requests(rig)[0], 1, 20)
    [call] = worker.calls()
    foreign = b"test" + (20).to_bytes(4, "big") + (1).to_bytes(8, "big") + b"\0\0\0\0"
    data = pickle.dumps(None)
    worker.channel.send(__import__("msgspec").msgpack.encode(m.Done([m.Outcome(call.seq, 0, 0, data, 1, contains=[[foreign]])])))
    assert rig.client.get([ref], 5) == [None]
    rig.heard()
    del ref
    rig.client.housekeep()
    assert m.DropRefs([(foreign, 1)]) in rig.heard()


def test_a_failed_dependency_fails_the_task_and_keeps_the_other_arguments_counted(rig: Rig) -> None:
    failed = rig.submit()
    kept = rig.client.put("kept")
    rig.client.cancel(failed, force=False, recursive=True)
    result = rig.submit(failed, kept)
    rig.client.housekeep()
    assert rig.client.table[kept.binary()].local == 1
    assert rig.client.get([kept], None) == ["kept"]
    del result


def test_everything_that_waits_fails_when_the_node_goes(rig: Rig) -> None:
    import pytest

    from skate.exceptions import RayError

    ref = rig.submit()
    rig.node.close()
    with pytest.raises(RayError, match="node process"):
        rig.client.get([ref], 5)
