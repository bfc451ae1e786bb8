"""A session that `skate start` keeps: several programs join it, and find each other's actors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.programs import REPOSITORY, assert_nothing_left, run_program, start_program, wait_until


def skate(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "skate.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(directory / "run"), "PYTHONPATH": str(REPOSITORY / "src")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "run").mkdir(mode=0o700)
    skate(tmp_path, "start", "--num-cpus", "2", "--name", "kept")
    yield tmp_path
    skate(tmp_path, "stop", "--all")
    assert_nothing_left(tmp_path)


ACTOR = """
import os, sys, time, pathlib
import skate
skate.init(address="auto", namespace={namespace!r})

@skate.remote
class Counter:
    def __init__(self):
        self.n = 0
    def add(self):
        self.n += 1
        return self.n
    def pid(self):
        return os.getpid()
"""


def run(directory: Path, source: str, namespace: str = "shop") -> str:
    program = run_program(ACTOR.format(namespace=namespace) + source, directory)
    assert program.returncode == 0, program.stderr
    return program.stdout


def test_detached_actors_stay_and_others_go_with_their_program(kept: Path) -> None:
    out = run(
        kept,
        """
stays = Counter.options(name="stays", lifetime="detached").remote()
goes = Counter.options(name="goes").remote()
skate.get([stays.add.remote(), goes.add.remote()])
print(skate.get(goes.pid.remote()))
""",
    )
    pid = int(out)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5, "the process of the actor that is not detached")
    assert (
        run(
            kept,
            """
print(skate.get(skate.get_actor("stays").add.remote()))
try:
    skate.get_actor("goes")
except ValueError as error:
    print("goes" in str(error))
print(skate.util.list_named_actors())
""",
        )
        == "2\nTrue\n['stays']\n"
    )


def test_namespaces_are_apart_and_can_be_named(kept: Path) -> None:
    run(kept, "skate.get(Counter.options(name='hits', lifetime='detached').remote().add.remote())", "one")
    assert run(kept, "print(skate.get(Counter.options(name='hits').remote().add.remote()))", "two") == "1\n"
    assert run(kept, "print(skate.get(skate.get_actor('hits', namespace='one').add.remote()))", "two") == "2\n"
    assert run(kept, "print(skate.util.list_named_actors(all_namespaces=True))", "three") == (
        "[{'name': 'hits', 'namespace': 'one'}]\n"
    )


def test_a_detached_actor_is_killed_by_anybody(kept: Path) -> None:
    pid = int(run(kept, "print(skate.get(Counter.options(name='hits', lifetime='detached').remote().pid.remote()))"))
    run(kept, "skate.kill(skate.get_actor('hits'))")
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5)
    assert run(kept, "print(skate.get(Counter.options(name='hits').remote().add.remote()))") == "1\n"


def test_two_programs_at_the_same_time_see_their_own_output_and_one_actor(kept: Path) -> None:
    source = (
        ACTOR.format(namespace="shop")
        + """
me = os.environ["ME"]

@skate.remote
def say():
    print("I work for", os.environ["ME"])
    return os.getcwd()

counter = Counter.options(name="both", lifetime="detached", get_if_exists=True).remote()
skate.get(counter.add.remote())
while skate.get(counter.add.remote()) < 4:
    time.sleep(0.005)
skate.get(say.remote())
"""
    )
    for name in ("a", "b"):
        (kept / name).mkdir()
        (kept / name / "run").symlink_to(kept / "run")
    programs = [start_program(source, kept / name, ME=name, XDG_RUNTIME_DIR=str(kept / "run")) for name in ("a", "b")]
    outputs = [program.communicate(timeout=60) for program in programs]
    for name, (out, err) in zip(("a", "b"), outputs, strict=True):
        lines = [line.partition(") ")[2] for line in out.splitlines()]
        assert lines == [f"I work for {name}"], out + err


def test_a_program_that_is_killed_takes_only_its_own_along(kept: Path) -> None:
    program = start_program(
        ACTOR.format(namespace="shop")
        + """
Counter.options(name="stays", lifetime="detached").remote()
stays = skate.get_actor("stays")
skate.get(stays.add.remote())
mine = Counter.remote()
print(skate.get(mine.pid.remote()), flush=True)
time.sleep(60)
""",
        kept,
    )
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    program.kill()
    program.communicate()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5, "its actor")
    assert run(kept, "print(skate.get(skate.get_actor('stays').add.remote()))") == "2\n"


def test_what_a_joining_program_may_not_ask_for(kept: Path) -> None:
    out = run_program(
        """
        import skate
        try:
            skate.init(address="auto", num_cpus=7)
        except ValueError as error:
            print(error)
        """,
        kept,
    ).stdout
    assert "num_cpus" in out
    assert "skate start" in out
