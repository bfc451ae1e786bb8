"""Every example on a Ray cluster, unchanged: the address is in the environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.integration.test_examples import EXAMPLES, PRINTS

_WITHOUT_SKATE = {"10_pandas.py", "40_ppo_plain.py", "41_dqn_plain.py"}  # They use no engine, or none of the cluster's.


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", sorted(PRINTS.keys() - _WITHOUT_SKATE))
def test_example(name: str, cluster: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=170,
        env={**os.environ, "SKATE_ADDRESS": cluster},
    )
    assert done.returncode == 0, done.stderr
    # What Ray itself says comes with colours around its name, in lines of its own.
    said = [line for line in done.stdout.splitlines(keepends=True) if not re.match(r"\x1b\[\d+m\(", line)]
    assert re.fullmatch(PRINTS[name], "".join(said)), done.stdout
