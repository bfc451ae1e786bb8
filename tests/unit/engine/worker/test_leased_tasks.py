"""Leased tasks: claims, results, errors, references."""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import worker_harness
from worker_harness import CALLER, WORKER, Caller, Node, Slot

from skate.engine.spec import messages as m
from skate.engine.spec.ids import return_id
from skate.engine.transport import tokens


def add(a: int, b: int) -> int:
    return a + b


def nothing() -> None:
    pass


def fail(text: str) -> None:
    raise ValueError(text)


def test_a_call_returns_its_value(lease: Caller) -> None:
    assert lease.result(add, 2, 3) == 5
    assert lease.result(nothing) is None


def test_many_calls_are_answered_in_order(lease: Caller) -> None:
    calls = [lease.make(add, i, 1) for i in range(500)]
    for start in range(0, 500, 100):
        lease.send(*calls[start : start + 100])
    lease.wait(calls[-1].seq)
    assert lease.order == list(range(500))
    assert [lease.value(call.seq) for call in calls] == list(range(1, 501))


def test_calls_that_were_taken_back_do_not_run(lease: Caller, tmp_path: Any) -> None:
    log = str(tmp_path / "ran")

    def note(i: int) -> int:
        with open(log, "a") as file:
            file.write(f"{i} ")
        return i

    def wait_for_go(path: str) -> None:
        while not os.path.exists(path):
            pass

    go = str(tmp_path / "go")
    first = lease.call(wait_for_go, go)
    lease.node.until(lambda: tokens_left(lease) == 0, lease)
    calls = [lease.make(note, i) for i in range(6)]
    lease.send(*calls[:4])
    taken = tokens.take_back(lease.token_read, 3)
    assert taken == [call.seq for call in calls[:3]]
    open(go, "w").close()
    lease.wait(first)
    lease.wait(calls[3].seq)
    lease.send(*calls[4:])
    lease.wait(calls[5].seq)
    with open(log) as file:
        assert file.read() == "3 4 5 "


def tokens_left(lease: Caller) -> int:
    import array
    import fcntl
    import termios

    size = array.array("i", [0])
    fcntl.ioctl(lease.token_read, termios.FIONREAD, size)
    return size[0]


def test_everything_taken_back_leaves_the_worker_ready(lease: Caller) -> None:
    calls = [lease.make(nothing) for _ in range(3)]
    # The tokens are gone before the packet comes.
    lease.channel.send(worker_harness._encode(m.Calls(calls)))
    assert lease.result(add, 1, 1) == 2
    assert not any(call.seq in lease.outcomes for call in calls)


def test_a_second_lease_follows_the_first(node: Node) -> None:
    first = node.lease()
    assert first.result(add, 1, 1) == 2
    first.close()
    second = node.lease(caller=4)
    assert second.result(add, 1, 2) == 3
    second.close()


def test_an_error_is_packed_and_the_worker_goes_on(lease: Caller) -> None:
    error = lease.error(lease.call(fail, "no"))
    assert "no" in str(error)
    assert lease.result(add, 1, 1) == 2


def test_recursion_too_deep_is_an_error_of_the_task(lease: Caller) -> None:
    def deep() -> None:
        deep()

    assert "RecursionError" in str(lease.error(lease.call(deep)))
    assert lease.result(add, 1, 1) == 2


def test_errors_are_retryable_when_asked(lease: Caller) -> None:
    assert lease.wait(lease.call(fail, "x", retry_exceptions=True)).retryable
    types = pickle.dumps((ValueError,))
    assert lease.wait(lease.call(fail, "x", retry_exceptions=True, retry_types=types)).retryable
    types = pickle.dumps((KeyError,))
    assert not lease.wait(lease.call(fail, "x", retry_exceptions=True, retry_types=types)).retryable
    assert not lease.wait(lease.call(fail, "x")).retryable


def test_a_result_that_cannot_be_pickled_says_so(lease: Caller) -> None:
    def lock() -> Any:
        import threading

        return threading.Lock()

    text = str(lease.error(lease.call(lock)))
    assert "lock" in text
    assert "can't be pickled" in text


class Unloadable:
    def __reduce__(self) -> Any:
        return fail, ("unloadable",)


def test_arguments_that_cannot_be_unpickled_say_so(lease: Caller) -> None:
    text = str(lease.error(lease.call(add, Unloadable(), 1)))
    assert "an argument of add()" in text
    assert "unloadable" in text


def test_a_function_that_cannot_be_unpickled_says_so(lease: Caller) -> None:
    def broken() -> None: ...

    data = b"cno_such_module\nfunction\n."
    text = str(lease.error(lease.call(broken, definition=m.Value(0, data), definition_id=b"")))
    assert "no_such_module" in text
    assert "working_dir" in text


def test_several_returns(lease: Caller) -> None:
    def two() -> Any:
        return 1, "b"

    def generator() -> Any:
        yield from range(3)

    assert lease.value(lease.call(two, num_returns=2)) == [1, "b"]
    assert lease.value(lease.call(generator, num_returns=3)) == [0, 1, 2]
    assert "num_returns=3 but returned 2" in str(lease.error(lease.call(two, num_returns=3)))
    assert "num_returns=2" in str(lease.error(lease.call(nothing, num_returns=2)))
    assert lease.value(lease.call(two, num_returns=0)) == []


