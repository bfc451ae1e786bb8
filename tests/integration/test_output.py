"""What a person sees: output of workers, notices, errors. Each program runs in a process of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.programs import run_program

START = """
import skate
skate.init(num_cpus=2)
"""


def run(source: str, directory: Path, **environment: str) -> tuple[str, str, int]:
    """(stdout, stderr, exit status)"""
    program = run_program(START + source, directory, **environment)
    return program.stdout, program.stderr, program.returncode


def test_nothing_is_printed_but_what_the_program_prints(tmp_path: Path) -> None:
    out, err, status = run(
        """
@skate.remote
def square(x):
    return x * x

@skate.remote
class Counter:
    def add(self):
        return 1

counter = Counter.remote()
print(skate.get([square.remote(3), counter.add.remote()]))
""",
        tmp_path,
    )
    assert (out, err, status) == ("[9, 1]\n", "", 0)


def test_output_is_labelled_with_task_or_actor_and_process(tmp_path: Path) -> None:
    out, err, _ = run(
        """
import os, sys

@skate.remote
def square(x):
    print("squaring", x)
    print("to stderr", file=sys.stderr)
    return os.getpid()

@skate.remote
class Counter:
    def __init__(self):
        print("made")
    def add(self):
        print("adding")
        return os.getpid()
    async def later(self):
        print("later")

@skate.remote
class Threaded:
    def add(self):
        print("in a thread")
        return os.getpid()

@skate.remote
class Named:
    def __repr__(self):
        return "Named(7)"
    def add(self):
        print("with a name")

counter = Counter.remote()
threaded = Threaded.options(max_concurrency=2).remote()
pids = skate.get([square.remote(3), counter.add.remote(), threaded.add.remote()])
skate.get([counter.later.remote(), Named.remote().add.remote(), square.options(name="other").remote(4)])
print(pids)
""",
        tmp_path,
    )
    task, actor, threaded = map(int, re.search(r"\[(\d+), (\d+), (\d+)\]", out).groups())  # type: ignore[union-attr]
    lines = out.splitlines()
    assert f"(square pid={task}) squaring 3" in lines
    assert f"(square pid={task}) to stderr" in err.splitlines()
    assert f"(Counter pid={actor}) made" in lines
    assert f"(Counter pid={actor}) adding" in lines
    assert f"(Counter pid={actor}) later" in lines
    assert f"(Threaded pid={threaded}) in a thread" in lines
    assert re.search(r"^\(Named\(7\) pid=\d+\) with a name$", out, re.MULTILINE)
    assert re.search(r"^\(other pid=\d+\) squaring 4$", out, re.MULTILINE)


def test_the_same_line_of_many_workers_is_shown_once(tmp_path: Path) -> None:
    out, _, _ = run(
        """
@skate.remote
class Worker:
    def greet(self):
        print("ready")
        for i in range(2):
            print("step", i)

workers = [Worker.remote() for _ in range(8)]
skate.get([worker.greet.remote() for worker in workers])
""",
        tmp_path,
    )
    for text in ("ready", "step 0", "step 1"):
        shown = [line for line in out.splitlines() if re.search(rf"\) {text}\b", line)]
        assert len(shown) == 2, out
        assert shown[1].endswith("[repeated 7x across workers]")


def test_log_to_driver_false_shows_nothing_of_workers(tmp_path: Path) -> None:
    program = run_program(
        """
        import skate
        skate.init(num_cpus=1, log_to_driver=False)
        skate.get(skate.remote(lambda: print("hidden")).remote())
        print("shown")
        """,
        tmp_path,
    )
    assert (program.stdout, program.stderr) == ("shown\n", "")


def test_who_waits_for_what_nobody_has_is_told(tmp_path: Path) -> None:
    _, err, status = run(
        """
@skate.remote(num_cpus=64)
def huge():
    return 1

import time
started = time.monotonic()
try:
    skate.get(huge.remote(), timeout=7)
except skate.exceptions.GetTimeoutError:
    pass
