"""`skate.progress`, and the cards of notebooks."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

import skate
from skate.progressing import bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def session() -> Iterator[None]:
    skate.init(address="inline")
    yield
    skate.shutdown()


@skate.remote
def square(x: int) -> int:
    if x == 9:
        raise ValueError("nine")
    return x * x


def test_progress_draws_on_a_terminal_and_returns_values_in_order() -> None:
    terminal = Terminal()
    assert skate.progress([square.remote(x) for x in range(5)], "squares", file=terminal) == [0, 1, 4, 9, 16]
    assert "squares" in terminal.getvalue()
    assert "100% 5/5" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


def test_progress_is_silent_in_a_pipe_and_raises_what_a_task_raised() -> None:
    pipe = io.StringIO()
    assert skate.progress([square.remote(2)], file=pipe) == [4]
    assert pipe.getvalue() == ""
    with pytest.raises(ValueError, match="nine"):
        skate.progress([square.remote(9)], file=Terminal())


def test_a_bar_tells_share_count_rate_and_time_left() -> None:
    line = bar("x", 250, 1000, 5.0)
    assert line.startswith("x ██████  ")
    assert line.endswith(" 25% 250/1,000 50/s, 15 s left")


def test_cards_tell_state_and_escape_names() -> None:
    ref = square.remote(3)
    assert "ready" in ref._repr_html_()

    @skate.remote
    class Counter:
        pass

    actor = Counter.options(name="<script>alert(1)</script>").remote()
    html = actor._repr_html_()
    assert "ALIVE" in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    context = skate.init(address="inline", ignore_reinit_error=True)
    assert "CPU" in context._repr_html_()
