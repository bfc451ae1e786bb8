"""Progress bars from tasks and actors, drawn by the driver: `from skate.experimental.tqdm_ray import tqdm`.

A bar in a worker prints its state as one line, `MAGIC` and JSON, at most every `PRINT_S`. The driver's log printer hands such
lines to `take_state` instead of printing them; all bars are drawn there, one under the other, below the text. So bars of
several workers never tear each other. A bar in the driver is drawn directly. Plain `tqdm` in a worker is drawn in the same way: `take_over`.

    worker: tqdm.update() ──► "MAGIC{…}" on stdout ──► node ──► driver's log printer ──► take_state() ──► Bars
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

MAGIC = "\x01skate-tqdm:"
PRINT_S = 0.1
DRAW_S = 0.05

State = dict[str, Any]  # id, desc, total, x, pid, pos, closed, start_s; leaves: False when the finished bar goes


class tqdm:  # noqa: N801  # The name is tqdm's.
    """A progress bar, with the part of tqdm's interface that makes sense at a distance.

    Args:
        iterable: What to iterate over; None for a bar that is moved by `update`.
        desc: In front of the bar.
        total: How many there will be; by default `len(iterable)`.
        position: The order among the bars of one worker.
        unit: What is counted.
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        position: int | None = None,
        unit: str = "it",
        **_ignored: Any,
    ) -> None:
        if total is None and iterable is not None:
            try:
                total = len(iterable)  # type: ignore[arg-type]
            except TypeError:
                total = None
        self._iterable = iterable
        self._state: State = {
            "id": f"{os.getpid()}-{id(self)}-{time.monotonic_ns()}",
            "desc": desc or "",
            "total": total,
            "x": 0,
            "pid": os.getpid(),
            "pos": position or 0,
            "unit": unit,
            "closed": False,
            "start_s": time.time(),
        }
        self._printed_s = 0.0
        self._send()

    @property
    def n(self) -> int:
        return int(self._state["x"])

    @property
    def total(self) -> int | None:
        return self._state["total"]  # type: ignore[no-any-return]

    def update(self, n: int = 1) -> None:
        self._state["x"] += n
        if time.monotonic() - self._printed_s >= PRINT_S or self._state["x"] == self._state["total"]:
            self._send()

    def set_description(self, desc: str | None = None, refresh: bool = True) -> None:
        self._state["desc"] = desc or ""
        if refresh:
            self._send()

    def set_postfix(self, values: dict[str, Any] | None = None, refresh: bool = True, **more: Any) -> None:
        self._state["postfix"] = ", ".join(f"{key}={value}" for key, value in {**(values or {}), **more}.items())
        if refresh:
            self._send()

    def refresh(self) -> None:
        self._send()

    def close(self) -> None:
        if not self._state["closed"]:
            self._state["closed"] = True
            self._send()

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("this bar has no iterable: move it with update()")
        try:
            for item in self._iterable:
                yield item
                self.update()
        finally:
            self.close()

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._state["total"] or 0

    def _send(self) -> None:
        self._printed_s = time.monotonic()
        if _is_worker():
            # One write, so that lines of several threads stay whole.
            sys.stdout.write(MAGIC + json.dumps(self._state, separators=(",", ":")) + "\n")
            sys.stdout.flush()
        else:
            instance().take(dict(self._state))


def trange(*args: int, **options: Any) -> tqdm:
    return tqdm(range(*args), **options)


def safe_print(*args: Any, **options: Any) -> None:
    """`print` in the driver, without tearing the bars."""
    bars = instance()
    with bars.hidden():
        print(*args, **options)  # noqa: T201


# ---------------------------------------------------------------- plain tqdm in a worker


def take_over(module: Any) -> None:
    """Make the bars of `tqdm.std` tell their state to the driver, as those of this module do. For workers: called when they import tqdm.

    Only where the bar is shown changes: `display` sends a state instead of text. Bars with a `file` of their own are drawn there, as ever.
    """
    cls: Any = module.tqdm
    display, close = cls.display, cls.close

    def is_ours(bar: Any) -> bool:
        target = getattr(bar.fp, "_wrapped", bar.fp)
        return target in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)

    def tell(bar: Any, *, closed: bool) -> None:
        fields = bar.format_dict
        if not hasattr(bar, "_skate_id"):
            bar._skate_id = f"{os.getpid()}-{id(bar)}-{time.monotonic_ns()}"
        state: State = {
            "id": bar._skate_id, "desc": (fields["prefix"] or "").removesuffix(": "), "total": fields["total"], "x": fields["n"],
            "pid": os.getpid(), "pos": abs(bar.pos), "unit": fields["unit"], "closed": closed, "leaves": bool(bar.leave or (bar.leave is None and bar.pos == 0)),
            "start_s": time.time() - fields["elapsed"], "postfix": fields["postfix"] or "",
        }  # fmt: skip
        sys.stdout.write(MAGIC + json.dumps(state, separators=(",", ":"), default=float) + "\n")
        sys.stdout.flush()

    def new_display(self: Any, msg: str | None = None, pos: int | None = None) -> Any:
        if not is_ours(self):
            return display(self, msg, pos)
        now_s = time.monotonic()
        if now_s - getattr(self, "_skate_told_s", 0.0) >= PRINT_S:
            self._skate_told_s = now_s
            tell(self, closed=False)
        return True

    def new_close(self: Any) -> None:
        if self.disable or not is_ours(self):
            close(self)
            return
        self.disable = True
        tell(self, closed=True)
        self._decr_instances(self)

    cls.display, cls.close = new_display, new_close


