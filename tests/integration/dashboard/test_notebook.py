"""Cards in a real IPython kernel: what a session, a ref and an actor look like as the last line of a cell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.programs import REPOSITORY

pytest.importorskip("ipykernel")

CELLS = [
    "import skate\nskate.init(num_cpus=2)",
    """
@skate.remote
def square(x):
    return x * x

@skate.remote
def broken(x):
    return {}[x]

@skate.remote
class Counter:
    def add(self):
        return 1

ref = square.remote(7)
print(skate.get(ref))
ref
""",
    "counter = Counter.remote()\nskate.get(counter.add.remote())\ncounter",
    "failed = broken.remote('key')\nskate.get(failed)",
    "skate.recreate_error_locally(failed)",
    "skate.shutdown()\nprint('over')",
]


def test_cards_and_errors_in_a_notebook(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("notebook.py"))], input=json.dumps(CELLS), env=environ, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (session, noise), (ref, printed), (actor, _), (_, error), (_, again), (_, over) = json.loads(done.stdout)
    assert "skate session" in session["text/html"]
    assert "2 of 2 free" in session["text/html"]
    assert noise == ""
    assert "49" in printed
    assert ">ready<" in ref["text/html"]
    assert "actor Counter" in actor["text/html"]
    assert "ALIVE" in actor["text/html"]
    for text in (error, again):
        assert "KeyError" in text
        assert "broken" in text
    assert "over" in over