""",
        tmp_path,
    )
    assert status == 0
    notices = [line for line in err.splitlines() if line]
    assert len(notices) == 1, err
    assert "huge" in notices[0]
    assert "64" in notices[0]
    assert "CPU" in notices[0]


def test_an_error_is_shown_from_the_calling_line_to_the_innermost_call_without_engine_frames(tmp_path: Path) -> None:
    _, err, status = run(
        """
def divide(a, b):
    return a / b

@skate.remote
def ratio(a, b):
    return divide(a, b)

@skate.remote
def outer():
    return skate.get(ratio.remote(1, 0))

def main():
    skate.get(outer.remote())  # the calling line

main()
""",
        tmp_path,
    )
    assert status == 1
    assert "/skate/engine/" not in err and "/skate/backends/" not in err
    # As Python prints a traceback: the innermost call last, through all processes.
    assert err.index("# the calling line") < err.index("return divide(a, b)") < err.index("return a / b"), err
    assert "ZeroDivisionError" in err.splitlines()[-1], err
    assert "return skate.get(ratio.remote(1, 0))" in err


def test_an_error_of_the_engines_own_shows_only_itself(tmp_path: Path) -> None:
    _, err, status = run(
        """
import threading

@skate.remote
def lock():
    return threading.Lock()

skate.get(lock.remote())
""",
        tmp_path,
    )
    assert status == 1
    assert "/skate/engine/" not in err and "/skate/backends/" not in err, err
    assert "_thread.lock" in err and "can't be pickled" in err, err
    assert "skate.get(lock.remote())" in err


def test_bars_of_tqdm_and_rich_in_tasks(tmp_path: Path) -> None:
    out, err, status = run(
        """
from skate.experimental import tqdm_ray

@skate.remote
def steps(n):
    for _ in tqdm_ray.tqdm(range(n), desc="steps"):
        pass
    return n

@skate.remote
def with_rich(n):
    from rich.progress import track
    return sum(track(range(n), description="rich"))

print(skate.get([steps.remote(50), with_rich.remote(5)]))
""",
        tmp_path,
    )
    assert status == 0
    assert "[50, 10]" in out
    assert "skate-tqdm" not in out + err
    assert "steps" in out + err
    assert "50/50" in out + err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("square(3)", r"square\.remote\("),
        ("square.remote()", r"missing a required argument|missing 1 required"),
        ("square.remote(1, y=2)", "y"),
        ("Counter()", r"Counter\.remote\("),
        ("Counter.remote(1)", "argument"),
        ("Counter.remote().add()", r"add\.remote\("),
        ("Counter.remote().ad", "add"),
        ("skate.get(3)", "ObjectRef"),
        ("skate.get([3])", "ObjectRef"),
        ("skate.put(skate.put(1))", "ObjectRef"),
        ("skate.wait(skate.put(1))", "list"),
        ("skate.wait([ref, ref])", "twice|unique|duplicate"),
        ("skate.wait([ref], num_returns=2)", "num_returns"),
        ("square.options(num_cpu=1)", "num_cpus"),
        ("square.options(num_cpus=-1)", "num_cpus"),
        ("skate.init(num_cpu=1)", "num_cpus"),
        ("skate.get_actor('nobody')", "nobody"),
        ("skate.cancel(3)", "ObjectRef"),
        ("skate.kill(ref)", "actor"),
    ],
)
def test_wrong_use_says_what_to_write(wrong_use: dict[str, str], line: str, told: str) -> None:
    assert re.search(told, wrong_use[line]), wrong_use[line]


@pytest.fixture(scope="module")
def wrong_use(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, str]:
    """Line → the error it raises; all lines are tried in one program."""
    lines = [row[0] for mark in test_wrong_use_says_what_to_write.pytestmark for row in mark.args[1]]  # type: ignore[attr-defined]
    out, err, _ = run(
        f"""
import json
ref = skate.put(1)

@skate.remote
def square(x):
    return x * x

@skate.remote
class Counter:
    def add(self):
        return 1

told = {{}}
for line in {lines!r}:
    try:
        eval(line)
    except Exception as error:
        told[line] = f"{{type(error).__name__}}: {{error}}"
    else:
        told[line] = "no error"
print(json.dumps(told))
""",
        tmp_path_factory.mktemp("wrong_use"),
    )
    assert not err, err
    import json

    told: dict[str, str] = json.loads(out)
    return told
