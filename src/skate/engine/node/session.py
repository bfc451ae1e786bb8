"""The session's directory: session.json, which lets others find this session, and the removal of it all at the end."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import msgspec

from skate.engine.spec.boot import NodeConfig

SOCKET_NAME = "node.sock"
RECORD_NAME = "session.json"


def version() -> str:
    return str(getattr(sys.modules.get("skate"), "__version__", ""))


def python_version() -> str:
    return "{}.{}.{}".format(*sys.version_info[:3])


def describe(config: NodeConfig, num_cpus: float) -> dict[str, Any]:
    return {
        "name": config.session_name,
        "pid": os.getpid(),
        "started_s": time.time(),
        "is_embedded": config.is_embedded,
        "driver_pid": config.driver_pid,
        "python": python_version(),
        "version": version(),
        "num_cpus": num_cpus,
    }


def write_record(directory: str, record: dict[str, Any]) -> None:
    """Whole or not at all; readable for its owner only."""
    path = os.path.join(directory, RECORD_NAME)
    draft = f"{path}.{os.getpid()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
        os.write(fd, msgspec.json.encode(record))
    finally:
        os.close(fd)
    os.rename(draft, path)


def remove_tree(path: str) -> None:
    """As `shutil.rmtree(ignore_errors=True)`, without its imports. Symbolic links are removed, not followed."""
    try:
        entries = list(os.scandir(path))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)
        except OSError:
            pass
    try:
        os.rmdir(path)
    except OSError:
        pass
