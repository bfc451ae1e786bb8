"""Actors: construction, order, kinds, cancelling, ends."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from typing import Any

import pytest
import worker_harness
from worker_harness import Node, Slot

from skate.engine.client import errors
from skate.engine.spec import messages as m


class Counter:
    def __init__(self, start: int = 0, path: str = "") -> None:
        self.n = start
        if path:
            atexit.register(lambda: open(path, "w").close())

    def add(self, k: int) -> int:
        self.n += k
        return self.n

    def fail(self) -> None:
        raise ValueError("no")

    def items(self, n: int) -> Any:
        yield from range(n)

    def context(self) -> Any:
        return worker_harness.runtime.context()

    def leave(self) -> None:
        worker_harness.runtime.exit_actor()

    def exit(self, code: int) -> None:
        sys.exit(code)

    def wait_cancelled(self, path: str) -> bool:
        open(path, "w").close()
        while not worker_harness.runtime.is_canceled():
            pass
        return True

    def wait_for(self, path: str) -> str:
        while not os.path.exists(path):
            pass
        return path


class Async:
    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    async def wait(self) -> str:
        await self.event.wait()
        return "woken"

    async def wake(self) -> None:
        self.event.set()

    def plain(self, x: int) -> int:
        return x + 1

    async def items(self, n: int) -> Any:
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def task(self) -> bytes:
        await asyncio.sleep(0)
        return worker_harness.runtime.current_task()  # type: ignore[no-any-return]

    async def leave(self) -> None:
        worker_harness.runtime.exit_actor()

    async def echo(self, value: Any) -> Any:
        return value


def test_methods_run_in_order(node: Node) -> None:
    node.actor(Counter, 10)
    caller = node.caller()
    node.wait_message(m.ActorReady)
    seqs = [caller.call("add", 1) for _ in range(50)]
    assert [caller.value(seq) for seq in seqs] == list(range(11, 61))
    assert "no" in str(caller.error(caller.call("fail")))
    assert "AttributeError" in str(caller.error(caller.call("missing")))
    assert caller.result("add", 0) == 60


def test_several_callers_share_an_actor(node: Node) -> None:
    node.actor(Counter)
    first, second = node.caller(3), node.caller(4)
    assert first.result("add", 1) == 1
    assert second.result("add", 1) == 2
    first.close()
    assert second.result("add", 1) == 3


def test_constructor_arguments_may_be_references(node: Node) -> None:
    stored = node.store(41)
    node.actor(Counter, Slot(0), arg_refs=[stored])
    assert node.caller().result("add", 1) == 42


def test_a_failing_constructor_is_reported(node: Node) -> None:
    actor = node.actor(Counter, 1, 2, 3)
    failed = node.wait_message(m.ActorCreationFailed)
    assert failed.actor == actor
    assert isinstance(errors.unpack_error(failed.error), TypeError)
    assert node.wait_exit() == 0


def test_engine_methods(node: Node) -> None:
    node.actor(Counter, 5)
    caller = node.caller()
    assert caller.result("__ray_ready__") is True
    assert caller.result("__ray_call__", lambda self, k: self.n + k, 2) == 7
    caller.result("__ray_terminate__")
    assert node.wait_exit(caller) == 0
    assert node.got(m.ActorExiting)


def test_context_names_the_actor(node: Node) -> None:
    actor = node.actor(Counter)
    context = node.caller().result("context")
    assert context["actor_id"] == actor
    assert context["was_reconstructed"] is False


def test_generators_as_methods(node: Node) -> None:
    node.actor(Counter)
    caller = node.caller()
    caller.value(caller.call("items", 3, num_returns=-1))
    assert caller.values() == [0, 1, 2]


def test_exit_actor_is_on_purpose_and_runs_exit_handlers(node: Node, tmp_path: Any) -> None:
    node.actor(Counter, 0, str(tmp_path / "ended"))
    caller = node.caller()
    assert caller.wait(caller.call("leave")).status == 3
    assert node.wait_exit(caller) == 0
    assert node.got(m.ActorExiting)
    assert (tmp_path / "ended").exists()


def test_sys_exit_with_a_code_is_a_crash(node: Node) -> None:
    node.actor(Counter)
    caller = node.caller()
    caller.call("exit", 3)
    assert node.wait_exit(caller) == 3
    assert not node.got(m.ActorExiting)


def test_a_graceful_exit_finishes_received_calls(node: Node, tmp_path: Any) -> None:
    node.actor(Counter, 0, str(tmp_path / "ended"))
    caller = node.caller()
    go = str(tmp_path / "go")
    first, second = caller.call("wait_for", go), caller.call("add", 1)
    node.order(m.Exit(True, "the last handle is gone"))
    open(go, "w").close()
    assert node.wait_exit(caller) == 0
    caller.hear()
    assert caller.value(first) == go
    assert caller.value(second) == 1
    assert (tmp_path / "ended").exists()


def test_cancelling_a_sync_method_sets_a_flag(node: Node, tmp_path: Any) -> None:
    node.actor(Counter)
    caller = node.caller()
    started = tmp_path / "started"
    running, queued = caller.call("wait_cancelled", str(started)), caller.call("add", 1)
    caller.wait_until(started.exists)
    node.order(m.Interrupt(caller.tasks[queued], True))
    node.order(m.Interrupt(caller.tasks[running], True))
    assert caller.value(running) is True
    assert caller.wait(queued).status == 2
    assert caller.result("add", 1) == 1


def test_threaded_methods_run_at_once(node: Node, tmp_path: Any) -> None:
    node.actor(Counter, max_concurrency=3)
    caller = node.caller()
    go = str(tmp_path / "go")
    waiting = [caller.call("wait_for", go) for _ in range(2)]
    assert caller.result("add", 1) == 1
    open(go, "w").close()
    assert [caller.value(seq) for seq in waiting] == [go, go]


def test_threaded_methods_know_their_task_and_cancel(node: Node, tmp_path: Any) -> None:
    actor = node.actor(Counter, max_concurrency=2)
    caller = node.caller()
    started = tmp_path / "started"
    running = caller.call("wait_cancelled", str(started))
    caller.wait_until(started.exists)
    context = caller.result("context")
    assert context["actor_id"] == actor
    assert context["task_id"] != caller.tasks[running]
    node.order(m.Interrupt(caller.tasks[running], True))
    assert caller.value(running) is True


def test_threaded_generators_wait_for_their_consumer(node: Node) -> None:
    node.actor(Counter, max_concurrency=2)
    caller = node.caller()
    seq = caller.call("items", 4, num_returns=-1, backpressure=1)
    caller.wait_until(lambda: len(caller.items()) == 1)
    caller.ack(seq, 4)
    caller.value(seq)
    assert caller.values() == [0, 1, 2, 3]


def test_concurrency_groups_do_not_wait_for_each_other(node: Node, tmp_path: Any) -> None:
    node.actor(Counter, concurrency_groups={"io": 1})
    caller = node.caller()
    go = str(tmp_path / "go")
    waiting = caller.call("wait_for", go)
    assert caller.result("add", 1, concurrency_group="io") == 1
    error = caller.error(caller.call("add", 1, concurrency_group="nope"))
    assert "no concurrency group 'nope'" in str(error)
    open(go, "w").close()
    caller.value(waiting)


def test_exit_actor_from_a_pool_thread(node: Node) -> None:
    node.actor(Counter, max_concurrency=2)
    caller = node.caller()
    caller.call("leave")
    assert node.wait_exit(caller) == 0
    assert node.got(m.ActorExiting)


def test_async_methods_interleave(node: Node) -> None:
    node.actor(Async, is_async=True, max_concurrency=1000)
    caller = node.caller()
    waiting = caller.call("wait")
    assert caller.result("plain", 1) == 2
    caller.result("wake")
    assert caller.value(waiting) == "woken"
    seq = caller.call("task")
    assert caller.value(seq) == caller.tasks[seq]


def test_async_generators_stream_with_backpressure(node: Node) -> None:
    node.actor(Async, is_async=True, max_concurrency=10)
    caller = node.caller()
    seq = caller.call("items", 5, num_returns=-1, backpressure=2)
    caller.wait_until(lambda: len(caller.items()) == 2)
    assert caller.result("plain", 1) == 2
    assert len(caller.items()) == 2
    caller.ack(seq, 5)
    assert caller.value(seq) is None
    assert caller.values() == [0, 1, 2, 3, 4]


def test_cancelling_an_async_method_cancels_its_task(node: Node) -> None:
    node.actor(Async, is_async=True, max_concurrency=1)
    caller = node.caller()
    running, queued = caller.call("wait"), caller.call("plain", 1)
    caller.wait_until(lambda: [row for row in node.rows() if row[9] == 0])
    node.order(m.Interrupt(caller.tasks[queued], True))
    node.order(m.Interrupt(caller.tasks[running], True))
    assert caller.wait(running).status == 2
    assert caller.wait(queued).status == 2
    assert caller.result("plain", 1) == 2


def test_async_arguments_are_fetched_without_blocking_the_loop(node: Node) -> None:
    node.actor(Async, is_async=True, max_concurrency=10)
    caller = node.caller()
    wanted = b"w" * 20
    seq = caller.call("echo", Slot(0), refs=[wanted])
    node.until(lambda: [x for x in node.got(m.Fetch) if x.id == wanted], caller)
    assert caller.result("plain", 1) == 2
    node.publish(wanted, "came")
    assert caller.value(seq) == "came"


@pytest.mark.parametrize("kind", ["exit_actor", "graceful"])
def test_async_actors_end(node: Node, kind: str) -> None:
    node.actor(Async, is_async=True, max_concurrency=10)
    caller = node.caller()
    caller.result("plain", 1)
    if kind == "exit_actor":
        assert caller.wait(caller.call("leave")).status == 3
    else:
        node.order(m.Exit(True, ""))
    assert node.wait_exit(caller) == 0


def test_threads_of_the_actor_may_outlive_nothing(node: Node) -> None:
    class Threads:
        def start(self) -> None:
            threading.Thread(target=threading.Event().wait).start()

    node.actor(Threads)
    caller = node.caller()
    caller.result("start")
    node.order(m.Exit(True, ""))
    assert node.wait_exit(caller) == 0
