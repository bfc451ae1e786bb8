"""A failed task runs again: in the driver by its ref, and from the command line after the run is over."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import skate
from tests.integration.programs import run_program

PROGRAM = """
import os, numpy
import skate

def helper(values, key):
    wanted = "here it is"
    return {}[key]

@skate.remote
def fail(values, *, key):
    return helper(values, key)

skate.init(num_cpus=1)
skate.get(fail.remote(numpy.arange(100_000), key="b"))
"""


def test_a_task_of_a_run_that_is_over_stops_in_pdb_where_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKATE_RUNS_DIR", str(tmp_path / "runs"))
    assert run_program(PROGRAM, tmp_path).returncode == 1
    done = subprocess.run(
        [sys.executable, "-m", "skate.cli.main", "debug", "fail"], input="p wanted, key, len(values)\nq\n", capture_output=True, text=True,
        env=dict(os.environ), timeout=30,
    )  # fmt: skip
    assert "('here it is', 'b', 100000)" in done.stdout, done.stdout + done.stderr
    assert "KeyError: 'b'" in done.stderr
    assert "skate/cli" not in done.stderr


def test_a_ref_s_error_is_made_again_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKATE_RUNS_DIR", str(tmp_path))
    skate.init(num_cpus=1, log_to_driver=False)

    @skate.remote
    def fail(path: str) -> int:
        raise ValueError(f"{path} {os.getpid()}")

    @skate.remote
    class Actor:
        def fail(self) -> None:
            raise ValueError("no")

    ref = fail.remote("x")
    with pytest.raises(ValueError, match="x"):
        skate.get(ref)
    deadline_s = time.monotonic() + 5
    while not list(tmp_path.glob("*/failed-*")) and time.monotonic() < deadline_s:
        time.sleep(0.01)  # The worker tells within 0.25 s.
    with pytest.raises(ValueError, match=f"x {os.getpid()}"):
        skate.recreate_error_locally(ref)
    actor = Actor.remote()
    call = actor.fail.remote()
    with pytest.raises(ValueError):
        skate.get(call)
    with pytest.raises(LookupError, match="were not kept"):
        skate.recreate_error_locally(call)
    skate.shutdown()
