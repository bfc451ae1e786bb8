"""stdout and stderr of a worker: whole lines, labelled with the task or actor that printed them.

The node reads both descriptors and sends lines on to the driver. Before the first output under a new label a mark goes in-band
on the same descriptor (`spec/boot.LOG_MARK`). Each thread's unfinished line is kept apart until it ends, so that lines of
threads do not mix. User code may close sys.stdout: `close` only flushes. Output of C code and of child processes goes to the
descriptor directly, under the last label.
"""

from __future__ import annotations

import io
import os
import sys
from _thread import get_ident

from skate.engine.spec.boot import LOG_MARK

_MARK = LOG_MARK.decode("ascii")
_UNFINISHED_CHARS_MAX = 8192


class Output:
    """Both streams of this process. `label` is set, at no cost, before each call."""

    def __init__(self) -> None:
        self.label = ""
        self._spares: dict[int, int] = {}
        self._streams: list[LabelledStream] = []

    def install(self) -> None:
        """Replace sys.stdout and sys.stderr."""
        for fd in (1, 2):
            try:
                self._spares[fd] = os.dup(fd)  # Not inherited by programs that user code starts.
            except OSError:
                pass
        sys.stdout = sys.__stdout__ = LabelledStream(self, 1)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = LabelledStream(self, 2)  # type: ignore[misc]
        self._streams = [sys.stdout, sys.stderr]

    def flush_idle(self) -> None:
        """Before the worker waits: nothing that was printed stays behind."""
        for stream in self._streams:
            stream.flush_all()

    def repair(self) -> None:
        """User code may have closed descriptors 1 or 2: give them back, before another file takes the number and gets its prints."""
        for fd, spare in self._spares.items():
            try:
                os.fstat(fd)
            except OSError:
                os.dup2(spare, fd)


class LabelledStream(io.TextIOWrapper):
    """A text stream on descriptor 1 or 2."""

    def __init__(self, output: Output, fd: int) -> None:
        raw = open(fd, "wb", closefd=False)  # noqa: SIM115
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._output = output
        self._written_label = ""
        self._at_line_start = True
        self._unfinished: dict[int, tuple[str, str]] = {}  # thread → (label, text)

    def write(self, text: str) -> int:
        ident = get_ident()
        label = self._output.label
        if type(text) is not str:
            return super().write(text)  # Raises the TypeError that Python's own would.
        length = len(text)
        if self._unfinished and (before := self._unfinished.pop(ident, None)) is not None:
            if before[0] == label:
                text = before[1] + text
            else:
                self._emit(before[0], before[1])
        if not text.endswith("\n") and "\r" not in text and len(text) < _UNFINISHED_CHARS_MAX:
            end = text.rfind("\n") + 1
            if end < len(text):
                self._unfinished[ident] = (label, text[end:])
                text = text[:end]
        if text:
            self._emit(label, text)
        return length

    def flush(self) -> None:
        unfinished = self._unfinished.pop(get_ident(), None) if self._unfinished else None
        if unfinished is not None:
            self._emit(*unfinished)
        super().flush()

    def flush_all(self) -> None:
        """Never raises: there may be nothing left to write to."""
        try:
            while self._unfinished:
                _ident, (label, text) = self._unfinished.popitem()
                self._emit(label, text)
            super().flush()
        except (OSError, ValueError, RuntimeError):
            pass

    def close(self) -> None:
        self.flush_all()

    def _emit(self, label: str, text: str) -> None:
        if label != self._written_label:
            self._written_label = label
            label = label.replace("\n", " ")
            line_end = "" if self._at_line_start else "\n"
            text = f"{line_end}{_MARK}{label}\n{text}"
        self._at_line_start = text.endswith("\n")
        super().write(text)
