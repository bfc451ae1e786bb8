"""Storage: the few file operations that snapshots and sinks are made of, so that a test can fail any one of them.

What is written is on the disk before the next step relies on it: the file is synced before its name appears, and so is its directory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

# A test's hook: called with (operation, path, bytes to write) before each; may raise, or return fewer bytes to write before raising.
before_operation: Callable[[str, Path, bytes], None] | None = None


def checksum(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def write(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a whole file under its final name: it may be torn when this is cut short."""
    if before_operation is not None:
        before_operation("write", path, data)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """The file is as it was or has all of the data."""
    temporary = path.with_name(f"{path.name}.tmp")
    write(temporary, data)
    rename(temporary, path)


def rename(old: Path, new: Path) -> None:
    if before_operation is not None:
        before_operation("rename", new, b"")
    os.replace(old, new)
    sync_directory(new.parent)


def append_at(path: Path, offset: int, data: bytes) -> None:
    """Make the file exactly its first `offset` bytes and then the data. Doing it again changes nothing."""
    if before_operation is not None:
        before_operation("append", path, data)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.ftruncate(descriptor, offset)
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def truncate(path: Path, size: int) -> None:
    if before_operation is not None:
        before_operation("truncate", path, b"")
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def remove(path: Path) -> None:
    if before_operation is not None:
        before_operation("remove", path, b"")
    path.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
