"""The node process: who may join, how workers start and end, what they print, and how it all goes away."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from skate.engine.spec import messages as m, task_events as t
from tests.integration.node.parts import (
    ARENA_BYTES,
    REPOSITORY,
    RESTORED_AT,
    SPILLED_BYTES,
    NodeProcess,
    is_alive,
    say_hello,
    wait_until,
)  # fmt: skip


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    node = NodeProcess(tmp_path)
    yield node
    node.stop()


def greet_with_arena(node: NodeProcess) -> int:
    """The arena's descriptor."""
    node.send(say_hello())
    select.select([node.channel.fd], [], [], 10)
    received = node.channel.receive_with_descriptors()
    assert received is not None
    return received[1][0]


def child_of(node: NodeProcess) -> int:
    """The pid that a worker printed."""
    line = node.expect(m.LogLines).lines[0]
    return int(line.removeprefix("child "))


# ---------------------------------------------------------------- joining


def test_a_driver_is_welcomed_with_the_arena(node: NodeProcess) -> None:
    welcome = node.greet()

    assert (welcome.client, welcome.job, welcome.error) == (1, 1, "")
    assert welcome.arena_bytes == ARENA_BYTES
    assert welcome.namespace.startswith("anonymous-")
    record = json.loads((node.directory / "session.json").read_text())
    assert record["pid"] == node.process.pid
    assert record["driver_pid"] == os.getpid()


def test_observers_join_by_the_socket_and_leave(node: NodeProcess) -> None:
    node.greet()
    observer = node.join(say_hello("observer"))
    welcome = observer.expect(m.Welcome)

    assert (welcome.client, welcome.job) == (2, 0)
    assert observer.ask("session")["name"] == "test"
    observer.send(m.Goodbye())
    observer.channel.close()

    assert node.expect(m.Notice).text == "client 2 gone, crashed=False"


def test_a_driver_of_another_python_is_refused_with_a_reason(node: NodeProcess) -> None:
    node.greet()
    other = node.join(say_hello(python="3.2.0"))

    assert "Python 3.2" in other.expect(m.Welcome).error
    assert other.receive() is None


@pytest.mark.parametrize("frame", [b"\xc1", b"rubbish", b"", msgspec.msgpack.encode(["t", 10])])
def test_malformed_frames_cost_only_their_sender(node: NodeProcess, frame: bytes) -> None:
    node.greet()
    stranger = node.join()
    stranger.channel.sock.send(frame)
    member = node.join(say_hello())
    member.expect(m.Welcome)
    member.channel.sock.send(frame or b"\x90")

    assert node.expect(m.Notice).text == "client 2 gone, crashed=True"
    assert stranger.receive() is None
    assert node.ask("session")["name"] == "test"


def test_who_does_not_begin_with_hello_is_dropped(node: NodeProcess) -> None:
    node.greet()
    stranger = node.join()
    stranger.send(m.StopSession())

    assert stranger.receive() is None
    assert node.ask("session")["name"] == "test"


def test_frames_of_a_client_that_is_gone_are_handled_before_its_end(node: NodeProcess) -> None:
    node.greet()
    member = node.join(say_hello())
    member.expect(m.Welcome)
    os.kill(node.process.pid, signal.SIGSTOP)
    for number in range(20):
        member.send(m.GetNamedActor(number, f"actor {number}", ""))
    member.channel.close()
    os.kill(node.process.pid, signal.SIGCONT)

    texts = [node.expect(m.Notice).text for _ in range(21)]

    assert texts == [f"client 2 asks for actor {number}" for number in range(20)] + ["client 2 gone, crashed=True"]


# ---------------------------------------------------------------- workers


def test_a_worker_starts_clean(node: NodeProcess) -> None:
    node.greet()
    node.start_worker("surroundings")

    # Descriptors: three standard ones, two sockets, the arena, what the lease brought (two), and the one that lists them.
    assert node.expect(m.LogLines).lines == ["9 True [] 0 /dev/null"]


def test_workers_start_within_milliseconds(node: NodeProcess) -> None:
    node.greet()
    node.start_worker()
    took_s = []
    for request in range(2, 8):
        before_s = time.monotonic()
        node.start_worker("deaf", request)
        assert node.expect(m.LogLines).lines == ["deaf"]
        took_s.append(time.monotonic() - before_s)

    assert min(took_s) < 0.02


