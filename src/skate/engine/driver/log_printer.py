"""What workers print, on the driver's own stdout and stderr: `(square pid=123) line`.

    LogLines ─► show ─► lines seen a moment ago from another worker are counted ─► one write of whole lines
                                     └─ WINDOW_S later: `(square pid=123) line [repeated 99x across workers]`

Only the very same text counts as a repetition: `step 1` and `step 2` are different news. One worker that prints a line again and again is shown
each time. Lines of progress bars that redraw themselves (with carriage returns) are shown in their last state; bars of `skate.experimental.tqdm_ray`
are drawn by that module.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

WINDOW_S = 2.0
_SEEN_MAX = 4096  # Different lines remembered within the window.
_STDERR = 2
_BAR_MAGIC = "\x01skate-tqdm:"  # MAGIC of skate.experimental.tqdm_ray, which stands above the engine.
_COLOURS = ("\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[34m", "\x1b[32m")  # By process, so that neighbours differ.
_RESET = "\x1b[0m"


class Seen:
    """A line that was shown, and who has printed it since."""

    __slots__ = ("count", "label", "last_pid", "pid", "pids", "since_s", "stream")

    def __init__(self, pid: int, label: str, stream: int, now_s: float) -> None:
        self.pid = pid  # Who printed it first.
        self.label = label
        self.stream = stream
        self.since_s = now_s
        self.count = 0  # Repetitions that were not shown.
        self.last_pid = pid


class LogPrinter:
    """Thread-safe: lines come from whichever thread reads the node's socket."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic, *, deduplicates: bool = True) -> None:
        self._now_s = now_s
        self._deduplicates = deduplicates
        self._lock = threading.Lock()
        self._seen: dict[str, Seen] = {}
        self._timer: threading.Timer | None = None

    def show(self, message: Any) -> None:
        """Print a `LogLines` message."""
        with self._lock:
            now_s = self._now_s()
            texts = self._expire(now_s)
            for line in message.lines:
                text = self._take(line, message.pid, message.label, message.stream, now_s)
                if text is not None:
                    texts.append((message.stream, self._prefixed(text, message.pid, message.label, message.stream)))
            self._write(texts)
            self._set_timer()

    def flush(self) -> None:
        """Tell the repetitions that have not been told yet."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._write(self._expire(float("inf")))

    # ------------------------------------------------------------ what is shown

    def _take(self, line: str, pid: int, label: str, stream: int, now_s: float) -> str | None:
        """The text to show now, or None."""
        if _BAR_MAGIC in line:
            rest = _draw_bar(line)
            if rest is None:
                return None
            line = rest
        if "\r" in line:
            line = line.rstrip("\r").rpartition("\r")[2]
        if not self._deduplicates or not line.strip():
            return line
        seen = self._seen.get(line)
        if seen is not None and seen.pid != pid:
            seen.count += 1
            seen.last_pid = pid
            return None
        if seen is None and len(self._seen) < _SEEN_MAX:
            self._seen[line] = Seen(pid, label, stream, now_s)
        return line

    def _expire(self, now_s: float) -> list[tuple[int, str]]:
        """Forget what was seen before the window; the repetitions, to be shown."""
        texts = []
        for line, seen in list(self._seen.items()):
            if now_s - seen.since_s < WINDOW_S:
                break  # In the order in which they were seen.
            del self._seen[line]
            if seen.count == 1:
                texts.append((seen.stream, self._prefixed(line, seen.last_pid, seen.label, seen.stream)))
            elif seen.count:
                told = f"{line} [repeated {seen.count:,}x across workers]"
                texts.append((seen.stream, self._prefixed(told, seen.last_pid, seen.label, seen.stream)))
        return texts

    def _set_timer(self) -> None:
        if self._timer is None and any(seen.count for seen in self._seen.values()):
            self._timer = threading.Timer(WINDOW_S, self._on_timer)
            self._timer.daemon = True
            self._timer.start()

    def _on_timer(self) -> None:
        with self._lock:
            self._timer = None
            self._write(self._expire(self._now_s()))
            self._set_timer()

    # ------------------------------------------------------------ how

    def _prefixed(self, line: str, pid: int, label: str, stream: int) -> str:
        prefix = f"({label} pid={pid})" if label else f"(pid={pid})"
        if _is_coloured(_stream(stream)):
            prefix = f"{_COLOURS[pid % len(_COLOURS)]}{prefix}{_RESET}"
        return f"{prefix} {line}\n"

    def _write(self, texts: list[tuple[int, str]]) -> None:
        """One write for each run of lines of one stream, so that nobody gets between them."""
        start = 0
        while start < len(texts):
            stream = texts[start][0]
            end = start
            while end < len(texts) and texts[end][0] == stream:
                end += 1
            _write_out(_stream(stream), "".join(text for _, text in texts[start:end]))
            start = end


def _stream(number: int) -> Any:
    return sys.stderr if number == _STDERR else sys.stdout  # Asked each time: notebooks and tests replace them.


def _is_coloured(stream: Any) -> bool:
    try:
        return bool(stream.isatty()) and "NO_COLOR" not in os.environ
    except (AttributeError, ValueError):
        return False


def _write_out(stream: Any, text: str) -> None:
    bars = sys.modules.get("skate.experimental.tqdm_ray")
    try:
        if bars is not None:
            with bars.instance().hidden():
                stream.write(text)
                stream.flush()
        else:
            stream.write(text)
            stream.flush()
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    except (OSError, ValueError, AttributeError):  # Closed, or None: nobody wants to read it.
        pass


def _draw_bar(line: str) -> str | None:
    """Bars belong to a module above the engine: found by name, when a worker has used it."""
    import importlib

    text: str | None = importlib.import_module("skate.experimental.tqdm_ray").take_state(line)
    return text