def test_a_large_result_goes_to_the_arena(lease: Caller) -> None:
    def large() -> bytes:
        return b"x" * 1_000_000

    seq = lease.call(large)
    outcome = lease.wait(seq)
    assert outcome.returns is not None
    assert type(outcome.returns[0]) is m.Stored
    object_id = return_id(lease.tasks[seq], 0)
    lease.wait_until(lambda: object_id in lease.node.sealed)
    assert lease.node.sealed[object_id].holder == CALLER
    assert lease.node.stored_value(object_id) == b"x" * 1_000_000


def test_a_full_store_is_the_tasks_error(lease: Caller) -> None:
    lease.node.is_full = True
    assert "the store is full" in str(lease.error(lease.call(lambda: b"x" * 1_000_000)))
    assert lease.result(add, 1, 1) == 2


def test_top_level_references_are_filled_in(lease: Caller) -> None:
    node = lease.node
    stored = node.store(list(range(100)))
    node.values[b"o" * 20] = m.Value(0, pickle.dumps("inline"))
    seq = lease.call(lambda a, b, c: (a, b, c), Slot(0), Slot(1), Slot(2), refs=[stored, "here", b"o" * 20])
    assert lease.value(seq) == (list(range(100)), "here", "inline")
    # Two counts were added for the worker by the caller; all come back.
    lease.wait_until(lambda: node.counts().get((stored, WORKER)) == -1)
    lease.wait_until(lambda: node.counts().get((b"o" * 20, WORKER)) == -1)


def test_a_task_that_waits_in_get_gives_its_cpu_back(lease: Caller) -> None:
    node = lease.node
    wanted = b"w" * 20

    def get(i: bytes) -> Any:
        ref = worker_harness.client.rebuild_ref(i)
        return worker_harness.client.get([ref], None)[0]

    first = lease.make(add, 1, 1)
    second = lease.make(get, wanted)
    lease.send(first, second)
    node.wait_message(m.Blocked, lease)
    # What was done before must not wait while this one blocks.
    assert lease.value(first.seq) == 2
    lease.wait_until(lambda: [x for x in lease.messages if type(x) is m.LeaseBlocked])
    node.publish(wanted, "came")
    assert lease.value(second.seq) == "came"
    node.wait_message(m.Unblocked, lease)
    assert [x.blocked for x in lease.messages if type(x) is m.LeaseBlocked] == [True, False]


def test_references_in_a_result_are_counted_for_the_caller(lease: Caller) -> None:
    def put() -> Any:
        return [worker_harness.client.put(1)]

    seq = lease.call(put)
    outcome = lease.wait(seq)
    assert outcome.contains is not None
    (inner,) = outcome.contains[0]
    lease.wait_until(lambda: lease.node.counts().get((inner, CALLER)) == 1)


def test_results_held_back_are_sent_while_a_long_call_runs(lease: Caller, tmp_path: Any) -> None:
    go = str(tmp_path / "go")

    def wait_for(path: str) -> None:
        import time

        while not os.path.exists(path):
            time.sleep(0.001)

    quick, slow = lease.make(nothing), lease.make(wait_for, go)
    lease.send(quick, slow)
    lease.wait(quick.seq)
    assert slow.seq not in lease.outcomes
    open(go, "w").close()
    lease.wait(slow.seq)


def test_max_calls_retires_the_worker(node: Node) -> None:
    lease = node.lease()
    lease.result(os.getpid, max_calls=2)
    assert not [x for x in lease.messages if type(x) is m.Retiring]
    lease.result(os.getpid, max_calls=2)
    lease.wait_until(lambda: [x for x in lease.messages if type(x) is m.Retiring])
    late = lease.call(nothing)
    assert tokens.take_back(lease.token_read) == [late]
    lease.close()
    assert node.wait_exit() == 0


def test_sys_exit_ends_the_worker_after_sending_what_was_done(node: Node) -> None:
    lease = node.lease()
    done, bye = lease.make(nothing), lease.make(sys.exit, 3)
    lease.send(done, bye)
    assert node.wait_exit(lease) == 3
    lease.hear()
    assert done.seq in lease.outcomes
    assert bye.seq not in lease.outcomes


def test_events_tell_what_ran(lease: Caller) -> None:
    lease.result(add, 1, 1)
    seq = lease.call(fail, "x")
    lease.wait(seq)
    lease.wait_until(lambda: len(lease.node.rows()) == 2)
    first, second = lease.node.rows()
    assert (first[2], first[4], first[11]) == ("add", 1, CALLER)
    assert (second[0], second[4], second[10]) == (lease.tasks[seq], 2, "ValueError: x")
    assert first[8] <= first[9]


def test_current_task_and_context(lease: Caller) -> None:
    def look() -> Any:
        runtime = worker_harness.runtime
        return runtime.current_task(), runtime.context()

    seq = lease.call(look)
    task, context = lease.value(seq)
    assert task == lease.tasks[seq]
    assert context["task_id"] == task
    assert context["task_name"].endswith("look")
    assert context["resources"] == {"CPU": 1.0}
    assert context["actor_id"] is None


def test_dynamic_returns_are_refs(lease: Caller) -> None:
    def items() -> Any:
        yield 1
        yield 2

    outcome = lease.wait(lease.call(items, num_returns=-2))
    assert outcome.contains is not None
    assert len(outcome.contains[0]) == 2


def test_gpus_are_shown(node: Node) -> None:
    def visible() -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    lease = node.lease(gpu_ids=[1, 3])
    assert lease.result(visible) == "1,3"
    lease.close()
    lease = node.lease()
    assert lease.result(visible) == ""
    lease.close()
