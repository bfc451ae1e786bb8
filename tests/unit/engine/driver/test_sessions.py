"""Where sessions lie, which of them live, and what is swept up."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skate.engine.driver import sessions


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Short: a socket's path has at most 107 bytes.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="sk") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory) / "skate"


def make_session(root: Path, name: str, *, is_embedded: bool = True, started_s: float = 1.0) -> socket.socket:
    """A directory with somebody who listens."""
    directory = root / name
    directory.mkdir(parents=True, mode=0o700)
    (directory / "session.json").write_text(
        json.dumps({"name": name, "pid": 1, "is_embedded": is_embedded, "started_s": started_s})
    )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(directory / "node.sock"))
    listener.listen()
    return listener


def test_the_root_is_private_under_any_umask(root: Path) -> None:
    before = os.umask(0)
    try:
        assert sessions.session_root() == str(root)
        _name, path = sessions.make_session_directory()
    finally:
        os.umask(before)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


def test_a_root_that_others_could_enter_is_closed(root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)
    sessions.session_root()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_a_link_in_the_roots_place_is_refused(root: Path, tmp_path: Path) -> None:
    root.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="not a directory of yours"):
        sessions.session_root()


def test_without_a_runtime_directory_it_lies_in_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere/at/all")
    assert sessions.session_root(create=False) == f"/tmp/skate-{os.getuid()}"


def test_names_do_not_collide(root: Path) -> None:
    names = {sessions.make_session_directory()[0] for _ in range(3)}
    assert len(names) == 3


def test_living_sessions_are_listed_newest_first(root: Path) -> None:
    with make_session(root, "old", started_s=1), make_session(root, "new", started_s=2):
        make_session(root, "dead").close()
        assert [session.name for session in sessions.list_sessions()] == ["new", "old"]


def test_an_address_names_a_session(root: Path) -> None:
    with make_session(root, "mine"), make_session(root, "kept", is_embedded=False):
        assert sessions.find_session("auto").name == "kept"
        assert sessions.find_session("mine").name == "mine"
        assert sessions.find_session(str(root / "mine")).name == "mine"
        with pytest.raises(ConnectionError, match=r"running: .*mine"):
            sessions.find_session("other")
        with pytest.raises(ConnectionError, match="skate status"):
            sessions.find_session("/no/such/directory")


def test_auto_says_how_to_keep_one(root: Path) -> None:
    with make_session(root, "embedded"), pytest.raises(ConnectionError, match=r"1 running session.*skate start"):
        sessions.find_session("auto")


def test_a_name_in_use_is_refused_and_a_dead_ones_is_free(root: Path) -> None:
    with make_session(root, "taken"), pytest.raises(FileExistsError, match="skate stop"):
        sessions.make_session_directory("taken")
    assert sessions.make_session_directory("taken")[0] == "taken"


def test_the_sweep_removes_what_the_dead_have_left_and_nothing_else(root: Path) -> None:
    make_session(root, "dead").close()
    (root / "dead" / "deep").mkdir()
    (root / "dead" / "deep" / "file").write_text("x")
    newborn, forgotten = root / "newborn", root / "forgotten"
    for directory in (newborn, forgotten):
        directory.mkdir()
    long_ago_s = time.time() - 3600
    os.utime(forgotten, (long_ago_s, long_ago_s))
    with make_session(root, "alive"):
        assert sorted(map(os.path.basename, sessions.sweep_stale())) == ["dead", "forgotten"]
        assert sorted(path.name for path in root.iterdir()) == ["alive", "newborn"]


def test_removing_follows_no_links(root: Path, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").write_text("x")
    directory = root / "session"
    directory.mkdir(parents=True)
    (directory / "link").symlink_to(treasure)
    sessions.remove_session(str(directory))
    assert not directory.exists()
    assert (treasure / "gold").exists()


def test_paths_longer_than_a_socket_address(root: Path) -> None:
    deep = root / ("x" * 120)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        fd = os.open(deep, os.O_PATH | os.O_DIRECTORY)
        listener.bind(f"/proc/self/fd/{fd}/node.sock")
        os.close(fd)
        listener.listen()
        assert sessions.is_alive(str(deep))
    assert not sessions.is_alive(str(deep))


def test_the_end_of_the_nodes_log(root: Path) -> None:
    root.mkdir()
    (root / "node.log").write_text("a" * 5000 + "\nlast words\n")
    tail = sessions.log_tail(str(root), 100)
    assert tail.endswith("last words")
    assert len(tail) <= 100
    assert sessions.log_tail("/no/where") == ""