def test_a_killed_workers_children_go_with_it(node: NodeProcess) -> None:
    node.greet()
    granted = node.start_worker("child")
    child = child_of(node)
    assert is_alive(child)

    os.kill(granted.pid, signal.SIGKILL)
    lost = node.expect(m.LeaseLost)

    assert lost.kind == "signal"
    assert "SIGKILL" in lost.detail
    wait_until(lambda: not is_alive(child))


def test_what_a_dead_worker_had_sent_comes_before_its_death(node: NodeProcess) -> None:
    node.greet()
    node.send(m.RequestLease(1, {}, name="die after sending"))

    asked = 0
    while not isinstance(message := node.receive(), m.LeaseLost):
        asked += isinstance(message, m.Notice)

    assert asked == 50


def test_the_end_of_a_worker_is_told_in_words(node: NodeProcess) -> None:
    node.greet()
    node.start_worker("complain")
    lost = node.expect(m.LeaseLost)

    assert lost.kind == "exit_code"
    assert lost.detail == "it exited with status 3; last on stderr: something is missing"


def test_a_worker_that_is_not_needed_ends_by_itself(node: NodeProcess) -> None:
    node.greet()
    node.start_worker()
    node.send(m.ReturnLease(1))

    assert node.expect(m.LeaseLost).kind == "exit"


def test_a_worker_that_overstays_is_killed(node: NodeProcess) -> None:
    node.greet()
    node.start_worker("deaf")
    node.send(m.ReturnLease(1))
    lost = node.expect(m.LeaseLost)

    assert lost.kind == "killed"
    assert "did not end within 3 s (not needed)" in lost.detail


def test_killing_says_why(node: NodeProcess) -> None:
    node.greet()
    node.start_worker("deaf")
    node.send(m.KillLease(1))

    assert node.expect(m.LeaseLost).detail == "somebody wanted it dead"


def test_a_worker_that_sends_rubbish_is_killed(node: NodeProcess) -> None:
    node.greet()
    node.start_worker("rubbish")

    assert node.expect(m.LeaseLost).detail == "it sent a malformed frame"


# ---------------------------------------------------------------- output


def test_a_flood_of_output_neither_stalls_nor_is_lost_nor_fills_memory(node: NodeProcess) -> None:
    node.greet()
    node.start_worker("print")
    received, waits_s, asked_s = 0, [], 0.0
    last = ""
    while last != "last":
        message = node.receive()
        if isinstance(message, m.LogLines):
            received += sum(len(line) + 1 for line in message.lines)
            last = message.lines[-1]
            if not asked_s:
                asked_s = time.monotonic()
                node.send(m.KvGet(5, b"key"))
        elif isinstance(message, m.Reply):
            waits_s.append(time.monotonic() - asked_s)
            asked_s = 0.0

    assert received == 100_000_000 + len("last\n")
    assert max(waits_s) < 0.2
    assert node.ask("session")["node_rss_bytes"] < 100_000_000
    (lines,) = node.ask("logs").values()
    assert lines[-1] == "last"


def test_a_driver_that_reads_slowly_holds_the_printing_worker_up(node: NodeProcess) -> None:
    node.greet()
    node.start_worker("print")
    observer = node.join(say_hello("observer", wants_logs=False))
    observer.expect(m.Welcome)

    def rss_bytes() -> int:
        return int(observer.ask("session")["node_rss_bytes"])

    # Our own connection is not read meanwhile. The node answers, and stays small.
    for _ in range(200):
        assert rss_bytes() < 60_000_000
    received = 0
    while received < 100_000_000:
        received += sum(len(line) + 1 for line in node.expect(m.LogLines).lines)


# ---------------------------------------------------------------- state


def test_stacks_come_from_all_and_name_those_that_do_not_answer(node: NodeProcess) -> None:
    node.greet()
    talking = node.start_worker()
    deaf = node.start_worker("deaf", 2)

    stacks = node.ask("stacks")

    assert stacks[talking.pid] == "in run_worker"
    assert "no answer within 2 s" in stacks[deaf.pid]


