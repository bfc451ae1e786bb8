"""The command `skate`, as a person types it, with real sessions."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.programs import REPOSITORY, assert_nothing_left, processes_of, run_program, start_program, wait_until

PROGRAM = """
    import os, sys, time
    import numpy as np
    import skate
    from skate.util.metrics import Counter

    skate.init(num_cpus=2, log_to_driver=False)

    @skate.remote
    def square(x):
        print("squaring", x)
        return x * x

    @skate.remote(max_retries=0)
    def fail():
        raise KeyError("b")

    @skate.remote
    def wait_for_ever():
        while True:
            time.sleep(0.01)

    @skate.remote(num_gpus=4)
    def impossible():
        pass

    @skate.remote
    class Model:
        def predict(self):
            return os.getpid()

    Counter("hits", "how many").inc(3)
    skate.get([square.remote(i) for i in range(3)])
    try:
        skate.get(fail.remote())
    except KeyError:
        pass
    model = Model.options(name="model").remote()
    skate.get(model.predict.remote())
    array = skate.put(np.ones(1_000_000))
    refs = [wait_for_ever.remote(), impossible.remote()]
    time.sleep(1)
    print("ready", flush=True)
    time.sleep(120)
"""


def skate(directory: Path, *words: str, status: int | None = 0) -> str:
    """Run a command on the sessions in `directory`; its output, or its complaint when it is to fail."""
    run = directory / "run"
    run.mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "skate.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=directory,
        env={**os.environ, "XDG_RUNTIME_DIR": str(run), "PYTHONPATH": str(REPOSITORY / "src")},
    )
    assert status is None or done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout if not status else done.stderr


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A program that runs, with a bit of everything."""
    directory = tmp_path_factory.mktemp("busy")
    program = start_program(PROGRAM, directory)
    assert program.stdout is not None
    if program.stdout.readline() != "ready\n":
        program.kill()
        raise AssertionError(program.communicate())
    yield directory
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=10)
    assert_nothing_left(directory)


def test_without_a_session_it_says_what_to_do(tmp_path: Path) -> None:
    assert "skate start" in skate(tmp_path, "status", status=3)
    assert "no session" in skate(tmp_path, "stop", status=3)


def test_status_of_a_program_that_runs(busy: Path) -> None:
    out = skate(busy, "status")
    assert "session" in out
    assert re.search(r"CPU +1 of 2 in use", out), out
    assert "impossible needs" in out
    assert "can never start" in out
    status = json.loads(skate(busy, "status", "--json"))
    assert status["resources"]["total"]["CPU"] == 2


def test_status_takes_little_time(busy: Path) -> None:
    before = os.times()
    skate(busy, "status")
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    assert cpu_s < 0.4  # 0.1 s on a quiet machine; Ray's takes 2.3 to 3.1 s.


@pytest.mark.parametrize("kind", ["tasks", "actors", "objects", "workers", "nodes", "placement-groups", "jobs"])
def test_list(busy: Path, kind: str) -> None:
    rows = json.loads(skate(busy, "list", kind, "--json"))
    assert bool(rows) == (kind != "placement-groups")
    assert skate(busy, "list", kind, "--detail")


def test_tasks_have_their_states_and_errors(busy: Path) -> None:
    tasks = json.loads(skate(busy, "list", "tasks", "--json"))
    states = {task["name"]: task["state"] for task in tasks}
    assert states["square"] == "FINISHED"
    assert states["wait_for_ever"] == "RUNNING"
    failed = json.loads(skate(busy, "list", "tasks", "-f", "state=FAILED", "--json"))
    assert [(task["name"], task["error_type"]) for task in failed] == [("fail", "KeyError")]
    assert "KeyError" in skate(busy, "get", "tasks", failed[0]["task_id"])


def test_summaries(busy: Path) -> None:
    groups = {group["name"]: group for group in json.loads(skate(busy, "summary", "tasks", "--json"))}
    assert groups["square"]["finished"] == 3
    assert skate(busy, "summary", "actors")
    assert skate(busy, "summary", "objects")


def test_logs_and_stacks(busy: Path) -> None:
    assert "squaring 2" in skate(busy, "logs")
    assert "wait_for_ever" in skate(busy, "stack")


