"""The arena: written by one process, read by all without a copy, given back when nobody looks."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from skate.engine.object_store import arena as arena_module
from skate.engine.object_store.arena import Arena
from skate.engine.object_store.serialization import pack, unpack_stored

MB = 1 << 20


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena.create(64 * MB)
    yield arena
    arena.close()


def memory_bytes(arena: Arena) -> int:
    return os.fstat(arena.fd).st_blocks * 512


def nothing() -> None:
    pass


def test_what_is_written_can_be_read_by_whoever_has_the_descriptor(arena: Arena) -> None:
    other = Arena.attach(os.dup(arena.fd))
    for content in (b"one", b"two", b"six"):  # By a call first, then through the mapping.
        arena.write(8192, [b"head", memoryview(content * MB)])
        view = other.pin_map(8192, 4 + 3 * MB, nothing)
        assert bytes(view) == b"head" + content * MB
    other.close()


def test_parts_of_any_shape_and_number(arena: Arena) -> None:
    numbers = np.arange(6, dtype=np.int64).reshape(2, 3)
    parts = [b"", memoryview(numbers), *[bytes((i % 256,)) for i in range(2000)], memoryview(b"")]
    for _ in range(2):
        arena.write(4096, parts)
        assert bytes(arena.pin_map(4096, 2048, nothing)) == numbers.tobytes() + bytes(i % 256 for i in range(2000))


def test_a_value_is_read_without_a_copy_and_cannot_be_written(arena: Arena) -> None:
    packed = pack({"x": np.arange(MB)})
    arena.write(4096, packed.stored_parts())

    array = unpack_stored(arena.pin_map(4096, packed.stored_size(), nothing))["x"]

    assert not array.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    os.pwrite(arena.fd, (77).to_bytes(8, "little"), 4096 + packed.stored_size() - 8)
    assert array[-1] == 77, "the array is the arena's memory"
    assert array.ctypes.data % 64 == 0


def test_the_pin_is_given_back_once_when_the_last_array_goes(arena: Arena) -> None:
    arena.write(0, [bytes(MB)])
    released: list[int] = []
    view = arena.pin_map(0, MB, lambda: released.append(1))
    mapping = weakref.ref(view.obj)
    first = np.frombuffer(view[: MB // 2], dtype=np.uint8)
    second = np.frombuffer(view, dtype=np.uint8)[10:20]
    del view
    del first
    gc.collect()
    assert released == [] and mapping() is not None
    again = memoryview(mapping()).toreadonly()  # As a client does that fetches a value whose mapping is still alive.
    del second
    assert released == []
    del again
    assert released == [1] and mapping() is None


def test_a_process_with_too_many_mappings_reads_a_copy(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    arena.write(4096, [b"abc" * 1000])
    released: list[int] = []

    def refuse(*args: object, **more: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(arena_module, "PinnedMapping", refuse)
    view = arena.pin_map(4096, 3000, lambda: released.append(1))
    assert bytes(view) == b"abc" * 1000 and view.readonly and isinstance(view.obj, bytes)
    assert released == [1]


def test_memory_is_taken_by_writing_and_given_back_by_discarding(arena: Arena) -> None:
    assert memory_bytes(arena) == 0
    arena.write(0, [bytes(8 * MB)])
    arena.write(0, [bytes(8 * MB)])
    assert memory_bytes(arena) == 8 * MB

    arena.discard(0, 8 * MB)

    assert memory_bytes(arena) == 0
    arena.write(MB, [b"x" * MB])
    assert bytes(arena.pin_map(MB, MB, nothing)) == b"x" * MB


def test_the_kernel_may_take_less_than_it_is_given(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does with more than 2 GB at once."""
    real = os.pwritev

    def take_little(fd: int, views: list[memoryview], offset: int) -> int:
        return real(fd, [view[:1000] for view in views[:1]], offset)

    monkeypatch.setattr(os, "pwritev", take_little)
    parts = [os.urandom(size) for size in (10, 5000, 1000, 1)]
    arena.write(4096, parts)
    assert bytes(arena.pin_map(4096, 6011, nothing)) == b"".join(parts)


def test_nobody_can_shrink_it_under_others_or_find_it_by_name(arena: Arena) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(arena.fd, 4096)
    with pytest.raises(PermissionError):
        os.ftruncate(arena.fd, arena.size_bytes * 2)
    assert fcntl.fcntl(arena.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert not os.path.exists(os.readlink(f"/proc/self/fd/{arena.fd}"))


def test_a_machine_without_memory_is_a_memory_error(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", refuse)
    with pytest.raises(MemoryError, match=r"1,048,576 bytes in the object store"):
        arena.write(0, [bytes(MB)])


def test_writing_outside_is_refused(arena: Arena) -> None:
    with pytest.raises(ValueError, match="outside"):
        arena.write(arena.size_bytes - 10, [bytes(11)])
