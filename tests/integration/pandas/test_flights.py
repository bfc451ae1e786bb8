"""The demo's analysis gives the same with both, and what runs in threads or after a fork is right, too."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from skate.cli import demo
from skate.pandas.flights import compare


def test_flights_are_the_same_with_both() -> None:
    made = compare()
    assert made.rows == 336_776
    assert made.is_equal
    assert len(made.result) > 0


def test_the_demo_shows_both_times_and_that_results_are_equal(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo._show_flights()
    shown = capsys.readouterr().out
    assert "336,776 flights: pandas " in shown
    assert "results equal: True" in shown


def test_the_demo_without_pandas_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert demo._show_flights()
    assert "pip install 'skate[demo]'" in capsys.readouterr().out


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
