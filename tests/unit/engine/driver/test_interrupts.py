"""Ctrl-C strikes where it does no harm."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import skate.engine.client.client as engine_module
from skate.engine.driver import interrupts
from skate.engine.driver.interrupts import Interrupts, is_in_engine


class FakePump:
    interruptible = False


@pytest.fixture
def pump() -> Iterator[FakePump]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    made = FakePump()
    yield made
    signal.signal(signal.SIGINT, before)


ENGINE_FILE = str(engine_module.__file__)
STANDARD_FILE = str(threading.__file__)


def test_user_code_is_interrupted(pump: FakePump) -> None:
    guard = Interrupts(pump)
    assert guard.install()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
    guard.remove()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_engine_is_left_alone_until_it_is_through(pump: FakePump) -> None:
    guard = Interrupts(pump)
    guard.install()
    steps: list[int] = []
    space: dict[str, Any] = {"os": os, "signal": signal, "steps": steps}
    source = """
def bookkeeping():
    os.kill(os.getpid(), signal.SIGINT)
    for step in range(1000):
        steps.append(step)
"""
    exec(compile(source, ENGINE_FILE, "exec"), space)

    with pytest.raises(KeyboardInterrupt):
        space["bookkeeping"]()
        threading.Event().wait(10)  # Back in user code: now it comes.

    assert len(steps) == 1000
    guard.remove()


def test_a_sleeping_engine_is_woken(pump: FakePump) -> None:
    guard = Interrupts(pump)
    guard.install()
    pump.interruptible = True
    frame = _chain(ENGINE_FILE)
    with pytest.raises(KeyboardInterrupt):
        guard._on_signal(signal.SIGINT, frame)
    assert not pump.interruptible
    guard.remove()


def test_frames_of_the_engine_and_what_it_calls_are_the_engines() -> None:
    assert is_in_engine(_chain(ENGINE_FILE))
    assert not is_in_engine(_chain("/home/user/app.py"))
    assert not is_in_engine(None)


def test_the_standard_library_works_for_whoever_has_called_it() -> None:
    assert is_in_engine(_chain(ENGINE_FILE, STANDARD_FILE))
    assert not is_in_engine(_chain("/home/user/app.py", STANDARD_FILE))


def test_user_code_that_the_engine_calls_may_be_interrupted() -> None:
    assert not is_in_engine(_chain(ENGINE_FILE, "/home/user/app.py"))


def test_finalizers_are_not_interrupted_since_python_would_swallow_it() -> None:
    assert is_in_engine(_chain("/home/user/app.py", name="__del__"))


def _chain(*filenames: str, name: str = "run") -> FrameType:
    """The innermost of frames that seem to belong to these files."""
    space: dict[str, Any] = {"sys": sys}
    source = f"def {name}():\n    return sys._getframe()\n"
    exec(compile(source, filenames[-1], "exec"), space)
    call: Callable[[], Any] = space[name]
    for filename in reversed(filenames[:-1]):
        outer: dict[str, Any] = {"call": call}
        exec(compile("def run():\n    return call()\n", filename, "exec"), outer)
        call = outer["run"]
    frame: FrameType = call()
    return frame


def test_a_programs_own_handler_stays(pump: FakePump) -> None:
    own = lambda number, frame: None  # noqa: E731
    signal.signal(signal.SIGINT, own)
    guard = Interrupts(pump)
    assert not guard.install()
    guard.remove()
    assert signal.getsignal(signal.SIGINT) is own


def test_a_handler_that_the_program_sets_later_stays(pump: FakePump) -> None:
    guard = Interrupts(pump)
    guard.install()
    own = lambda number, frame: None  # noqa: E731
    signal.signal(signal.SIGINT, own)
    guard.remove()
    assert signal.getsignal(signal.SIGINT) is own


def test_only_the_main_thread_can_take_it_over(pump: FakePump) -> None:
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(Interrupts(pump).install()))
    thread.start()
    thread.join()
    assert results == [False]
    assert interrupts.RETRY_S < 0.01
