"""Whether what a plan reads fits into memory. If not, it is executed in pieces, and nothing is kept. Sizes are bytes."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable, Iterator

from skate.pandas.plan import Node
from skate.pandas.settings import settings

# Of the memory that is free, a query in memory may read so much: filters and joins make copies of it.
_SHARE = 0.3
_PARQUET_GROWS = 3.0  # A compressed file, in memory.
_KNOWN_SMALL = 64 << 20  # Nobody is that short of memory; it saves asking.


def is_tight(nodes: Iterable[Node]) -> bool:
    """Whether the files that these nodes read are too large to be read at once."""
    size = 0.0
    for node in nodes:
        path = getattr(node, "path", None)
        if isinstance(path, str):
            size += _size(path) * (_PARQUET_GROWS if node.label == "read_parquet" else 1.5)
    return size > _KNOWN_SMALL and size > available() * _SHARE


@contextlib.contextmanager
def frugal() -> Iterator[None]:
    """Let Polars read few row groups ahead, while it executes a query in pieces: by default it reads 128."""
    name = "POLARS_ROW_GROUP_PREFETCH_SIZE"
    before = os.environ.get(name)
    os.environ[name] = before or "2"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def available() -> int:
    """What this process can still use: free memory of the machine, what its container or a limit (`ulimit`) leaves."""
    free = [_field("/proc/meminfo", "MemAvailable")]
    if settings.memory_bytes:
        free.append(max(0, settings.memory_bytes - _field("/proc/self/status", "VmRSS")))
    for limit, field in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            free.append(max(0, most - _field("/proc/self/status", field)))
    for most_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        allowed, used = _number(most_file), _number(used_file)
        if allowed is not None and used is not None:
            free.append(max(0, allowed - used))
    return min(free)


def _field(path: str, name: str) -> int:
    try:
        with open(path) as file:
            for line in file:
                if line.startswith(f"{name}:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 1 << 62


def _number(path: str) -> int | None:
    try:
        with open(path) as file:
            text = file.read().strip()
        return int(text) if text.isdigit() else None
    except OSError:
        return None