def test_memory_shows_the_array_and_the_processes(busy: Path) -> None:
    out = skate(busy, "memory")
    assert "8.0 MB" in out
    assert "driver" in out


def test_metrics(busy: Path) -> None:
    def has_arrived() -> bool:
        return bool(re.search(r"^(ray_|skate_)?hits(_total)? 3$", skate(busy, "metrics"), re.MULTILINE))

    wait_until(has_arrived, 5, "the counter")


def test_timeline(busy: Path) -> None:
    skate(busy, "timeline", "-o", "trace.json")
    events = json.loads((busy / "trace.json").read_text())
    assert sum(event["name"] == "square" and event["ph"] == "X" for event in events) == 3


def test_kill_actor(busy: Path) -> None:
    skate(busy, "kill-actor", "model")

    def is_dead() -> bool:
        return [row["state"] for row in json.loads(skate(busy, "list", "actors", "--json"))] == ["DEAD"]

    wait_until(is_dead, 5, "the actor's death")


def test_a_program_is_not_stopped_by_accident(busy: Path) -> None:
    assert "--all" in skate(busy, "stop", status=2)


def test_start_join_and_stop(tmp_path: Path) -> None:
    try:
        assert "skate stop" in skate(tmp_path, "start", "--num-cpus", "1", "--name", "kept")
        assert "is running" in skate(tmp_path, "start", "--name", "kept", status=1)
        source = """
            import skate
            skate.init(address="auto", namespace="shop")

            @skate.remote
            class Counter:
                def __init__(self):
                    self.n = 0
                def add(self):
                    self.n += 1
                    return self.n

            counter = Counter.options(name="hits", lifetime="detached", get_if_exists=True, num_cpus=0).remote()
            print(skate.get(counter.add.remote(), timeout=30))
        """
        assert [run_program(source, tmp_path).stdout for _ in range(2)] == ["1\n", "2\n"]
        assert json.loads(skate(tmp_path, "status", "--all", "--json"))[0]["name"] == "kept"
    finally:
        skate(tmp_path, "stop", "--all", status=None)
    assert_nothing_left(tmp_path)


def test_two_sessions_have_to_be_told_apart(tmp_path: Path) -> None:
    try:
        for name in ("one", "two"):
            skate(tmp_path, "start", "--num-cpus", "1", "--name", name)
        assert "--session one" in skate(tmp_path, "status", status=2)
        assert "session two" in skate(tmp_path, "status", "--session", "two")
        skate(tmp_path, "stop", "--session", "one")
        assert "session two" in skate(tmp_path, "status")
    finally:
        skate(tmp_path, "stop", "--all", status=None)
    assert_nothing_left(tmp_path)


def test_the_demo_agrees_with_itself_and_writes_a_timeline(tmp_path: Path) -> None:
    out = skate(tmp_path, "demo", "--path", str(REPOSITORY / "src"), "--num-cpus", "2", "--json", "-o", "trace.json")
    figures = json.loads(out)
    assert figures["agrees"]
    assert figures["tasks"] == 32
    assert sum(event["name"] == "analyse_share" for event in json.loads((tmp_path / "trace.json").read_text())) >= 32
    assert_nothing_left(tmp_path)


def test_the_demo_for_a_person(tmp_path: Path) -> None:
    out = skate(tmp_path, "demo", "--path", str(REPOSITORY / "src" / "skate" / "cli"), "--num-cpus", "2", "-o", "trace.json")
    assert "both found the same: yes" in out
    assert "(Progress" in out
    assert "trace.json" in out


def test_one_row_of_the_microbenchmark(tmp_path: Path) -> None:
    rows = json.loads(skate(tmp_path, "microbenchmark", "--quick", "--json", "tasks_async"))
    assert rows[0]["value"] > 0
    assert_nothing_left(tmp_path)


def test_following_logs(busy: Path) -> None:
    """`skate logs --follow` ends with the session, and prints what came before at once."""
    follower = subprocess.Popen(
        [sys.executable, "-m", "skate.cli.main", "logs", "--follow"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(busy / "run"), "PYTHONPATH": str(REPOSITORY / "src")},
    )
    assert follower.stdout is not None
    assert "squaring" in follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    follower.stdout.close()
    assert processes_of(busy)
