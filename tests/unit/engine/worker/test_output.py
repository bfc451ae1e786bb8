"""Labelled output: marks, whole lines, survivors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from skate.engine.spec.boot import LOG_MARK
from skate.engine.worker.output import LabelledStream, Output


@pytest.fixture
def stream() -> Iterator[tuple[Output, LabelledStream, Any]]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    output = Output()
    made = LabelledStream(output, write)

    def written() -> bytes:
        try:
            return os.read(read, 1 << 16)
        except BlockingIOError:
            return b""

    yield output, made, written
    os.close(read)
    os.close(write)


def mark(label: str) -> bytes:
    return LOG_MARK + label.encode() + b"\n"


def test_a_mark_comes_before_the_first_line_of_each_label(stream: Any) -> None:
    output, out, written = stream
    print("plain", file=out)
    output.label = "f"
    print("a", file=out)
    print("b", file=out)
    output.label = "g"
    print("c", file=out)
    assert written() == b"plain\n" + mark("f") + b"a\nb\n" + mark("g") + b"c\n"


def test_lines_leave_whole(stream: Any) -> None:
    _output, out, written = stream
    out.write("half")
    assert written() == b""
    out.write(" and half\nnext")
    assert written() == b"half and half\n"
    out.flush()
    assert written() == b"next"


def test_progress_bars_are_not_held_back(stream: Any) -> None:
    _output, out, written = stream
    out.write("\r10%")
    assert written() == b"\r10%"


def test_an_unfinished_line_keeps_its_label(stream: Any) -> None:
    output, out, written = stream
    output.label = "f"
    out.write("no end")
    output.label = "g"
    out.write("line\n")
    assert written() == mark("f") + b"no end\n" + mark("g") + b"line\n"


def test_lines_of_threads_do_not_mix(stream: Any) -> None:
    import threading

    _output, out, written = stream
    out.write("main ")
    thread = threading.Thread(target=lambda: print("thread", file=out))
    thread.start()
    thread.join()
    out.write("goes on\n")
    assert written() == b"thread\nmain goes on\n"


def test_close_only_flushes(stream: Any) -> None:
    _output, out, written = stream
    out.write("last")
    out.close()
    assert written() == b"last"
    print("still", file=out)
    assert written() == b"still\n"


def test_only_text_is_accepted(stream: Any) -> None:
    _output, out, _written = stream
    with pytest.raises(TypeError):
        out.write(b"bytes")
