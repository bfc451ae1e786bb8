"""What a program and its user see: errors, output, Ctrl-C, forks, sessions that are kept."""

from __future__ import annotations

import signal
import textwrap
import time
from pathlib import Path

import pytest

from tests.integration.programs import assert_nothing_left, run_program, start_program


def test_an_error_shows_the_users_frames_here_and_there_and_what_was_raised_once(tmp_path: Path) -> None:
    program = run_program(
        """
        import skate

        @skate.remote
        def prep(path):
            return {}[path]

        @skate.remote
        def train(data):
            return data

        skate.get(train.remote(prep.remote("b")))
        """,
        tmp_path,
    )
    assert program.returncode == 1
    lines = program.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[2].strip() == 'skate.get(train.remote(prep.remote("b")))'
    assert lines[3].startswith('  ── task prep("b") · worker ')
    assert lines[5].strip() == "return {}[path]"
    assert lines[6:] == ["KeyError: 'b'        train() was never run: its argument failed   ·   skate why prep-1"]
    assert "skate/" not in program.stderr


def test_a_chain_of_two_tasks_takes_twelve_lines_and_all_when_asked_for(tmp_path: Path) -> None:
    source = """
        import skate

        def deep(n):
            return deep(n - 1) if n else {}["b"]

        @skate.remote
        def inner(n):
            return deep(n)

        @skate.remote
        def outer(n):
            return skate.get(inner.remote(n))

        skate.get(outer.remote(9))
        """
    lines = run_program(source, tmp_path).stderr.splitlines()
    assert len(lines) <= 12, lines
    assert lines[-1].startswith("KeyError: 'b'")
    assert sum(line.startswith("  ── task") for line in lines) == 2
    full = run_program("import os; os.environ['SKATE_TRACEBACK'] = 'full'\n" + textwrap.dedent(source), tmp_path).stderr
    assert full.count(", in deep") >= 4
    assert "RayTaskError(KeyError)" in full


def test_errors_of_the_engine_and_of_the_program_keep_their_own_form(tmp_path: Path) -> None:
    crash = run_program(
        """
        import os, skate
        @skate.remote(max_retries=0)
        def crash(): os._exit(3)
        skate.get(crash.remote())
        """,
        tmp_path,
    )
    lines = crash.stderr.splitlines()
    assert lines[-1].startswith("skate.exceptions.WorkerCrashedError: worker ")
    assert "skate/" not in crash.stderr
    own = run_program("import skate; skate.init(num_cpus=1); {}[1]", tmp_path)
    assert own.stderr.splitlines()[-1] == "KeyError: 1"


def test_output_up_to_the_very_end_is_shown(tmp_path: Path) -> None:
    program = run_program(
        """
        import skate

        @skate.remote
        def say(i):
            print(f"line {i}")

        @skate.remote
        class Actor:
            def say(self):
                print("from an actor")

        actor = Actor.remote()
        skate.get([say.remote(i) for i in range(50)] + [actor.say.remote()])
        """,
        tmp_path,
    )
    assert program.returncode == 0, program.stderr
    for i in range(50):
        assert f") line {i}\n" in program.stdout
    assert "(Actor pid=" in program.stdout
    assert all(line.startswith(("(say pid=", "(Actor pid=")) for line in program.stdout.splitlines())


def test_nothing_is_printed_when_nothing_is_wrong(tmp_path: Path) -> None:
    program = run_program("import skate; skate.init(num_cpus=1); skate.get(skate.remote(lambda: 1).remote())", tmp_path)
    assert (program.returncode, program.stdout, program.stderr) == (0, "", "")
    assert_nothing_left(tmp_path)


def test_ctrl_c_at_any_moment_leaves_a_usable_engine(tmp_path: Path) -> None:
    program = run_program(
        """
        import os, random, signal, threading, time
        import skate

        @skate.remote
        def same(x):
            return x

        @skate.remote
        class Actor:
            def same(self, x):
                return x

        actor = Actor.remote()
        skate.get([same.remote(0), actor.same.remote(0)])
        over = threading.Event()
        random.seed(7)

        def press():
            while not over.wait(random.random() * 0.02):
                os.kill(os.getpid(), signal.SIGINT)

        finger = threading.Thread(target=press)
        hits = 0
        started_s = time.monotonic()
        finger.start()
        while time.monotonic() - started_s < 3:
            try:
                refs = [same.remote(i) for i in range(50)] + [actor.same.remote(i) for i in range(50)]
                assert skate.get(refs) == list(range(50)) * 2
                skate.get(skate.put(b"x" * 200_000))
            except KeyboardInterrupt:
                hits += 1
        while True:
            try:
                over.set()
                finger.join()
                time.sleep(0.05)  # One may still be on its way.
                break
            except KeyboardInterrupt:
                pass
        assert hits > 20, hits
        assert skate.get([same.remote(i) for i in range(100)], timeout=10) == list(range(100))
        assert skate.get([actor.same.remote(i) for i in range(100)], timeout=10) == list(range(100))
        print("usable")
        """,
        tmp_path,
    )
    assert (program.returncode, program.stdout) == (0, "usable\n"), program.stderr
    assert program.stderr == ""
    assert_nothing_left(tmp_path)


