"""Endless streams on real workers: a slow sink bounds memory everywhere; results reach the program that iterates, once, though workers die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import skate
from skate.streaming import Stream, StreamError
from skate.streaming.run import wait_until


@pytest.fixture(autouse=True)
def engine() -> object:
    skate.init(num_cpus=2)
    yield None
    skate.shutdown()


def endless_texts() -> Iterator[str]:
    number = 0
    while True:
        yield f"{number:01000d}"
        number += 1


def take_slowly(text: str) -> None:
    time.sleep(0.0001)  # A tenth of what the source can do.


def resident_mb(pids: list[int]) -> float:
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_a_slow_sink_bounds_memory_everywhere() -> None:
    running = Stream.from_iterator(endless_texts, bounded=False).rebalance(2).to_callback(take_slowly).start(interval_s=0.5)

    def taken() -> int:
        stages = running.progress()["stages"]
        return stages[1]["records_in"] if len(stages) == 2 else 0

    wait_until(lambda: taken() > 10_000)
    pids = list(running.worker_pids().values())
    before_mb = resident_mb(pids)
    then = taken()
    wait_until(lambda: taken() > then + 20_000)
    stages = running.progress()["stages"]
    assert resident_mb(pids) < before_mb + 30  # 20 MB went through; without credits about ten times as much would have piled up.
    assert stages[0]["records_in"] - stages[1]["records_in"] < 60_000
    wait_until(lambda: running.progress()["stages"][0]["backpressure"] > 0.3)
    running.stop()
    assert running.restarts == 0


def test_shutdown_while_a_stream_runs_is_said() -> None:
    running = Stream.from_iterator(endless_texts, bounded=False).to_callback(take_slowly).start(interval_s=0.1)
    assert running.wait_for_snapshot(1, timeout_s=30)
    skate.shutdown()
    with pytest.raises(skate.exceptions.RayError):
        running.wait(30)
    assert not skate.is_initialized()


def slow_numbers() -> Iterator[int]:
    for number in range(3000):
        time.sleep(0.0003)
        yield number


def test_iterate_gives_each_result_once_though_a_worker_is_killed() -> None:
    sunk_pids: list[int] = []
    seen = []
    stream = Stream.from_iterator(slow_numbers).rebalance(1).map(lambda number: (number, os.getpid()))
    for number, pid in stream.iterate(interval_s=0.05):
        if number >= 1000 and not sunk_pids:
            sunk_pids.append(pid)
            os.kill(pid, signal.SIGKILL)
        seen.append((number, pid))
    assert [number for number, _ in seen] == list(range(3000))
    assert len({pid for _, pid in seen}) == 2


def test_a_slow_loop_slows_the_stream() -> None:
    # Results wait in a queue of a few batches; then no snapshot begins, and no source reads.
    stream = Stream.from_iterator(endless_texts, bounded=False)
    results = stream.iterate(interval_s=0.02)
    next(results)
    time.sleep(0.5)
    first = int(next(results))
    assert first == 1
    results.close()  # type: ignore[attr-defined]


def die(record: int) -> int:
    os._exit(1)


def test_a_program_that_kills_its_workers_is_given_up() -> None:
    with pytest.raises(StreamError, match=r"workers died 3 times in a row, without a snapshot between; .*restarts_max=2"):
        Stream.from_list(range(10)).map(die).to_list().run(restarts_max=2)


def test_what_a_sink_raises_at_its_start_is_no_death(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StreamError, match=r"FileExistsError|NotADirectoryError") as caught:
        Stream.from_list(range(10)).to_text(tmp_path / "file").run()
    assert "workers died" not in str(caught.value)


def test_a_function_that_cannot_travel_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(StreamError, match=r"map\(.*\) can't be sent to workers \(TypeError: cannot pickle '_thread.lock'"):
        Stream.from_list(range(10)).map(lambda record: (lock, record)[1]).to_list().run()
