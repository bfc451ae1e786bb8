"""Run small programs as a user would, and look at what they leave behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def start_program(source: str, directory: Path, **environment: str) -> subprocess.Popen[str]:
    """Start a Python program of its own. Its session directories lie in `directory`/run."""
    script = directory / "program.py"
    script.write_text(textwrap.dedent(source))
    run = directory / "run"
    run.mkdir(mode=0o700, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env={**os.environ, "XDG_RUNTIME_DIR": str(run), "PYTHONPATH": str(REPOSITORY / "src"), **environment},
        start_new_session=True,
    )


def run_program(source: str, directory: Path, timeout_s: float = 60.0, **environment: str) -> subprocess.CompletedProcess[str]:
    program = start_program(source, directory, **environment)
    out, err = program.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(program.args, program.returncode, out, err)


def session() -> dict[str, Any]:
    """The session this process has joined: pid of the node process, session_dir, …"""
    from skate.backends import current

    return current.active().query("session", {})


def wait_until(claim: Callable[[], object], timeout_s: float = 5.0, what: str = "") -> float:
    """Wait for a condition; returns the seconds it took."""
    started = time.monotonic()
    while not claim():
        if time.monotonic() - started > timeout_s:
            raise AssertionError(f"not within {timeout_s} s: {what or claim}")
        time.sleep(0.005)
    return time.monotonic() - started


def processes_of(directory: Path) -> list[int]:
    """Processes that work for sessions in `directory` (their environment names it), without this one."""
    mark = f"XDG_RUNTIME_DIR={directory / 'run'}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0") and state_of(int(entry.name)) != "Z":
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def files_of(directory: Path) -> list[Path]:
    """What sessions in `directory` have left on disk."""
    root = directory / "run" / "skate"
    return sorted(root.rglob("*")) if root.exists() else []


def assert_nothing_left(directory: Path, timeout_s: float = 2.0) -> None:
    wait_until(lambda: not processes_of(directory), timeout_s, f"processes of {directory} gone")
    wait_until(lambda: not files_of(directory), timeout_s, f"files in {directory} gone: {files_of(directory)}")


def state_of(pid: int) -> str:
    """The kernel's letter for what a process does: R runs, S sleeps, Z is dead and not yet reaped."""
    match = re.search(r"\) (\w)", Path(f"/proc/{pid}/stat").read_text())
    return match.group(1) if match else "?"