def test_a_forked_child_has_no_part_in_its_parents_session(tmp_path: Path) -> None:
    program = run_program(
        """
        import os, sys
        import skate

        add = skate.remote(lambda x: x + 1)
        ref = add.remote(1)
        assert skate.get(ref) == 2
        pid = os.fork()
        if pid == 0:
            assert not skate.is_initialized()
            try:
                skate.get(ref)
            except ValueError as error:
                print(error, flush=True)
            assert skate.get(add.remote(10)) == 11, "an engine of its own"
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert skate.get([ref, add.remote(2)]) == [2, 3], "the parent's goes on"
        """,
        tmp_path,
    )
    assert program.returncode == 0, program.stderr
    assert "belongs to a session" in program.stdout
    assert_nothing_left(tmp_path)


def test_a_kept_session_is_joined_by_several_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.engine.driver.connect import connect_observer
    from skate.engine.driver.launch import spawn_node
    from skate.engine.driver.sessions import find_session, list_sessions
    from tests.integration.programs import wait_until

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    node = spawn_node({"num_cpus": 2}, name="kept", is_embedded=False)
    node.sock.close()
    wait_until(list_sessions, 20)
    program = """
        import skate

        @skate.remote
        class Counter:
            def __init__(self):
                self.n = 0

            def add(self):
                self.n += 1
                return self.n

        skate.init(address="auto", namespace="shared")
        counter = Counter.options(name="counter", get_if_exists=True, lifetime="detached").remote()
        print(skate.get(counter.add.remote()))
    """
    for count in (1, 2):
        joined = run_program(program, tmp_path)
        assert (joined.returncode, joined.stdout) == (0, f"{count}\n"), joined.stderr
    refused = run_program('import skate; skate.init(address="auto", num_cpus=3)', tmp_path)
    assert "leave out num_cpus" in refused.stderr
    with connect_observer(find_session("kept")) as observer:
        [actor] = observer.query("actors")
        assert actor["name"] == "counter"
        assert len(observer.query("jobs")) == 2
        observer.stop_session()
        assert observer.wait_until_gone(10)
    assert node.wait(10)
    assert_nothing_left(tmp_path)


def test_a_node_that_cannot_start_says_why(tmp_path: Path) -> None:
    program = run_program(
        """
        import skate
        skate.init(num_cpus=1, _preload=[], object_store_memory=1 << 62)
        """,
        tmp_path,
    )
    assert program.returncode == 1
    assert "the engine's process ended before it answered" in program.stderr
    assert "its log ends with" in program.stderr
    assert_nothing_left(tmp_path)


def test_a_program_that_is_interrupted_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    program = start_program(
        """
        import os, signal
        from skate.engine.driver import connect

        greet = connect.greet

        def interrupted(*arguments):
            os.kill(os.getpid(), signal.SIGINT)
            return greet(*arguments)

        connect.greet = interrupted
        import skate

        try:
            skate.init(num_cpus=1)
        except KeyboardInterrupt:
            print("interrupted", skate.is_initialized(), flush=True)
        connect.greet = greet
        skate.init(num_cpus=1)
        print(skate.get(skate.remote(lambda: 42).remote()))
        """,
        tmp_path,
    )
    out, err = program.communicate(timeout=30)
    assert (program.returncode, out) == (0, "interrupted False\n42\n"), err
    assert_nothing_left(tmp_path)


def test_ctrl_c_in_get_is_back_at_once_with_four_lines(tmp_path: Path) -> None:
    program = start_program(
        """
        import time
        import skate

        skate.init(num_cpus=4)

        @skate.remote
        def sleep():
            print("asleep", flush=True)
            time.sleep(100)

        def main():
            refs = [sleep.remote() for _ in range(8)]
            skate.get(refs)

        main()
        """,
        tmp_path,
    )
    assert program.stdout is not None
    program.stdout.readline()  # A worker's: the driver is in get.
    start_s = time.monotonic()
    program.send_signal(signal.SIGINT)
    _out, err = program.communicate(timeout=10)
    assert time.monotonic() - start_s < 0.5
    lines = err.splitlines()
    assert lines[-1] == "KeyboardInterrupt"
    assert len(lines) <= 4, err
    assert_nothing_left(tmp_path)