def test_a_long_answer_comes_from_a_child_process(node: NodeProcess) -> None:
    node.greet()
    for start in range(0, 20_000, 1000):
        rows: list[t.Row] = [
            (b"\0\0\0\0\0\0\0\1" + number.to_bytes(8, "big"), 0, "square", t.TASK, t.FAILED, 2, b"", b"", 1_000, 2_000, "", 1)
            for number in range(start, start + 1000)
        ]
        errors = [(row[0], 0, "square", "ValueError: no: never", b"") for row in rows]
        node.send(m.Events(t.pack_attempts(rows, {"square": 7}), 1000, [(7, "square")], errors))

    tasks = node.ask("tasks")

    assert len(tasks) == 20_000
    assert int(tasks[-1]["task_id"][16:], 16) == 19_999
    assert (tasks[-1]["state"], tasks[-1]["error_type"], tasks[-1]["error_message"]) == ("FAILED", "ValueError", "no: never")
    assert len(node.ask("tasks", limit=10)) == 10
    assert len(node.ask("timeline")) == 20_000


def test_unknown_questions_are_answered_with_what_can_be_asked(node: NodeProcess) -> None:
    node.greet()
    node.send(m.Query(1, "weather"))

    assert "ask for one of actors" in node.expect(m.Reply).error


def test_a_bug_in_handling_one_message_is_told_and_survived(node: NodeProcess) -> None:
    node.greet()
    node.send(m.RequestLease(1, {}, name="bug"))
    notice = node.expect(m.Notice)

    assert notice.level == "error"
    assert "RuntimeError: this is the bug" in notice.text
    assert "Traceback" in node.log.read_text()
    assert node.ask("session")["name"] == "test"


# ---------------------------------------------------------------- spilling


def test_values_go_to_disk_and_come_back(node: NodeProcess) -> None:
    arena = greet_with_arena(node)
    os.pwrite(arena, b"Z" * SPILLED_BYTES, 0)

    node.send(m.Seal(b"o" * 20, 1))
    assert node.expect(m.Notice, level="SpillDone").text == ""
    node.send(m.Fetch(b"o" * 20))
    assert node.expect(m.Notice, level="RestoreDone").text == ""

    assert os.pread(arena, SPILLED_BYTES, RESTORED_AT) == b"Z" * SPILLED_BYTES
    node.send(m.Free([b"o" * 20]))
    node.send(m.Fetch(b"o" * 20))
    assert "not in the spill file" in node.expect(m.Notice, level="RestoreDone").text
    os.close(arena)


def test_a_full_spill_file_is_an_answer(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, spill_bytes_max=2_500_000)
    node.greet()
    for name in (b"a", b"b", b"c"):
        node.send(m.Seal(name * 20, 1))
    answers = [node.expect(m.Notice, level="SpillDone").text for _ in range(3)]

    assert sorted(answer[:16] for answer in answers) == ["", "", "cannot spill 1,0"]
    node.send(m.Free([b"a" * 20]))
    node.send(m.Seal(b"c" * 20, 1))
    assert node.expect(m.Notice, level="SpillDone").text == "", "what was deleted makes room"
    node.stop()


def test_a_spill_directory_that_does_not_exist_is_an_answer(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, spill_dir="/nowhere")
    node.greet()
    node.send(m.Seal(b"a" * 20, 1))

    assert "No such file or directory" in node.expect(m.Notice, level="SpillDone").text
    node.stop()


def test_spilling_goes_on_when_its_process_is_killed(node: NodeProcess) -> None:
    node.greet()
    node.send(m.Seal(b"a" * 20, 1))
    assert node.expect(m.Notice, level="SpillDone").text == ""
    (spiller,) = children_of(node.process.pid)

    os.kill(spiller, signal.SIGKILL)
    wait_until(lambda: not is_alive(spiller))
    node.send(m.Fetch(b"a" * 20))
    first = node.expect(m.Notice, level="RestoreDone").text
    node.send(m.Fetch(b"a" * 20))

    assert first in ("", "the process that spills died")
    assert node.expect(m.Notice, level="RestoreDone").text == ""


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# ---------------------------------------------------------------- the end


def everything_of(node: NodeProcess) -> list[int]:
    return [node.process.pid, *children_of(node.process.pid)]


