"""Spilling: copies values between the arena and a file on disk, without stalling the node process.

The copying is done by a child process, started at first use and spoken to over a socket pair. The file has no name (O_TMPFILE):
nothing can be left behind. One file holds all spilled values; a deleted one leaves a hole, whose place is used again and whose
blocks go back to the disk at once.

    node: SpillSpace chooses the place ──order──► child: pwrite/preadv in pieces ──answer──► node: SpillDone, RestoreDone

A full disk is an answer like any other. When the child dies, what it was doing has failed, and a new one is started by the next
order.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from bisect import insort
from collections.abc import Callable

from skate.engine.node.loop import Loop
from skate.engine.node.worker_processes import flush_standard_streams, fork_child
from skate.engine.spec.events import RestoreDone, SpillDone
from skate.engine.spec.ids import OBJECT_ID_BYTES

_SPILL, _RESTORE, _PUNCH, _DONE = 1, 2, 3, 4
_order = struct.Struct(f"<B{OBJECT_ID_BYTES}sQQQ")  # what, id, offset in the arena, size, offset in the file
_PIECE_BYTES = 8 * 1024 * 1024
_ALIGN_BYTES = 4096
_SHORT_LIVED, _LONG_LIVED = "/tmp", "/var/tmp"  # noqa: S108  # The file has no name there: nobody can get hold of it.
_ERROR_BYTES_MAX = 4096
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2


class SpillSpace:
    """Which ranges of the spill file are free. Pure. First fit; neighbours merge; the file grows only when nothing fits."""

    def __init__(self, bytes_max: int) -> None:
        """`bytes_max`: -1 for no limit."""
        self._bytes_max = bytes_max
        self._holes: list[tuple[int, int]] = []  # (offset, size), by offset, never touching each other or the end
        self._end = 0
        self.used_bytes = 0

    def allocate(self, size: int) -> int:
        """The offset of a free range.

        Raises:
            OSError: The limit is reached.
        """
        size = _aligned(size)
        if 0 <= self._bytes_max < self.used_bytes + size:
            raise OSError(
                0, f"{self.used_bytes:,} bytes are spilled, {size:,} more would exceed the limit of {self._bytes_max:,}"
            )
        self.used_bytes += size
        for index, (offset, hole) in enumerate(self._holes):
            if hole >= size:
                if hole == size:
                    del self._holes[index]
                else:
                    self._holes[index] = (offset + size, hole - size)
                return offset
        offset, self._end = self._end, self._end + size
        return offset

    def free(self, offset: int, size: int) -> None:
        size = _aligned(size)
        self.used_bytes -= size
        insort(self._holes, (offset, size))
        index = self._holes.index((offset, size))
        if index + 1 < len(self._holes) and offset + size == self._holes[index + 1][0]:
            size += self._holes.pop(index + 1)[1]
            self._holes[index] = (offset, size)
        if index and self._holes[index - 1][0] + self._holes[index - 1][1] == offset:
            before, before_size = self._holes[index - 1]
            self._holes[index - 1 : index + 1] = [(before, before_size + size)]
        if self._holes and sum(self._holes[-1]) == self._end:
            self._end = self._holes.pop()[0]


class Spiller:
    def __init__(
        self,
        loop: Loop,
        arena_fd: int,
        directory: str,
        bytes_max: int,
        watch_child: Callable[[int, Callable[[int], None]], None],
        report: Callable[[SpillDone | RestoreDone], None],
    ) -> None:
        """`directory`: "" for the machine's temporary directory."""
        self._loop = loop
        self._arena_fd = arena_fd
        self._directory = directory
        self._watch_child = watch_child
        self._report = report
        self.space = SpillSpace(bytes_max)
        self._file = -1
        self._sock: socket.socket | None = None
        self._places: dict[bytes, tuple[int, int]] = {}  # id → (offset in the file, size)
        self._running: dict[bytes, int] = {}  # id → what the child does with it
        self._deleted: set[bytes] = set()  # Deleted while the child works on it: freed when it is done.
        self._unsent: list[bytes] = []

    # ------------------------------------------------------------ orders

    def spill(self, object_id: bytes, offset: int, size: int) -> None:
        try:
            self._ensure_file()
            place = self.space.allocate(size)
        except OSError as error:
            self._report_soon(SpillDone(object_id, f"cannot spill {size:,} bytes: {_words(error)}"))
            return
        self._places[object_id] = (place, size)
        self._order(_SPILL, object_id, offset, size, place)

    def restore(self, object_id: bytes, offset: int, size: int) -> None:
        entry = self._places.get(object_id)
        if entry is None:
            self._report_soon(RestoreDone(object_id, "it is not in the spill file"))
            return
        self._order(_RESTORE, object_id, offset, size, entry[0])

    def delete(self, object_id: bytes) -> None:
        if object_id in self._running:
            self._deleted.add(object_id)
        else:
            self._free(object_id)

    def _free(self, object_id: bytes) -> None:
        entry = self._places.pop(object_id, None)
        if entry is not None:
            place, size = entry
            self.space.free(place, size)
            # Orders are carried out one after the other: a value that is spilled to this place next comes after the hole.
            self._send(_order.pack(_PUNCH, object_id, 0, size, place))

    def _order(self, what: int, object_id: bytes, offset: int, size: int, place: int) -> None:
        self._running[object_id] = what
        self._send(_order.pack(what, object_id, offset, size, place))

    # ------------------------------------------------------------ the child

    def _ensure_file(self) -> None:
        if self._file < 0:
            self._file = open_unnamed(self._directory or temporary_directory())

    def _send(self, order: bytes) -> None:
        try:
            sock = self._ensure_child()
        except OSError as error:
            text = f"cannot start the process that spills: {_words(error)}"
            self._loop.soon.append(lambda: self._fail_all(text))
            return
        self._unsent.append(order)
        self._flush(sock)

    def _flush(self, sock: socket.socket) -> None:
        while self._unsent:
            try:
                sock.send(self._unsent[0])
            except BlockingIOError:
                self._loop.watch(sock.fileno(), writable=True)
                return
            except OSError:
                return  # It died: its end is reported by the loop.
            del self._unsent[0]
        self._loop.watch(sock.fileno())

    def _ensure_child(self) -> socket.socket:
        if self._sock is not None:
            return self._sock
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                keep = (theirs.fileno(), self._arena_fd, self._file)
                flush_standard_streams()
                pid = fork_child(lambda: _copy_until_end(theirs, self._arena_fd, self._file), stdout=1, stderr=2, keep=keep)
            except OSError:
                ours.close()
                raise
        self._watch_child(pid, lambda status: self._on_child_end(ours))
        ours.setblocking(False)
        self._sock = ours
        self._loop.add(ours.fileno(), lambda _events: self._on_events(ours))
        return ours

    def _on_events(self, sock: socket.socket) -> None:
        if sock is not self._sock:
            return
        while True:
            try:
                answer = sock.recv(_order.size + _ERROR_BYTES_MAX)
            except BlockingIOError:
                break
            except ConnectionResetError:
                continue
            except OSError:
                answer = b""
            if not answer:
                self._on_child_end(sock)
                return
            object_id = answer[1 : 1 + OBJECT_ID_BYTES]
            self._finish(object_id, answer[1 + OBJECT_ID_BYTES :].decode("utf-8", "replace"))
        self._flush(sock)

    def _finish(self, object_id: bytes, error: str) -> None:
        what = self._running.pop(object_id, 0)
        is_deleted = object_id in self._deleted
        self._deleted.discard(object_id)
        if is_deleted or (what == _SPILL and error):
            self._free(object_id)
        if what == _SPILL:
            self._report(SpillDone(object_id, error))
        elif what == _RESTORE:
            self._report(RestoreDone(object_id, error))

    def _on_child_end(self, sock: socket.socket) -> None:
        if sock is self._sock:
            self._sock = None
            self._unsent.clear()
            self._loop.remove(sock.fileno())
            sock.close()
            self._fail_all("the process that spills died")

    def _fail_all(self, error: str) -> None:
        for object_id in list(self._running):
            self._finish(object_id, error)

    def _report_soon(self, event: SpillDone | RestoreDone) -> None:
        # Not now: the directory is in the middle of the answer that ordered this.
        self._loop.soon.append(lambda: self._report(event))


