"""A Ray cluster for tests: one head on this machine, with ports, a directory and a token of its own; gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MARK = "SKATE_TEST_RAY"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running_cluster(*arguments: str, client_port: int | None = None) -> Iterator[str]:
    """Its address, "host:port"."""
    directory = Path(tempfile.mkdtemp(prefix="skray-"))  # Short: sockets lie below it.
    token = directory / "token"
    token.write_text(secrets.token_hex(32))
    os.environ.update(RAY_AUTH_TOKEN_PATH=str(token), RAY_AUTH_MODE="token")
    port = free_port()
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
    environment = {**os.environ, _MARK: str(directory), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [
        *ray, "start", "--head", f"--port={port}", f"--ray-client-server-port={client_port or free_port()}", f"--temp-dir={directory}",
        "--include-dashboard=false", "--object-store-memory=200000000", "--disable-usage-stats", *arguments,
    ]  # fmt: skip
    try:
        started = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert started.returncode == 0, started.stdout + started.stderr
        yield f"127.0.0.1:{port}"
    finally:
        for pid in _members(str(directory)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(directory, ignore_errors=True)


def _members(directory: str) -> list[int]:
    mark = f"{_MARK}={directory}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
