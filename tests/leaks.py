"""What a test left behind: processes, threads, file descriptors, shared memory, session directories.

`Traces.of_this_process()` before and after; what is new and stays new for GRACE_S is a leak. Everything here reads `/proc`.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

GRACE_S = 2.0

# The metrics reporter sleeps for good once a program has recorded a metric: it belongs to the program, not to a session.
_THREADS_THAT_STAY = ("skate-metrics", "skate-report", "pytest_timeout", "asyncio_", "ThreadPoolExecutor-")


@dataclass(frozen=True)
class Traces:
    """All that a process and its children can be seen by. Each item is a line that names it for a person."""

    processes: frozenset[str]
    threads: frozenset[str]
    descriptors: frozenset[str]
    shared_memory: frozenset[str]
    session_files: frozenset[str]

    @classmethod
    def of_this_process(cls, runtime_dir: Path) -> Traces:
        return cls(
            processes=frozenset(_processes(runtime_dir)),
            threads=frozenset(
                f"thread {t.name} ({t.ident})" for t in threading.enumerate() if not t.name.startswith(_THREADS_THAT_STAY)
            ),
            descriptors=frozenset(_descriptors()),
            shared_memory=frozenset(_shared_memory()),
            session_files=frozenset(f"file {path}" for path in (runtime_dir / "skate").rglob("*")),
        )

    def new_since(self, before: Traces) -> list[str]:
        return sorted(
            line
            for name in ("processes", "threads", "descriptors", "shared_memory", "session_files")
            for line in getattr(self, name) - getattr(before, name)
        )


def wait_for_none(before: Traces, runtime_dir: Path, within_s: float = GRACE_S) -> list[str]:
    """What is left when everything has had time to go; nothing, if all is well."""
    deadline_s = time.monotonic() + within_s
    while True:
        gc.collect()  # A view that is garbage still holds its mapping.
        left = Traces.of_this_process(runtime_dir).new_since(before)
        if not left or time.monotonic() > deadline_s:
            return left
        time.sleep(0.02)  # The wait for a condition.


def _processes(runtime_dir: Path) -> list[str]:
    """Our children and theirs, and whatever was started for a session in `runtime_dir`, also when its parent is gone."""
    parents: dict[int, int] = {}
    marked: set[int] = set()
    mark = f"XDG_RUNTIME_DIR={runtime_dir}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state in "ZX":
                continue  # Gone, only not reaped yet.
            parents[pid] = int(parent)
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                marked.add(pid)
        except OSError:
            continue
    family = {os.getpid()}
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        grew = bool(more)
    return [f"process {pid}: {_command(pid)}" for pid in sorted((family | marked) - {os.getpid()})]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return "(gone)"


def _descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # The one that listed the directory.
        if target not in ("/dev/null", "/dev/urandom") and not target.startswith(("/proc/self", f"/proc/{os.getpid()}")):
            found.append(f"descriptor {name} → {target}")
    return found


def _shared_memory() -> list[str]:
    """Mapped memory files, and names in /dev/shm."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    found = ["mapping " + line.split(None, 5)[5] + " at " + line.split("-")[0] for line in maps if "memfd:skate" in line]
    try:
        found += [f"/dev/shm/{entry.name}" for entry in os.scandir("/dev/shm") if entry.stat().st_uid == os.getuid()]
    except OSError:
        pass
    return found
