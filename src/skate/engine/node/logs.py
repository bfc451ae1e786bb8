"""What workers print: lines are cut, labelled, kept for `skate logs`, and handed on to whoever shows them.

    worker's fd 1 or 2 ──pipe──► LogStream.feed ──blocks of whole lines──► WorkerLog (the last ones)
                                                                     └──► on_lines (to the job's driver)

A worker that prints faster than its driver reads is held up by its own pipe: `WorkerLog.pause`. Nothing is dropped on the way,
and neither a chatty worker nor an endless line takes more than a bounded number of bytes here. Lines stay bytes until somebody
reads them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from skate.config import LOG_BYTES_KEPT_PER_WORKER, LOG_LINES_KEPT_PER_WORKER
from skate.engine.node.loop import OUTPUT, Loop
from skate.engine.spec.boot import LOG_MARK

STDOUT, STDERR = 1, 2

_CHUNK_BYTES = 64 * 1024  # Per stream and round.
_LINE_BYTES_MAX = 64 * 1024  # A longer line is cut, as if it had ended.
_LAST_WORDS_BYTES_MAX = 4 * 1024 * 1024  # Read of a dead worker's pipe; a pipe holds 64 kB, unless somebody still writes into it.

OnLines = Callable[[str, int, bytes], None]  # label, stream, lines joined by b"\n"


class LogStream:
    """Cuts one stream of bytes into labelled blocks of whole lines. No I/O."""

    def __init__(self) -> None:
        self.label = ""
        self._partial = b""

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        if self._partial:
            data = self._partial + data
        end = data.rfind(b"\n")
        if end < 0:
            if len(data) <= _LINE_BYTES_MAX:
                self._partial = data
                return []
            self._partial = b""
            return self._cut(data)
        self._partial = data[end + 1 :]
        return self._cut(data[:end])

    def finish(self) -> list[tuple[str, bytes]]:
        """The stream ended: its last line may lack a newline."""
        partial, self._partial = self._partial, b""
        return self._cut(partial) if partial else []

    def _cut(self, block: bytes) -> list[tuple[str, bytes]]:
        if LOG_MARK not in block:
            return [(self.label, block)]
        blocks: list[tuple[str, bytes]] = []
        lines: list[bytes] = []
        for line in block.split(b"\n"):
            # A mark is looked for anywhere: what the user left on the line before it (print(end="")) is a line of its own.
            before, mark, label = line.partition(LOG_MARK)
            if before or not mark:
                lines.append(before)
            if mark:
                if lines:
                    blocks.append((self.label, b"\n".join(lines)))
                    lines = []
                self.label = label.decode("utf-8", "replace")
        if lines:
            blocks.append((self.label, b"\n".join(lines)))
        return blocks


class KeptLines:
    """The last lines of one worker, both streams in the order they were read."""

    def __init__(self) -> None:
        self._blocks: deque[tuple[int, str, bytes, int]] = deque()
        self._lines = 0
        self._bytes = 0

    def keep(self, stream: int, label: str, block: bytes) -> None:
        if len(block) > LOG_BYTES_KEPT_PER_WORKER:
            block = block[-LOG_BYTES_KEPT_PER_WORKER:]
        lines = block.count(b"\n") + 1
        self._blocks.append((stream, label, block, lines))
        self._lines += lines
        self._bytes += len(block)
        while len(self._blocks) > 1:
            _, _, oldest, oldest_lines = self._blocks[0]
            if self._bytes <= LOG_BYTES_KEPT_PER_WORKER and self._lines - oldest_lines < LOG_LINES_KEPT_PER_WORKER:
                break
            self._blocks.popleft()
            self._lines -= oldest_lines
            self._bytes -= len(oldest)

    def last(self, lines_max: int) -> list[tuple[int, str, str]]:
        """(stream, label, line), oldest first."""
        lines_max = min(lines_max, LOG_LINES_KEPT_PER_WORKER)
        kept: deque[tuple[int, str, str]] = deque(maxlen=max(0, lines_max))
        for stream, label, block, _ in self._blocks:
            kept.extend((stream, label, line) for line in block.decode("utf-8", "replace").split("\n"))
        return list(kept)

    def tail(self, stream: int, lines_max: int) -> list[str]:
        return [line for s, _, line in self.last(LOG_LINES_KEPT_PER_WORKER) if s == stream][-lines_max:]


class WorkerLog:
    """The reading ends of one worker's stdout and stderr."""

    def __init__(self, loop: Loop, on_lines: OnLines) -> None:
        self._loop = loop
        self._on_lines = on_lines
        self._streams: dict[int, tuple[int, LogStream]] = {}  # by descriptor
        self.kept = KeptLines()
        self.is_paused = False

    def open_pipe(self, stream: int) -> int:
        """A pipe for this stream; the caller gives the returned writing end to the worker and closes its own."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read_fd, False)
        self._streams[read_fd] = (stream, LogStream())
        self._watch(read_fd)
        return write_fd

    def _watch(self, fd: int) -> None:
        def on_readable(_events: int) -> None:
            self._read(fd)

        self._loop.add(fd, on_readable, OUTPUT)

    def pause(self) -> None:
        """Read no more for now: the worker's pipe fills, and its prints wait."""
        if not self.is_paused:
            self.is_paused = True
            for fd in self._streams:
                self._loop.remove(fd)

    def resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            for fd in self._streams:
                self._watch(fd)

    def _read(self, fd: int) -> int:
        """Hand on one chunk. The number of bytes read; 0: nothing there, or the end."""
        if fd not in self._streams:
            return 0
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return 0
        if data:
            stream, cutter = self._streams[fd]
            self._hand_on(stream, cutter.feed(data))
        else:
            self._close(fd)
        return len(data)

    def _hand_on(self, stream: int, blocks: list[tuple[str, bytes]]) -> None:
        for label, block in blocks:
            self.kept.keep(stream, label, block)
            self._on_lines(label, stream, block)

    def read_available(self) -> None:
        """Hand on what has been printed so far, out of turn."""
        for fd in list(self._streams):
            left = _LAST_WORDS_BYTES_MAX
            while left > 0 and (size := self._read(fd)):
                left -= size

    def finish(self) -> None:
        """The worker is dead: read what its pipes still hold, and close them."""
        self.read_available()
        for fd in list(self._streams):
            self._close(fd)

    def _close(self, fd: int) -> None:
        entry = self._streams.pop(fd, None)
        if entry is not None:
            self._hand_on(entry[0], entry[1].finish())
            self._loop.remove(fd)
            os.close(fd)
