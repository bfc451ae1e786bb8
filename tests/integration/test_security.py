"""What a local engine opens to others: nothing."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import skate
from skate.state import list_workers
from tests.integration.programs import run_program, session


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    skate.init(num_cpus=2)
    yield
    skate.shutdown()


def own_processes() -> list[int]:
    node = session()["pid"]
    return [os.getpid(), node, *[row["pid"] for row in list_workers()]]


def test_no_process_listens_on_tcp_or_udp() -> None:
    skate.get(skate.remote(lambda: 1).remote())
    inodes = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            inodes.add(line.split()[9])
    for pid in own_processes()[1:]:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                assert target[8:-1] not in inodes, f"process {pid} has an internet socket"


def test_the_session_directory_is_private_under_any_umask(tmp_path: Path) -> None:
    done = run_program(
        """
        import os, stat, skate
        os.umask(0)
        skate.init(num_cpus=1)
        from skate.backends import current
        path = current.active().query("session", {})["session_dir"]
        for at in (path, os.path.dirname(path)):
            print(oct(stat.S_IMODE(os.stat(at).st_mode)))
        for name in os.listdir(path):
            mode = os.lstat(os.path.join(path, name)).st_mode
            if not stat.S_ISSOCK(mode):
                assert stat.S_IMODE(mode) == 0o600, (name, oct(mode))
        """,
        tmp_path,
    )
    assert done.stdout == "0o700\n0o700\n", done.stderr + done.stdout


def test_garbage_on_the_socket_is_dropped_and_never_unpickled() -> None:
    import pickle

    path = Path(session()["session_dir"], "node.sock")
    assert stat.S_ISSOCK(path.lstat().st_mode)

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {path.parent}/pwned",)

    for payload in (b"\xff" * 100, pickle.dumps(Evil()), b"", os.urandom(4096), b"\xc1\x01" + os.urandom(100)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(10)
            sock.connect(str(path))
            if payload:
                sock.send(payload)
                assert sock.recv(1) == b""
    assert skate.get(skate.remote(lambda: 2).remote(), timeout=20) == 2
    assert not (path.parent / "pwned").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_another_user_is_turned_away(tmp_path: Path) -> None:
    path = session()["session_dir"] + "/node.sock"
    # The directory keeps others out already; open it to see that the node looks at credentials as well.
    directory = Path(path).parent
    modes = {d: d.stat().st_mode for d in (directory, directory.parent)}
    try:
        for d in modes:
            d.chmod(0o777)
        os.chmod(path, 0o777)
        pid = os.fork()
        if pid == 0:
            code = 9
            try:
                os.setgid(65534)
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                    sock.settimeout(10)
                    sock.connect(path)
                    code = 0 if sock.recv(1) == b"" else 1
            except OSError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        for d, mode in modes.items():
            d.chmod(stat.S_IMODE(mode))
        os.chmod(path, 0o600)


def test_the_arena_has_no_name() -> None:
    import numpy as np

    ref = skate.put(np.ones(1_000_000))
    assert not [name for name in os.listdir("/dev/shm") if "skate" in name] if os.path.isdir("/dev/shm") else True
    del ref