# ---------------------------------------------------------------- the driver's side


def take_state(line: str) -> str | None:
    """For the driver's log printer: take a bar's state out of a line of worker output.

    Returns:
        The rest of the line, to be printed; None when there is nothing left of it.
    """
    text, mark, data = line.partition(MAGIC)
    if not mark:
        return line
    try:
        state = json.loads(data)
    except ValueError:
        return line
    instance().take(state)
    return text or None


class Bars:
    """All bars on the terminal, at the bottom."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._lock = threading.RLock()
        self._states: dict[str, State] = {}
        self._drawn_lines = 0
        self._drawn_s = 0.0
        self._hidden = 0

    def take(self, state: State) -> None:
        """A bar's news."""
        with self._lock:
            if state["closed"]:
                self._states.pop(state["id"], None)
                self._finish(state)
            else:
                self._states[state["id"]] = state
                if time.monotonic() - self._drawn_s >= DRAW_S:
                    self._draw()

    def hidden(self) -> _Hidden:
        """While this context lasts the bars are off the screen and text may be printed."""
        return _Hidden(self)

    def hide(self) -> None:
        with self._lock:
            self._hidden += 1
            self._erase()

    def unhide(self) -> None:
        with self._lock:
            self._hidden -= 1
            self._draw()

    def _finish(self, state: State) -> None:
        """A finished bar stays as a line of text above the others."""
        self._erase()
        if state.get("leaves", True):
            self._stream.write(_bar(state, self._width()) + "\n")
        self._draw()
        self._stream.flush()

    def _draw(self) -> None:
        if not self._is_terminal or self._hidden:
            return
        self._erase()
        width = self._width()
        states = sorted(self._states.values(), key=lambda state: (state["pid"], state["pos"], state["id"]))
        for state in states:
            self._stream.write(_bar(state, width) + "\n")
        if states:
            _Above.install(self)
        self._drawn_lines = len(states)
        self._drawn_s = time.monotonic()
        self._stream.flush()

    def _erase(self) -> None:
        if self._drawn_lines:
            self._stream.write(f"\x1b[{self._drawn_lines}A\x1b[J")
            self._drawn_lines = 0

    def _width(self) -> int:
        import shutil

        return shutil.get_terminal_size().columns - 1


class _Above:
    """Stands in for the driver's sys.stdout while bars are drawn: what the program prints goes above them, and is not erased with them."""

    def __init__(self, stream: Any, bars: Bars) -> None:
        self._stream = stream
        self._bars = bars
        self._is_mid_line = False

    @classmethod
    def install(cls, bars: Bars) -> None:
        """Stays: a program may have taken sys.stdout in the meantime, and without bars it only hands on."""
        if not isinstance(sys.stdout, cls) and sys.stdout is not None and sys.stdout.isatty():
            sys.stdout = cls(sys.stdout, bars)

    def write(self, text: str) -> int:
        if text and not self._is_mid_line:
            self._bars.hide()
        written: int = self._stream.write(text)
        if text:
            self._is_mid_line = not text.endswith("\n")  # The bars wait for the end of the line.
            if not self._is_mid_line:
                self._stream.flush()
                self._bars.unhide()
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Hidden:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    def __enter__(self) -> None:
        self._bars.hide()

    def __exit__(self, *_exc: object) -> None:
        self._bars.unhide()


_bars: Bars | None = None


def instance() -> Bars:
    """The bars of this process."""
    global _bars
    if _bars is None:
        _bars = Bars(sys.stderr)
    return _bars


def _is_worker() -> bool:
    from skate.backends import current

    backend = current.peek()
    return backend is not None and backend.name != "inline" and backend.runtime_context().get("mode") == "worker"


def _bar(state: State, width: int) -> str:
    x, total = state["x"], state["total"]
    elapsed_s = max(time.time() - state["start_s"], 1e-9)
    rate = x / elapsed_s
    where = f"(pid={state['pid']}) " if state["pid"] != os.getpid() else ""
    head = where + (f"{state['desc']}: " if state["desc"] else "")
    unit = state.get("unit", "it")
    tail = f", {state['postfix']}" if state.get("postfix") else ""
    if not total:
        return f"{head}{x}{unit} [{_clock(elapsed_s)}, {rate:.2f}{unit}/s{tail}]"[:width]
    left = _clock((total - x) / rate) if rate > 0 else "?"
    end = f"| {x}/{total} [{_clock(elapsed_s)}<{left}, {rate:.2f}{unit}/s{tail}]"
    head += f"{100 * x // total:3.0f}%|"
    cells = max(width - len(head) - len(end), 5)
    eighths = min(int(8 * cells * x / total), 8 * cells)
    full, part = divmod(eighths, 8)
    blocks = "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return head + blocks.ljust(cells) + end


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"