@pytest.mark.parametrize("how", ["goodbye", "close", "SIGTERM", "stop"])
def test_everything_is_gone_within_a_second(node: NodeProcess, how: str) -> None:
    node.greet()
    node.start_worker()
    node.start_worker("deaf", 2)
    node.expect(m.LogLines)
    node.start_worker("child", 3)
    grandchild = child_of(node)
    node.start_worker("daemon", 4)
    daemon = child_of(node)
    node.send(m.Seal(b"a" * 20, 1))
    node.expect(m.Notice, level="SpillDone")
    processes = [*everything_of(node), grandchild, daemon]
    started_s = time.monotonic()

    match how:
        case "goodbye":
            node.send(m.Goodbye())
        case "close":
            node.channel.close()
        case "SIGTERM":
            node.process.send_signal(signal.SIGTERM)
        case "stop":
            node.join(say_hello("observer")).send(m.StopSession())
    if how != "close":
        assert any(isinstance(message, m.SessionEnding) for message in node.read_to_the_end())
        assert not node.directory.exists(), "gone before the driver is told"
    node.process.wait(timeout=5)

    assert time.monotonic() - started_s < 1.0
    assert [pid for pid in processes if is_alive(pid)] == []
    assert not node.directory.exists()


def test_quiet_workers_end_at_once(node: NodeProcess) -> None:
    node.greet()
    for request in range(1, 5):
        node.start_worker("", request)
    started_s = time.monotonic()

    node.send(m.Goodbye())
    node.read_to_the_end()

    assert time.monotonic() - started_s < 0.3


def test_what_was_printed_before_the_end_still_arrives(node: NodeProcess) -> None:
    arena = greet_with_arena(node)
    node.start_worker("print and mark")
    os.kill(node.process.pid, signal.SIGSTOP)
    node.send(m.Goodbye())
    wait_until(lambda: os.pread(arena, 1, 0) == b"!")
    os.kill(node.process.pid, signal.SIGCONT)

    lines = [line for message in node.read_to_the_end() if isinstance(message, m.LogLines) for line in message.lines]

    assert lines == ["printed"]
    os.close(arena)


def test_interrupts_are_the_drivers_business(node: NodeProcess) -> None:
    node.greet()
    node.process.send_signal(signal.SIGINT)
    node.process.send_signal(signal.SIGHUP)

    assert node.ask("session")["name"] == "test"


def test_a_killed_driver_ends_the_session_although_its_child_holds_the_socket(tmp_path: Path) -> None:
    # A driver that starts a node, forks a child that lives on with all its descriptors, and waits to be killed.
    program = textwrap.dedent(
        f"""
        import os, sys, time
        from pathlib import Path
        from tests.integration.node.parts import NodeProcess
        node = NodeProcess(Path({str(tmp_path / "driver")!r}))
        node.greet()
        child = os.fork()
        if child == 0:
            time.sleep(1000)
        print(node.process.pid, child, flush=True)
        time.sleep(1000)
        """
    )
    (tmp_path / "driver").mkdir()
    driver = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}"},
    )
    assert driver.stdout is not None
    node_pid, child = map(int, driver.stdout.readline().split())
    try:
        driver.kill()
        driver.wait()
        wait_until(lambda: not is_alive(node_pid), timeout_s=2)
        assert not (tmp_path / "driver" / "session").exists()
        assert is_alive(child), "the test's point: it still held the socket"
    finally:
        os.kill(child, signal.SIGKILL)
        driver.stdout.close()


def test_workers_die_with_a_killed_node(node: NodeProcess) -> None:
    node.greet()
    pids = [node.start_worker("deaf", request).pid for request in (1, 2)]

    node.process.kill()

    wait_until(lambda: not any(map(is_alive, pids)), timeout_s=2)


def test_a_kept_session_outlives_its_first_client(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, is_embedded=False)
    node.greet()
    second = node.join(say_hello())
    second.expect(m.Welcome)
    node.channel.close()

    assert second.ask("session")["drivers"] >= 1
    second.send(m.StopSession())
    second.read_to_the_end()
    assert node.process.wait(timeout=5) == 0
    node.stop()


def test_idle_costs_nothing(node: NodeProcess) -> None:
    node.greet()
    node.start_worker()
    node.send(m.ReturnLease(1))
    node.expect(m.LeaseLost)

    def switches() -> int:
        text = Path(f"/proc/{node.process.pid}/status").read_text()
        return sum(map(int, re.findall(r"ctxt_switches:\t(\d+)", text)))

    # The claim is about a stretch of time: nothing wakes the node in it.
    before = -1
    while before != switches():
        before = switches()
        time.sleep(0.6)
