"""Python functions on the engine's workers, in real processes: results, errors, interrupts, forks, threads, the progress bar."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import skate
import skate.pandas as spd
from skate.pandas import ledger
from skate.pandas.udf import distribute

ROWS = 60_000
FACTOR = 3


def collatz(n: int) -> int:
    count = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return count * FACTOR


def picky(n: int) -> int:
    if n == 59_000:
        raise LookupError("not this one")
    return collatz(n)


def warns(n: int) -> float:
    return float(np.float64(collatz(n)) / np.float64(0 if n == 58_000 else 1))


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    skate.init(num_cpus=2)
    distribute._pool.start()
    skate.get(distribute._pool.warming)
    yield
    skate.shutdown()


@pytest.fixture
def workers(session: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A session whose workers are ready, so that they take part at once."""
    monkeypatch.setattr(distribute.shipping, "processors", lambda: 2)
    ledger.entries.clear()
    yield
    ledger.entries.clear()


def numbers() -> pd.Series:
    return pd.Series(np.arange(1, ROWS + 1), name="n")


def test_workers_do_a_part_and_the_result_is_pandas(workers: None) -> None:
    result = spd.from_pandas(numbers()).map(collatz)
    pd.testing.assert_series_equal(result.to_pandas(), numbers().map(collatz))
    (entry,) = ledger.entries.values()
    assert entry.engine == "workers"


def test_workers_see_what_names_stand_for_now(workers: None) -> None:
    global FACTOR
    expected = numbers().map(collatz)
    FACTOR = 30
    try:
        assert (spd.from_pandas(numbers()).map(collatz).to_pandas() == expected * 10).all()
    finally:
        FACTOR = 3


def test_an_error_in_a_worker_is_raised_here_as_pandas_would(workers: None) -> None:
    with pytest.raises(LookupError, match="not this one"):
        spd.from_pandas(numbers()).map(picky)
    assert len(spd.from_pandas(numbers()).map(collatz)) == ROWS


def test_a_warning_in_a_worker_is_given_here(workers: None) -> None:
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        spd.from_pandas(numbers()).map(warns)


def test_rows_and_groups(workers: None) -> None:
    plain = pd.DataFrame({"n": numbers(), "m": numbers() % 100, "text": [f"t{i}" for i in range(ROWS)]})
    ours = spd.from_pandas(plain)
    expected = plain.head(50_000).apply(lambda r: collatz(int(r["n"])) + len(r["text"]), axis=1)
    result = ours.head(50_000).apply(lambda r: collatz(int(r["n"])) + len(r["text"]), axis=1)
    pd.testing.assert_series_equal(expected, result.to_pandas())

    def longest(group: Any) -> int:
        return max(collatz(n) for n in group["n"].tolist())

    grouped = ours.groupby("m")[["n"]].apply(longest)
    pd.testing.assert_series_equal(plain.groupby("m")[["n"]].apply(longest), grouped.to_pandas())
    assert {entry.engine for entry in ledger.entries.values()} == {"workers"}


def test_threads_may_map_at_the_same_time(workers: None) -> None:
    expected = numbers().map(collatz)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(spd.from_pandas(numbers()).map(collatz).to_pandas())) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in found:
        pd.testing.assert_series_equal(result, expected)
    assert len(found) == 3


def test_a_task_may_use_it(workers: None) -> None:
    @skate.remote
    def inside() -> int:
        return int(spd.from_pandas(pd.Series(np.arange(1, 60_001))).map(collatz).sum())

    assert skate.get(inside.remote()) == int(numbers().map(collatz).sum())


PROGRAM = """
import os, sys, time
import numpy as np
import skate.pandas as pd

def slow(n):
    count = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return count

s = pd.Series(np.arange(1, {rows}))
"""


def program(rest: str, rows: int = 60_000) -> list[str]:
    path = f"/tmp/skate-udf-{os.getpid()}-{abs(hash(rest))}.py"
    with open(path, "w") as file:
        file.write(PROGRAM.format(rows=rows) + textwrap.dedent(rest))
    return [sys.executable, path]


def test_an_interrupt_ends_the_operation_and_leaves_the_rest_usable() -> None:
    rest = """
    print("begin", flush=True)
    try:
        s.map(slow)
        print("finished")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    few = s.head(50_000)
    print(int(few.map(slow).sum()), int(few.to_pandas().map(slow).sum()), int((s * 2).sum() == s.sum() * 2))
    """
    process = subprocess.Popen(program(rest, rows=3_000_000), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    time.sleep(2.5)  # It is in the middle of it: the whole takes half a minute.
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    lines = out.splitlines()
    assert lines[0] == "interrupted", err
    one, other, rest_is_good = lines[1].split()
    assert one == other
    assert rest_is_good == "1"
    assert process.returncode == 0, err


def test_a_forked_child_does_it_itself() -> None:
    rest = """
    expected = int(s.map(slow).sum())
    child = os.fork()
    if child == 0:
        os._exit(0 if int(s.map(slow).sum()) == expected else 1)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status))
    """
    done = subprocess.run(program(rest), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "0\n", done.stderr


def test_a_long_operation_shows_a_bar_on_a_terminal_and_nothing_in_a_pipe() -> None:
    rest = """
    s.map(slow)
    """
    command = program(rest, rows=250_000)
    piped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert piped.stderr == ""
    leader, follower = pty.openpty()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "map(slow)" in text
    assert "%" in text
    assert text.rstrip("\r\n").endswith("\x1b[K")  # It is gone when the operation is done.
