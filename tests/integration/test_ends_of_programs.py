"""However a program ends, no process and no file of its engine is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.integration.programs import (
    assert_nothing_left,
    files_of,
    processes_of,
    run_program,
    start_program,
    state_of,
    wait_until,
)

BUSY = """
    import skate, sys, time

    skate.init(num_cpus=2)

    @skate.remote
    def sleep(seconds):
        time.sleep(seconds)

    @skate.remote
    class Sleeper:
        def sleep(self, seconds):
            time.sleep(seconds)

    skate.get(sleep.remote(0))
    sleeper = Sleeper.remote()
    skate.get(sleeper.sleep.remote(0))
    pending = [sleep.remote(60), sleeper.sleep.remote(60)]
    array = skate.put(b"x" * 10_000_000)
    print("ready", flush=True)
    sys.stdin.readline()  # Until the test has seen what runs.
"""


def start_busy(tmp_path: Path, rest: str):
    program = start_program(BUSY + rest, tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n", program.communicate()
    assert len(processes_of(tmp_path)) >= 4  # This program, its node process, a task's and an actor's worker.
    assert program.stdin is not None
    program.stdin.write("go on\n")
    program.stdin.flush()
    return program


def test_a_program_that_ends_leaves_nothing(tmp_path: Path) -> None:
    program = start_busy(tmp_path, "")
    program.communicate(timeout=10)
    assert program.returncode == 0
    assert_nothing_left(tmp_path, 1.0)


def test_a_program_that_raises_leaves_nothing(tmp_path: Path) -> None:
    program = start_busy(tmp_path, "    raise RuntimeError('oops')\n")
    _out, err = program.communicate(timeout=10)
    assert program.returncode == 1
    assert "RuntimeError: oops" in err
    assert_nothing_left(tmp_path, 1.0)


def test_os_exit_leaves_nothing(tmp_path: Path) -> None:
    program = start_busy(tmp_path, "    import os; os._exit(3)\n")
    program.communicate(timeout=10)
    assert program.returncode == 3
    assert_nothing_left(tmp_path, 1.0)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_program_that_is_ended_by_a_signal_leaves_nothing(tmp_path: Path, signal_number: int) -> None:
    program = start_busy(tmp_path, "    skate.get(pending)\n")
    os.kill(program.pid, signal_number)
    program.communicate(timeout=10)
    assert program.returncode != 0
    assert_nothing_left(tmp_path, 1.0)


def test_a_killed_node_takes_its_workers_along_and_the_driver_is_told(tmp_path: Path) -> None:
    program = start_program(
        BUSY
        + """
    import os, signal
    from skate.backends import current
    from skate.exceptions import RayError

    os.kill(current.active().query("session", {})["pid"], signal.SIGKILL)
    try:
        skate.get(pending)
    except RayError as error:
        print(type(error).__name__, error, flush=True)
    try:
        sleep.remote(1)
    except RayError as error:
        print("refused", flush=True)
""",
        tmp_path,
    )
    out, err = program.communicate(timeout=20)
    assert program.returncode == 0, err
    assert "node process" in out
    assert "refused" in out
    assert_nothing_left(tmp_path)


def test_when_all_is_killed_at_once_the_next_start_sweeps_up(tmp_path: Path) -> None:
    program = start_busy(tmp_path, "    skate.get(pending)\n")
    for pid in processes_of(tmp_path):
        os.kill(pid, signal.SIGKILL)
    program.communicate(timeout=10)
    wait_until(lambda: not processes_of(tmp_path))
    assert len(files_of(tmp_path)) <= 6

    again = run_program("import skate; skate.init(num_cpus=1); skate.shutdown()", tmp_path)

    assert again.returncode == 0, again.stderr
    assert_nothing_left(tmp_path)


def test_ctrl_c_in_get_returns_at_once_and_the_engine_goes_on(tmp_path: Path) -> None:
    program = start_busy(
        tmp_path,
        """
    started = time.monotonic()
    try:
        skate.get(pending)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    del pending
    skate.kill(sleeper)

    @skate.remote
    def double(x):
        return 2 * x

    print(skate.get(double.remote(21)), flush=True)
""",
    )
    wait_until(lambda: state_of(program.pid) == "S")  # It sleeps: it is in get.
    os.kill(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=10)
    assert (program.returncode, out) == (0, "interrupted\n42\n"), err
    assert_nothing_left(tmp_path, 1.0)


def test_two_programs_run_beside_each_other(tmp_path: Path) -> None:
    source = """
        import skate

        @skate.remote
        def square(x):
            return x * x

        print(sum(skate.get([square.remote(i) for i in range(1000)])))
    """
    first = start_program(source, tmp_path)
    second = start_program(source, tmp_path)
    for program in (first, second):
        out, err = program.communicate(timeout=30)
        assert out == "332833500\n", err
        assert err == ""
    assert_nothing_left(tmp_path)


def test_importing_skate_starts_nothing(tmp_path: Path) -> None:
    done = run_program(
        """
        import os, threading
        import skate
        print(threading.active_count(), os.listdir("/proc/self/task") == [str(os.getpid())], skate.is_initialized())
        print(open(f"/proc/self/task/{os.getpid()}/children").read().split())
        """,
        tmp_path,
    )
    assert done.stdout == "1 True False\n[]\n", done.stderr
