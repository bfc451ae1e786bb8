"""The UI's process beside a program: its death touches nobody; what a new user does wrong is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("starlette")

from tests.integration.programs import REPOSITORY


def run_ui(*arguments: str, runs: Path, timeout_s: float = 20) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SKATE_RUNS_DIR": str(runs), "PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.run(
        [sys.executable, "-m", "skate.cli.main", *arguments], capture_output=True, text=True, env=environment, timeout=timeout_s
    )


def ui_of(session: str) -> psutil.Process:
    return next(
        one for one in psutil.process_iter(["cmdline"]) if "ui" in (words := one.info["cmdline"] or []) and session in words
    )


def test_a_killed_ui_touches_nobody_and_the_next_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    import skate

    context: Any = skate.init(num_cpus=1, include_dashboard=True)
    try:
        assert context.dashboard_url in capsys.readouterr().err
        double = skate.remote(lambda x: 2 * x)
        assert skate.get(double.remote(1)) == 2
        assert skate.dashboard.open(browser=False) == context.dashboard_url
        process = ui_of(context["session_name"])
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert skate.get([double.remote(i) for i in range(100)]) == [2 * i for i in range(100)]
        again = skate.dashboard.open(browser=False)
        assert again != context.dashboard_url
        process = ui_of(context["session_name"])
        os.kill(process.pid, signal.SIGTERM)
        process.wait(10)
    finally:
        skate.shutdown()


def test_without_a_session_open_says_what_to_do() -> None:
    import skate

    with pytest.raises(RuntimeError, match=r"skate\.init\(\) first"):
        skate.dashboard.open(browser=False)


@pytest.mark.parametrize("command", ["ui", "report"])
def test_without_any_run_the_commands_say_so(tmp_path: Path, command: str) -> None:
    done = run_ui(command, runs=tmp_path)
    assert done.returncode != 0
    assert "no run is kept" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_run_is_named(tmp_path: Path) -> None:
    done = run_ui("ui", "nosuch", runs=tmp_path)
    assert "no run is called 'nosuch'" in done.stderr
