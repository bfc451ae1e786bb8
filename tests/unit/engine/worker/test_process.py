"""What user code may do to its process, and how a worker ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
import worker_harness
from worker_harness import Caller, Node

from skate.engine.spec import messages as m
from skate.engine.spec.boot import LOG_MARK, JobInfo


def add(a: int, b: int) -> int:
    return a + b


def spin(path: str) -> None:
    open(path, "w").close()
    while True:
        pass


def sleep(path: str) -> None:
    import time

    open(path, "w").close()
    time.sleep(3600)


def spin_with_signals_blocked(path: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
    spin(path)


def sleep_with_own_handler(path: str) -> None:
    signal.signal(signal.SIGINT, lambda *_: None)
    sleep(path)


def wait_in_get(path: str) -> None:
    ref = worker_harness.client.rebuild_ref(b"n" * 20)
    open(path, "w").close()
    worker_harness.client.get([ref], None)


@pytest.mark.parametrize("function", [spin, sleep, spin_with_signals_blocked, sleep_with_own_handler, wait_in_get])
def test_a_running_task_is_interrupted(lease: Caller, tmp_path: Any, function: Any) -> None:
    started = tmp_path / "started"
    seq = lease.call(function, str(started))
    lease.wait_until(started.exists)
    lease.node.order(m.Interrupt(lease.tasks[seq], True))
    assert lease.wait(seq).status == 2
    assert lease.result(add, 1, 1) == 2


def test_an_interrupt_that_comes_late_hits_nobody(lease: Caller) -> None:
    seq = lease.call(add, 1, 1)
    lease.wait(seq)
    lease.node.order(m.Interrupt(lease.tasks[seq], True))
    for i in range(50):
        assert lease.result(add, i, 1) == i + 1


def test_interrupts_at_any_moment_hit_their_task_or_nothing(lease: Caller) -> None:
    def work(n: int) -> int:
        ref = worker_harness.client.put([n])
        return sum(worker_harness.client.get([ref], None)[0]) + sum(range(n)) - sum(range(n))

    ends = set()
    for i in range(200):
        seq = lease.call(work, i * 37 % 2000)
        lease.node.order(m.Interrupt(lease.tasks[seq], True))
        bystander = lease.call(add, i, 1)
        ends.add(lease.wait(seq).status)
        assert lease.value(bystander) == i + 1
    assert ends <= {0, 2}


def test_a_task_cancelled_before_its_turn_does_not_run(lease: Caller, tmp_path: Any) -> None:
    started, ran = tmp_path / "started", str(tmp_path / "ran")
    first = lease.call(spin, str(started))
    second = lease.call(lambda path: open(path, "w").close(), ran)
    lease.wait_until(started.exists)
    lease.node.order(m.Interrupt(lease.tasks[second], True))
    lease.node.order(m.Interrupt(lease.tasks[first], True))
    assert lease.wait(first).status == 2
    assert lease.wait(second).status == 2
    assert not os.path.exists(ran)


def test_own_keyboard_interrupt_is_an_error(lease: Caller) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    assert lease.wait(lease.call(press)).status == 1


def test_output_is_labelled(lease: Caller) -> None:
    def hello() -> None:
        print("hello")
        print("no end", end="")

    def other() -> None:
        print("other")

    lease.result(hello)
    lease.result(other)
    lease.wait_until(lambda: b"other\n" in lease.node.output)
    mark = lambda name: LOG_MARK + name + b"\n"  # noqa: E731
    assert lease.node.output == mark(b"hello") + b"hello\nno end\n" + mark(b"other") + b"other\n"


def test_closing_stdout_hurts_nobody(lease: Caller) -> None:
    def close() -> None:
        sys.stdout.close()
        os.close(1)

    def hello() -> None:
        print("still here")

    lease.result(close)
    lease.close()
    node = lease.node
    again = node.lease()
    again.result(hello)
    node.until(lambda: b"still here" in node.output, again)
    again.close()


def test_a_task_that_forks_has_one_answer(lease: Caller) -> None:
    def fork() -> int:
        return os.fork()

    seq = lease.call(fork)
    child = lease.value(seq)
    assert child > 0
    assert lease.result(add, 1, 1) == 2
    assert lease.result(lambda pid: os.waitpid(pid, 0)[1], child) == 0
    assert sorted(lease.order) == list(range(3))


def test_the_channel_ends_with_the_worker_although_a_forked_child_lives(node: Node) -> None:
    lease = node.lease()

    def fork_and_die() -> None:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        os.kill(os.getpid(), signal.SIGKILL)

    lease.call(fork_and_die)
    assert node.wait_exit(lease) == -signal.SIGKILL
    lease.wait_until(lambda: not lease.is_open)
    os.killpg(node.pid, signal.SIGKILL)


def test_multiprocessing_works_in_a_task(lease: Caller) -> None:
    def pool() -> list[int]:
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as workers:
            return workers.map(abs, [-1, -2, -3])

    assert lease.result(pool) == [1, 2, 3]


def test_threads_in_a_task_know_its_id(lease: Caller) -> None:
    def in_thread() -> bytes:
        import threading

        found: list[bytes] = []
        thread = threading.Thread(target=lambda: found.append(worker_harness.runtime.current_task()))
        thread.start()
        thread.join()
        return found[0]

    seq = lease.call(in_thread)
    assert lease.value(seq) == lease.tasks[seq]


def test_the_directory_is_put_back_between_leases(make_node: Any, tmp_path: Any) -> None:
    node = make_node(job_info=JobInfo(job=1, cwd=str(tmp_path)))
    lease = node.lease()
    assert lease.result(os.getcwd) == str(tmp_path)
    lease.result(os.chdir, "/")
    lease.close()
    lease = node.lease()
    assert lease.result(os.getcwd) == str(tmp_path)
    lease.close()


def test_the_runtime_environment_is_applied(make_node: Any, tmp_path: Any) -> None:
    package = tmp_path / "packages" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("value = 7")
    work = tmp_path / "work"
    work.mkdir()
    (work / "my_module.py").write_text("value = 8")
    env = {"env_vars": {"A": "1", "B": "${A}2"}, "working_dir": str(work), "py_modules": [str(package)]}
    node = make_node(env=json.dumps(env))
    lease = node.lease()

    def look() -> Any:
        import my_module  # type: ignore[import-not-found]
        import my_package  # type: ignore[import-not-found]

        return my_package.value, my_module.value, os.environ["A"], os.environ["B"], os.getcwd()

    assert lease.result(look) == (7, 8, "1", "12", str(work))
    lease.close()


def test_an_environment_that_cannot_be_set_up_fails_its_tasks(make_node: Any) -> None:
    node = make_node(env=json.dumps({"working_dir": "/no/such/directory"}))
    lease = node.lease()
    assert "/no/such/directory" in str(lease.error(lease.call(add, 1, 1)))
    lease.close()


def test_a_worker_of_another_interpreter_is_executed(make_node: Any) -> None:
    node = make_node(is_exec=True)
    lease = node.lease()
    assert lease.result(add, 1, 2) == 3
    # Programs that user code starts inherit nothing of ours.
    listed = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    inherited = lease.result(lambda: subprocess.check_output([sys.executable, "-c", listed], close_fds=False))
    assert json.loads(inherited) == [0, 1, 2]
    lease.close()


def test_stacks_are_dumped(lease: Caller, tmp_path: Any) -> None:
    started = tmp_path / "started"
    lease.call(sleep, str(started))
    lease.wait_until(started.exists)
    lease.node.order(m.DumpStack(5))
    dump = lease.node.wait_message(m.StackDump)
    assert dump.request == 5
    assert "in sleep" in dump.text


def test_a_long_call_is_reported_as_running(lease: Caller, tmp_path: Any) -> None:
    seq = lease.call(sleep, str(tmp_path / "started"))
    lease.wait_until(lambda: lease.node.rows())
    (row,) = lease.node.rows()
    assert (row[0], row[4], row[9]) == (lease.tasks[seq], 0, 0)


def test_exit_handlers_run_at_a_graceful_end(node: Node, tmp_path: Any) -> None:
    lease = node.lease()

    def register(path: str) -> None:
        import atexit

        atexit.register(lambda: open(path, "w").close())

    lease.result(register, str(tmp_path / "ended"))
    node.order(m.Exit(True, "idle"))
    assert node.wait_exit(lease) == 0
    assert (tmp_path / "ended").exists()
    lease.close()


def test_a_worker_that_the_node_gave_up_ends(node: Node) -> None:
    node.control.sock.close()
    node.is_over = True
    assert node.wait_exit() in (1, -signal.SIGKILL)
    assert os.path.exists(node.session_dir)


def test_the_death_of_the_node_is_the_end_of_worker_and_session_directory() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            node = Node()
            node.lease().result(os.getpid)
            os.write(write, json.dumps([node.pid, node.session_dir]).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as file:
        worker, session_dir = json.load(file)
    os.waitpid(pid, 0)
    worker_harness.wait_until(lambda: not os.path.exists(session_dir))
    worker_harness.wait_until(lambda: not is_alive(worker))


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_without_work_stays_asleep(lease: Caller) -> None:
    lease.result(add, 1, 1)
    lease.wait_until(lambda: lease.node.rows())
    # Its control thread dozes again: nothing wakes it by the clock.
    assert lease.node.pid

    def is_asleep() -> bool:
        for thread in os.listdir(f"/proc/{lease.node.pid}/task"):
            with open(f"/proc/{lease.node.pid}/task/{thread}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] != "S":
                    return False
        return True

    lease.wait_until(is_asleep)
