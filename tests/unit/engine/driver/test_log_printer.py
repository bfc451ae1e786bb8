"""What the user sees of what workers print."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from skate.engine.driver import log_printer
from skate.engine.driver.log_printer import LogPrinter
from skate.engine.spec import messages as m


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    class NoTimer:
        daemon = True

        def __init__(self, interval: float, function: Callable[[], None]) -> None: ...
        def start(self) -> None: ...
        def cancel(self) -> None: ...

    monkeypatch.setattr("threading.Timer", NoTimer)
    return Clock()


def lines(pid: int, *texts: str, label: str = "square", stream: int = 1) -> m.LogLines:
    return m.LogLines(pid, pid, label, stream, list(texts))


def test_lines_say_who_printed_them(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter(clock)
    printer.show(lines(1, "one", "two"))
    printer.show(lines(2, "to stderr", label="", stream=2))
    out, err = capsys.readouterr()
    assert out == "(square pid=1) one\n(square pid=1) two\n"
    assert err == "(pid=2) to stderr\n"


def test_the_same_line_of_many_workers_is_shown_once_and_counted(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter(clock)
    for pid in range(100):
        printer.show(lines(pid, "loading"))
    assert capsys.readouterr().out == "(square pid=0) loading\n"
    clock.now_s += log_printer.WINDOW_S
    printer.show(lines(7, "next"))
    assert capsys.readouterr().out == "(square pid=99) loading [repeated 99x across workers]\n(square pid=7) next\n"
    printer.show(lines(3, "loading"))
    assert capsys.readouterr().out == "(square pid=3) loading\n", "after the window it is news again"


def test_a_single_repetition_is_shown_as_it_is(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter(clock)
    printer.show(lines(1, "hello"))
    printer.show(lines(2, "hello"))
    printer.flush()
    assert capsys.readouterr().out == "(square pid=1) hello\n(square pid=2) hello\n"


def test_lines_that_differ_in_numbers_only_are_all_shown(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter(clock)
    for pid in range(3):
        printer.show(lines(pid, f"step {pid}"))
    assert capsys.readouterr().out.count("step") == 3


def test_one_worker_may_repeat_itself(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter(clock)
    printer.show(lines(1, "again", "again"))
    printer.show(lines(1, "again"))
    assert capsys.readouterr().out == "(square pid=1) again\n" * 3


def test_what_was_not_told_is_told_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter(clock)
    for pid in range(5):
        printer.show(lines(pid, "bye"))
    printer.flush()
    assert "bye [repeated 4x across workers]" in capsys.readouterr().out


def test_bars_that_redraw_themselves_are_shown_in_their_last_state(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    LogPrinter(clock).show(lines(1, "\r 0%|   |\r50%|## |\r100%|###|\r"))
    assert capsys.readouterr().out == "(square pid=1) 100%|###|\n"


def test_lines_go_out_whole(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Stream())
    LogPrinter(clock).show(lines(1, "a", "b", "c"))
    assert written == ["(square pid=1) a\n(square pid=1) b\n(square pid=1) c\n"]


def test_colour_is_for_terminals(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.delenv("NO_COLOR", raising=False)
    LogPrinter(clock).show(lines(1, "x"))
    assert terminal.getvalue().startswith("\x1b[")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", plain := Terminal())
    LogPrinter(clock).show(lines(1, "x"))
    assert plain.getvalue() == "(square pid=1) x\n"


@pytest.mark.parametrize("stream", [None, "closed"])
def test_output_that_nobody_can_see_is_no_error(clock: Clock, monkeypatch: pytest.MonkeyPatch, stream: str | None) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", None if stream is None else closed)
    LogPrinter(clock).show(lines(1, "x"))


def test_text_that_the_stream_cannot_write_is_escaped(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    LogPrinter(clock).show(lines(1, "ünï"))
    sys.stdout.flush()
    assert raw.getvalue() == b"(square pid=1) \\xfcn\\xef\n"
