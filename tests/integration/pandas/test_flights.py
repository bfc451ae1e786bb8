"""The demo's analysis gives the same with both, and what runs in threads or after a fork is right, too."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

from skate.pandas.flights import compare


def test_flights_are_the_same_with_both() -> None:
    made = compare()
    assert made.rows == 336_776
    assert made.is_equal
    assert len(made.result) > 0


def test_threads_may_look_at_one_plan_at_once() -> None:
    import skate.pandas as pd

    frame = pd.DataFrame({"a": range(200_000)})
    made = frame[frame.a >= 100_000]
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(int(made.a.to_numpy().sum()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [sum(range(100_000, 200_000))] * 8


def test_a_forked_child_executes_plans_by_pandas() -> None:
    program = """
import os, skate.pandas as pd
frame = pd.DataFrame({"a": range(200_000)})
len(frame[frame.a > 5].to_numpy())
made = frame[frame.a >= 199_990]
child = os.fork()
if child == 0:
    os._exit(0 if made.a.sum() == sum(range(199_990, 200_000)) and len(made) == 10 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=50)
    assert run.stdout == "0\n", run.stderr
