"""Sessions of this user on this machine: where their directories lie, which of them live, and removal of what dead ones have left.

    <root>/<session name>/    0700: node.sock, node.log, session.json
    root                      $XDG_RUNTIME_DIR/skate, else /tmp/skate-<uid>; 0700 and ours, else it is refused

A session lives as long as somebody listens on its node.sock: that is the kernel's word, and true across pid namespaces. Imports little:
it stands on the path of every start.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Any, NamedTuple

SOCKET_NAME = "node.sock"
RECORD_NAME = "session.json"
LOG_NAME = "node.log"
_NEWBORN_S = 60.0  # A directory without a listener may belong to a node that is starting.
_PATH_BYTES_MAX = 107  # sun_path


class Session(NamedTuple):
    """A living session."""

    name: str
    directory: str
    record: dict[str, Any]  # session.json

    @property
    def is_embedded(self) -> bool:
        """Whether it ends with the program that started it."""
        return bool(self.record.get("is_embedded", True))

    @property
    def pid(self) -> int:
        return int(self.record.get("pid", 0))


def session_root(*, create: bool = True) -> str:
    """The directory of all sessions of this user.

    Raises:
        PermissionError: It belongs to somebody else, or others may write to it.
        OSError: It can't be made.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and _is_ours(runtime) and os.access(runtime, os.W_OK | os.X_OK):
        root = os.path.join(runtime, "skate")
    else:
        root = f"/tmp/skate-{os.getuid()}"  # noqa: S108  # _check_root refuses one that another user has made.
    if create:
        try:
            os.mkdir(root, 0o700)
        except FileExistsError:
            pass
    _check_root(root)
    return root


def _is_ours(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _check_root(root: str) -> None:
    """Somebody else could have put a directory or a link of theirs in its place: /tmp is open to all."""
    try:
        found = os.lstat(root)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(
            f"{root} is not a directory of yours (owner: uid {found.st_uid}), so sessions can't be kept in it: remove it, or set "
            "XDG_RUNTIME_DIR to a directory that only you can write to"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(root, 0o700)


def make_session_directory(name: str = "") -> tuple[str, str]:
    """(name, path) of a new session's directory.

    Raises:
        FileExistsError: `name` was given, and a session of that name lives.
    """
    root = session_root()
    given = name
    for attempt in range(100):
        name = given or f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}" + (f"-{attempt}" if attempt else "")
        path = os.path.join(root, name)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not given:
                continue
            if is_alive(path):
                raise FileExistsError(
                    f"a session named {name!r} is running: stop it with `skate stop`, or join it with address={name!r}"
                ) from None
            remove_session(path)
            continue
        os.chmod(path, 0o700)  # Under any umask.
        return name, path
    raise FileExistsError(f"no directory for a session can be made in {root}")


def is_alive(directory: str) -> bool:
    """Whether somebody listens there."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)
        try:
            connect_to(probe, os.path.join(directory, SOCKET_NAME))
        except BlockingIOError:
            return True  # Its backlog is full.
        except OSError:
            return False
    return True


def connect_to(sock: Any, path: str) -> None:
    """`connect`, also to paths that are too long for a socket address."""
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        sock.connect(path)
        return
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)


def list_sessions() -> list[Session]:
    """The living ones, newest first."""
    try:
        root = session_root(create=False)
        names = os.listdir(root)
    except OSError:
        return []
    sessions = []
    for name in names:
        session = _read(os.path.join(root, name))
        if session is not None and is_alive(session.directory):
            sessions.append(session)
    return sorted(sessions, key=lambda session: -float(session.record.get("started_s", 0)))


def _read(directory: str) -> Session | None:
    import json

    try:
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return None
        with open(os.path.join(directory, RECORD_NAME), encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return None
    return Session(os.path.basename(directory), directory, record) if isinstance(record, dict) else None


def find_session(address: str) -> Session:
    """The session an address means: "auto" (the newest that `skate start` keeps), a session's name, or its directory.

    Raises:
        ConnectionError: There is none.
    """
    if os.sep in address:
        directory = os.path.abspath(address)
        session = _read(directory)
        if session is None or not is_alive(directory):
            raise ConnectionError(f"no session is running in {directory}: see `skate status` for those that are")
        return session
    sessions = list_sessions()
    if address == "auto":
        for session in sessions:
            if not session.is_embedded:
                return session
        more = f" ({len(sessions)} running session(s) of yours belong to the programs that started them)" if sessions else ""
        raise ConnectionError(f"address='auto': no session is kept{more}: start one with `skate start`, or leave the address out")
    for session in sessions:
        if session.name == address:
            return session
    known = ", ".join(session.name for session in sessions) or "none"
    raise ConnectionError(f"address={address!r}: no session of that name is running (running: {known}); see `skate status`")


def sweep_stale() -> list[str]:
    """Remove what sessions that were killed have left; returns their directories."""
    removed = []
    try:
        root = session_root(create=False)
        names = os.listdir(root)
    except OSError:
        return []
    for name in names:
        directory = os.path.join(root, name)
        try:
            age_s = time.time() - os.lstat(directory).st_mtime
            has_record = os.path.exists(os.path.join(directory, RECORD_NAME))
        except OSError:
            continue
        # Before its record is written a node may be starting; afterwards it listens until it removes all of this.
        if (has_record or age_s > _NEWBORN_S) and not is_alive(directory):
            remove_session(directory)
            removed.append(directory)
    return removed


def remove_session(directory: str) -> None:
    """Remove a session's directory. Links are removed, not followed."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    remove_session(entry.path)
                else:
                    try:
                        os.unlink(entry.path)
                    except FileNotFoundError:
                        pass
        os.rmdir(directory)
    except NotADirectoryError:
        try:
            os.unlink(directory)
        except OSError:
            pass
    except OSError:  # Gone meanwhile, or not ours: there is nothing better to do.
        pass


def log_tail(directory: str, bytes_max: int = 2000) -> str:
    """The end of the node's log, for error texts."""
    try:
        with open(os.path.join(directory, LOG_NAME), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - bytes_max))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
