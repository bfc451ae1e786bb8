"""How an error that nobody caught is shown: the user's frames only, here and in the tasks, and what was raised, once, at the end.

    Traceback (most recent call last):
      File "app.py", line 12, in <module>
        print(skate.get(train.remote(prep.remote("b"))))
      ── task prep("b") · worker 1 · pid 4211 · 3 ms · attempt 1 ──
      File "app.py", line 8, in prep
        return load(path)
    KeyError: 'b'        train() was never run: its argument failed   ·   skate why prep-7

`SKATE_TRACEBACK=full` shows all that Python would. Only what is printed changes: the exceptions, and the text of their tracebacks, stay as they are.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

from skate import exceptions as x
from skate.engine.client.errors import is_engine_frame

FIRST_FRAMES, LAST_FRAMES = 1, 2  # Shown of a long stack; less where several tasks are shown.
_LINE_WIDTH = 130
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"


class Section(NamedTuple):
    """One traceback of a remote text."""

    where: str  # "task f · worker 1 · …"
    frames: list[list[str]]  # Each of one or two lines.
    message: list[str]


def is_full() -> bool:
    return os.environ.get("SKATE_TRACEBACK", "").lower() == "full"


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None, otherwise: Callable[..., Any]) -> None:
    """The hook: errors of skate and Ctrl-C in our form, everything else as before."""
    try:
        lines = None if is_full() else render(error, trace)
    except Exception:  # Never at the cost of the error itself.
        lines = None
    if lines is None or sys.stderr is None:
        otherwise(kind, error, trace)
        return
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def render(error: BaseException, trace: TracebackType | None) -> list[str] | None:
    """The lines to show; None for what is not ours to show."""
    ours = isinstance(error, x.RayError)
    if not ours and not isinstance(error, KeyboardInterrupt):
        return None
    if error.__context__ is not None and not error.__suppress_context__:
        return None  # Raised while another one was handled: both count.
    here = traceback.extract_tb(trace)
    frames = [_frame(frame) for frame in here if not is_engine_frame(frame.filename)]
    if isinstance(error, KeyboardInterrupt):
        if not here or not is_engine_frame(here[-1].filename) or not frames:
            return None  # The user's own code was interrupted.
        return ["Traceback (most recent call last):", *frames[-1], "KeyboardInterrupt"]
    lines = ["Traceback (most recent call last):"]
    lines += [line for frame in _shortened(frames, FIRST_FRAMES, LAST_FRAMES - 1) for line in frame]
    told = error if isinstance(error, x.RayTaskError) else error.__cause__
    message: list[str] = []
    if isinstance(told, x.RayTaskError):
        remote, message = remote_lines(told.traceback_str)
        lines += remote
    elif told is not None and not isinstance(told, x.RemoteTraceback):
        return None
    if told is not error or not message:
        message = _message(error)
    return lines + _ending(message, _notes(error))


def remote_lines(text: str) -> tuple[list[str], list[str]]:
    """What a remote traceback says, from the outermost task to the one that failed: (its lines, what was raised)."""
    sections = sections_of(text)
    if not sections:
        return [], []
    sections.reverse()
    lines: list[str] = []
    shown_where = ""
    message = sections[0].message
    is_passed_on = _is_passed_on(message)
    for position, section in enumerate(sections):
        is_last = position == len(sections) - 1
        if section.where != shown_where:
            lines.append(f"  ── {section.where} ──")
            shown_where = section.where
            if is_passed_on:  # An error of a task that another one waited for: what was raised there counts.
                message = section.message
                is_passed_on = _is_passed_on(message)
        elif section.message:
            lines.append(f"  caused by {section.message[0]}")
        frames = _shortened(section.frames, FIRST_FRAMES, LAST_FRAMES if len(sections) == 1 else 1 if is_last else 0)
        if len(sections) > 1 and is_last and frames is not section.frames:
            frames[0] = frames[0][:1]  # So that a chain of two fits into twelve lines.
        for frame in frames:
            lines += frame
    return lines, message


def sections_of(text: str) -> list[Section]:
    """The tracebacks that a remote text is made of, in the order of the text: the innermost first."""
    parts: list[list[str]] = [[]]
    for line in text.rstrip().split("\n"):
        if line in (_CAUSE, _CONTEXT):
            parts.append([])
        else:
            parts[-1].append(line)
    return [_section(part) for part in parts if any(part)]


def _section(lines: list[str]) -> Section:
    where = ""
    frames: list[list[str]] = []
    message: list[str] = []
    for line in lines:
        if message:
            message.append(line)
        elif line.startswith(x.REMOTE_HEADER):
            where = line.removeprefix(x.REMOTE_HEADER)
        elif line.startswith('  File "'):
            frames.append([line])
        elif line.startswith("  ") and frames:
            if line.strip().strip("^~ ") and len(frames[-1]) < 2:  # Without the marks below a line.
                frames[-1].append(line)
        elif line.strip():
            message.append(line)
    while message and not message[-1].strip():
        message.pop()
    return Section(where, frames, message)


def _shortened(frames: list[list[str]], first: int, last: int) -> list[list[str]]:
    left_out = len(frames) - first - last
    if left_out <= 1:
        return frames
    note = [f"  … {left_out} frames (SKATE_TRACEBACK=full shows them)"]
    return [*frames[:first], note, *(frames[-last:] if last else [])]


def _frame(frame: traceback.FrameSummary) -> list[str]:
    line = f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    return [line, f"    {frame.line}"] if frame.line else [line]


def _is_passed_on(message: list[str]) -> bool:
    return bool(message) and message[0].startswith("skate.exceptions.RayTaskError(")


def _message(error: BaseException) -> list[str]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    text = str(error)
    return (f"{name}: {text}" if text else name).split("\n")


def _notes(error: BaseException) -> list[str]:
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    if isinstance(error, x.RayTaskError) and len(error.task_id) == 16 and error.function_name:
        owner, number = int.from_bytes(error.task_id[4:8], "big"), int.from_bytes(error.task_id[12:16], "big")
        notes.append(
            f"skate why {error.function_name}-{number}" if owner == 1 else f"skate why {error.function_name}-{owner}.{number}"
        )
    return notes


def _ending(message: list[str], notes: list[str]) -> list[str]:
    told = "   ·   ".join(notes)
    if not told:
        return message
    last = f"{message[-1]}        {told}"
    if len(message) == 1 and len(last) <= _LINE_WIDTH:
        return [last]
    return [*message, *notes]