# ---------------------------------------------------------------- in the child


def _copy_until_end(sock: socket.socket, arena_fd: int, file: int) -> None:
    sock.setblocking(True)
    arena = memoryview(mmap.mmap(arena_fd, os.fstat(arena_fd).st_size))
    punch = ctypes.CDLL(None, use_errno=True).fallocate
    punch.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    while True:
        try:
            order = sock.recv(_order.size)
        except ConnectionResetError:
            return
        if not order:
            return
        what, object_id, offset, size, place = _order.unpack(order)
        if what == _PUNCH:
            # Not every file system can; no harm.
            punch(file, _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE, place, _aligned(size))
            continue
        error = ""
        try:
            (_write if what == _SPILL else _read)(file, arena[offset : offset + size], place)
        except OSError as failure:
            error = f"cannot {'spill' if what == _SPILL else 'restore'} {size:,} bytes: {_words(failure)}"
        sock.send(bytes((_DONE,)) + object_id + error.encode()[:_ERROR_BYTES_MAX])


def _write(file: int, data: memoryview, place: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done : done + _PIECE_BYTES], place + done)


def _read(file: int, room: memoryview, place: int) -> None:
    done = 0
    while done < len(room):
        size = os.preadv(file, [room[done : done + _PIECE_BYTES]], place + done)
        if size == 0:
            raise OSError(0, f"the spill file ends after {done:,} bytes")
        done += size


# ---------------------------------------------------------------- the file


def open_unnamed(directory: str) -> int:
    """A new file without a name in `directory`.

    Raises:
        OSError: It cannot be made there.
    """
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # A file system without O_TMPFILE.
        path = os.path.join(directory, f".skate-spill-{os.getpid()}-{os.urandom(4).hex()}")
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return fd


def temporary_directory() -> str:
    """TMPDIR; else /tmp, unless that lies in memory, where spilling would gain nothing: then /var/tmp."""
    chosen = os.environ.get("TMPDIR", "")
    if chosen and os.access(chosen, os.W_OK):
        return chosen
    if _is_in_memory(_SHORT_LIVED) and os.access(_LONG_LIVED, os.W_OK):
        return _LONG_LIVED
    return _SHORT_LIVED


def _is_in_memory(directory: str) -> bool:
    try:
        with open("/proc/self/mounts") as file:
            return any(line.split()[1:3] == [directory, "tmpfs"] for line in file)
    except OSError:
        return False


def _aligned(size: int) -> int:
    return max(_ALIGN_BYTES, -(-size // _ALIGN_BYTES) * _ALIGN_BYTES)


def _words(error: OSError) -> str:
    if error.errno == errno.EFAULT:  # What the kernel says when it finds no page for the arena's range.
        return "the machine has no memory for it"
    if error.errno == errno.ENOSPC:
        return "no space left on the spill directory's disk; set skate.init(_spill_dir=…) to a larger one, or drop ObjectRefs no longer needed"
    return error.strerror or str(error)
