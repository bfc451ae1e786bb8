"""Ray clusters for tests: one head on this machine, more nodes as wanted, with ports, a directory and a token of their own; all gone afterwards.

Each node's processes carry a mark in their environment: only those are ended, whatever other Ray clusters run here.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_MARK = "SKATE_TEST_RAY"
_RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")

# Ray misses a node after 30 s, and a call to a machine that is cut off from the network after 5 minutes: for tests, sooner.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5", "RAY_grpc_client_keepalive_time_ms": "2000", "RAY_grpc_client_keepalive_timeout_ms": "4000",
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Cluster:
    """`address` is "host:port"."""

    def __init__(self, directory: Path, ip: str = "127.0.0.1") -> None:
        self.directory = directory
        self.ip = ip
        self.port = free_port()
        self.client_port = free_port()
        self.address = f"{ip}:{self.port}"
        self.environment = {
            **os.environ, _MARK: str(directory), "RAY_USAGE_STATS_ENABLED": "0",
            **IMPATIENT,
        }  # fmt: skip

    def start_head(self, *arguments: str) -> None:
        self._start(
            "head", "--head", f"--port={self.port}", f"--ray-client-server-port={self.client_port}", f"--temp-dir={self.directory}",
            f"--node-ip-address={self.ip}", *arguments,
        )  # fmt: skip

    def add_node(self, name: str, *arguments: str, inside: Sequence[str] = ()) -> None:
        """`inside`: a command that runs another one elsewhere, such as `ip netns exec NAME`."""
        self._start(name, f"--address={self.address}", *arguments, inside=inside)

    def _start(self, name: str, *arguments: str, inside: Sequence[str] = ()) -> None:
        dashboard = () if any("dashboard" in one for one in arguments) or name != "head" else ("--include-dashboard=false",)
        started = subprocess.run(
            [*inside, *_RAY, "start", "--object-store-memory=150000000", "--disable-usage-stats", *dashboard, *arguments],
            env={**self.environment, f"{_MARK}_NODE": name}, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert started.returncode == 0, started.stdout + started.stderr

    def kill_node(self, name: str) -> None:
        """As if its power failed."""
        _kill(f"{_MARK}={self.directory}", f"{_MARK}_NODE={name}")

    def end(self) -> None:
        deadline_s = time.monotonic() + 10
        while _kill(f"{_MARK}={self.directory}"):  # What is started meanwhile, too.
            assert time.monotonic() < deadline_s, "processes of the Ray cluster do not end"
            time.sleep(0.05)
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def running_cluster(*arguments: str, ip: str = "127.0.0.1") -> Iterator[Cluster]:
    """The token's place is in this process's environment while it runs."""
    directory = Path(tempfile.mkdtemp(prefix="skray-"))  # Short: sockets lie below it.
    token = directory / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")}
    os.environ.update(RAY_AUTH_TOKEN_PATH=str(token), RAY_AUTH_MODE="token")
    cluster = Cluster(directory, ip)
    try:
        cluster.start_head(*arguments)
        yield cluster
    finally:
        cluster.end()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _kill(*marks: str) -> int:
    """How many there were."""
    wanted = {mark.encode() for mark in marks}
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if wanted <= set((entry / "environ").read_bytes().split(b"\0")) and " Z " not in (entry / "stat").read_text():
                    os.kill(int(entry.name), signal.SIGKILL)
                    found += 1
            except OSError:
                continue
    return found
