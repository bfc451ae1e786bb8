"""The arena: one sparse, unnamed file in memory (memfd) that holds every large value of a session.

The node process creates it and decides which range belongs to which object; every process has the descriptor. Writing is done by whoever made the
value, into a range it was given; reading goes through a read-only mapping of its own per value, whose end is how we know that the last
array went. Nothing here needs /dev/shm or a name.

Figures (2 cores, Linux 6.18, 200 MB; memcpy within private memory 10.0 GB/s):

    write                                   mmap copy    pwrite
    no memory behind the range yet          0.3–2.0      2.4–2.6 GB/s
    memory there, never touched from here   3.1          4.4
      … after MADV_POPULATE_WRITE           4.2
    memory there, written before from here  9.6          4.4

So a range is written by `pwrite` first and through the mapping from the second time on. Reading 100 MB through a fresh mapping costs 6 ms of faults
(fault-around maps 16 pages at a time), with MAP_POPULATE 7 ms even if little is read, so it is not used; 100 kB cost 20 µs.

When the machine is out of memory, `pwrite` and MADV_POPULATE_WRITE fail with an OSError, which becomes MemoryError. A plain store through the mapping
would end in SIGBUS: it is used only within seconds of the last write to the same place, whose memory is still there.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from array import array
from collections.abc import Callable, Sequence

from skate.engine.object_store.allocator import PAGE_BYTES, WARM_KEEP_S, pages_of, span_of

_F_ADD_SEALS, _F_SEAL_SHRINK, _F_SEAL_GROW = 1033, 2, 4
_MADV_POPULATE_WRITE = 23  # Linux 5.14
_GRANULE_BYTES = 1 << 20
# Copied at once, holding the GIL for 7 ms. memcpy passes the caches by only in long copies: pieces of 8 MB reach 5.4 GB/s, of 64 MB 9.4 GB/s.
_PIECE_BYTES = 64 << 20
_PARTS_PER_WRITE_MAX = 512
_NEVER, _ONCE = 0.0, -1.0  # Instead of a time: never written from here; written, but not through the mapping.
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2


class Arena:
    """One process's access to the session's arena."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        self.fd = fd
        self.size_bytes = size_bytes  # Of the file: the span of offsets, not the capacity.
        self._view: memoryview | None = None  # Writable, of the whole; made at the first copy through it.
        self._map: mmap.mmap | None = None
        self._written_s: array[float] = array("d")  # Per granule: when it was last written from this process.
        self._can_populate = True
        self._punch: Callable[[int, int, int, int], int] | None = None

    @classmethod
    def create(cls, capacity_bytes: int) -> Arena:
        """A new arena that can hold `capacity_bytes`; nothing is allocated yet. Only its node process creates it.

        Raises:
            OSError: The system refuses (memfd_create is missing, or the file size is limited).
        """
        fd = os.memfd_create("skate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            size = span_of(capacity_bytes)
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_GROW)  # Nobody can turn other people's mappings into SIGBUS.
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, size)

    @classmethod
    def attach(cls, fd: int, size_bytes: int | None = None) -> Arena:
        """The arena behind a descriptor that came from the node process. The size is the file's own, whatever is said."""
        return cls(fd, os.fstat(fd).st_size)

    # ------------------------------------------------------------ writing

    def write(self, offset: int, parts: Sequence[bytes | memoryview]) -> None:
        """Copy `parts`, one after the other, to `offset`: a range that was given to this process by Created.

        Raises:
            MemoryError: The machine has no memory left for it.
        """
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        size = sum(view.nbytes for view in views)
        if size == 0:
            return
        if offset < 0 or offset + size > self.size_bytes:
            raise ValueError(f"[{offset:,}, {offset + size:,}) is outside of the arena of {self.size_bytes:,} bytes")
        if not self._written_s:
            self._written_s = array("d", bytes(8 * (self.size_bytes // _GRANULE_BYTES + 1)))
        first, last = offset // _GRANULE_BYTES, (offset + size - 1) // _GRANULE_BYTES + 1
        oldest_s = min(self._written_s[first:last])
        now_s = time.monotonic()
        try:
            if oldest_s == _NEVER:
                self._write_by_call(offset, views)
                mark = _ONCE
            else:
                if now_s - oldest_s > WARM_KEEP_S / 2:  # Its memory may have been given back meanwhile, or it is not mapped here.
                    self._populate(offset, size)
                self._copy(offset, views)
                mark = now_s
        except OSError as error:
            raise MemoryError(f"the machine has no memory for {size:,} bytes in the object store ({error.strerror})") from error
        for granule in range(first, last):
            if mark != _ONCE or self._written_s[granule] == _NEVER:
                self._written_s[granule] = mark

    def _write_by_call(self, offset: int, views: list[memoryview]) -> None:
        for start in range(0, len(views), _PARTS_PER_WRITE_MAX):
            group = views[start : start + _PARTS_PER_WRITE_MAX]
            while group:
                done = os.pwritev(self.fd, group, offset)
                offset += done
                while group and done >= group[0].nbytes:
                    done -= group.pop(0).nbytes
                if group and done:
                    group[0] = group[0][done:]

    def _copy(self, offset: int, views: list[memoryview]) -> None:
        target = self._writable()
        for view in views:
            size = view.nbytes
            for start in range(0, size, _PIECE_BYTES):
                end = min(start + _PIECE_BYTES, size)
                target[offset + start : offset + end] = view[start:end]
            offset += size

    def _populate(self, offset: int, size: int) -> None:
        self._writable()
        start = offset // PAGE_BYTES * PAGE_BYTES
        if self._can_populate:
            assert self._map is not None
            try:
                self._map.madvise(_MADV_POPULATE_WRITE, start, offset + size - start)
            except OSError as error:
                if error.errno != 22:  # EINVAL: an older kernel. The copy will take its faults one by one.
                    raise
                self._can_populate = False

    def _writable(self) -> memoryview:
        if self._view is None:
            self._map = mmap.mmap(self.fd, self.size_bytes)
            self._view = memoryview(self._map)
        return self._view

    # ------------------------------------------------------------ reading

    def pin_map(self, offset: int, size: int, on_release: Callable[[], None]) -> memoryview:
        """A read-only view of [offset, offset+size). `on_release` is called once, when the last user of the view is gone.

        The view's `obj` can be referred to weakly; as long as it lives, new views of it can be made.
        """
        try:
            mapping = PinnedMapping(self.fd, size, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)
        except OSError:
            # A process may have 65,530 mappings (vm.max_map_count). A copy serves as well, and needs no pin.
            copy = self._read(offset, size)
            on_release()
            return memoryview(copy)
        mapping.on_release = on_release
        return memoryview(mapping)

    def _read(self, offset: int, size: int) -> bytes:
        pieces = []
        while size:
            piece = os.pread(self.fd, min(size, 1 << 30), offset)
            if not piece:
                raise ValueError(f"offset {offset:,} is outside of the arena of {self.size_bytes:,} bytes")
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    # ------------------------------------------------------------ giving back

    def discard(self, offset: int, size: int) -> None:
        """Give the memory of a free range back to the machine; it reads as zeros afterwards. 0.1 ms per MB."""
        if self._punch is None:
            import ctypes  # 8 ms: only the node process needs it, and not before something was freed for seconds.

            punch = ctypes.CDLL(None, use_errno=True).fallocate
            punch.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
            self._punch = punch
        self._punch(self.fd, _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE, offset, pages_of(size))

    def close(self) -> None:
        """Close the descriptor. Views that are still in use stay valid."""
        if self.fd >= 0:
            self._view = self._map = None
            os.close(self.fd)
            self.fd = -1


class PinnedMapping(mmap.mmap):
    """The pages of one value, unmapped with the last array that looks at them."""

    on_release: Callable[[], None] | None = None

    def __del__(self) -> None:
        on_release, self.on_release = self.on_release, None
        if on_release is not None:
            on_release()
