"""How errors are shown: parsing of remote tracebacks, user chains, long stacks, messages of several lines."""

from __future__ import annotations

from skate import exceptions as x
from skate.engine.client.error_display import remote_lines, render

WHERE = "task f(1) · worker 2 · pid 3 · 1 ms · attempt 1"


def text(frames: int, message: str, where: str = WHERE) -> str:
    stack = "".join(f'  File "app.py", line {number}, in f{number}\n    g()\n    ^^^\n' for number in range(frames))
    return f"{x.REMOTE_HEADER}{where}\n{stack}{message}\n"


def test_marks_go_and_long_stacks_are_cut_in_the_middle() -> None:
    lines, message = remote_lines(text(10, "ValueError: bad"))
    assert lines[0] == f"  ── {WHERE} ──"
    assert not any("^" in line for line in lines)
    assert [line for line in lines if "File" in line] == [
        '  File "app.py", line 0, in f0',
        '  File "app.py", line 8, in f8',
        '  File "app.py", line 9, in f9',
    ]
    assert "  … 7 frames (SKATE_TRACEBACK=full shows them)" in lines
    assert message == ["ValueError: bad"]


def test_a_chain_of_the_users_own_keeps_both_and_the_header_once() -> None:
    whole = (
        text(1, "KeyError: 1")
        + "\nThe above exception was the direct cause of the following exception:\n\n"
        + text(1, "ValueError: bad\nsecond")
    )
    lines, message = remote_lines(whole)
    assert sum(line.startswith("  ──") for line in lines) == 1
    assert "  caused by KeyError: 1" in lines
    assert message == ["ValueError: bad", "second"]


def test_a_task_that_waited_for_another_comes_first_and_the_error_is_the_inner_one() -> None:
    outer = text(1, "skate.exceptions.RayTaskError(KeyError): 1", "task outer · worker 1 · pid 2 · 5 ms · attempt 1")
    lines, message = remote_lines(
        text(1, "KeyError: 1") + "\nThe above exception was the direct cause of the following exception:\n\n" + outer
    )
    assert [line for line in lines if "──" in line] == [
        "  ── task outer · worker 1 · pid 2 · 5 ms · attempt 1 ──",
        f"  ── {WHERE} ──",
    ]
    assert message == ["KeyError: 1"]


def test_what_is_not_ours_is_left_to_python() -> None:
    assert render(ValueError("x"), None) is None
    assert render(KeyboardInterrupt(), None) is None
    both = x.WorkerCrashedError("gone")
    both.__context__ = ValueError("first")
    assert render(both, None) is None
    assert render(x.WorkerCrashedError("gone"), None) == [
        "Traceback (most recent call last):",
        "skate.exceptions.WorkerCrashedError: gone",
    ]
