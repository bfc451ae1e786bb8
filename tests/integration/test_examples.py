"""Every example runs as a program of its own and prints what it should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRINTS = {
    "01_tasks.py": r"pi is about 3\.1\d\d \(\d+\.\d\d s\)\n",
    "02_actors.py": r"\('grace', 50\)\n",
    "03_shared_arrays.py": r"\(64,\) True\n",
    "04_stream_of_results.py": r"1060\n",
    "05_first_come.py": r"longest below 2001: \(182, 1161\)\n",
    "06_when_it_fails.py": r"caught a ValueError with the remote traceback: True\nsecond attempt\n",
    "07_async_actor.py": r"328350\n",
    "08_gpus_without_any.py": r"\['0', '1'\]\nfree GPUs: 0(\.0)?\n",
}


def test_every_example_is_run() -> None:
    assert sorted(PRINTS) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(PRINTS))
def test_example(name: str) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTS[name], done.stdout), done.stdout
    assert done.stderr == ""
