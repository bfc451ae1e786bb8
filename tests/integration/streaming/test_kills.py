"""kill -9 of real processes: workers, the driver, everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

import skate
from skate.streaming import RunningStream, Stream, StreamError
from skate.streaming.run import wait_until
from skate.streaming.sinks.text_files import read_parts


@pytest.fixture(autouse=True)
def engine() -> object:
    skate.init(num_cpus=2)
    yield None
    skate.shutdown()


def write_text(directory: Path, lines: int = 6000) -> tuple[Path, Counter[str]]:
    path = directory / "text.txt"
    text = "".join(f"w{i % 97} w{i % 31} line{i % 7}\n" for i in range(lines))
    path.write_text(text)
    return path, Counter(text.split())


def slowly(line: str) -> list[str]:
    time.sleep(0.0005)
    return line.split()


def counting(path: Path, out: Path) -> object:
    stream = Stream.from_text(path, split_bytes=16_384, batch_bytes=1024)
    return stream.flat_map(slowly).count_by().map(lambda pair: f"{pair[0]} {pair[1]}").to_text(out)


def expected_lines(counts: Counter[str]) -> list[bytes]:
    return sorted(f"{word} {count}".encode() for word, count in counts.items())


def test_stream_goes_on_by_itself_when_workers_are_killed(tmp_path: Path) -> None:
    path, counts = write_text(tmp_path)
    running: RunningStream = counting(path, tmp_path / "out").start(tmp_path / "snapshots", interval_s=0.1)
    for kills in range(1, 4):
        wait_until(lambda kills=kills: len(running.worker_pids()) == 4 and running.snapshots >= kills)
        pids = running.worker_pids()
        os.kill(list(pids.values())[kills % len(pids)], signal.SIGKILL)
        wait_until(lambda kills=kills: running.restarts >= kills or not running.is_running)
    running.wait(60)
    assert sorted(read_parts(tmp_path / "out").splitlines()) == expected_lines(counts)
    assert running.restarts == 3
    assert max(running.recovery_s) < 2.0


PROGRAM = """
    import sys
    from pathlib import Path
    from tests.integration.streaming.test_kills import counting
    directory = Path(sys.argv[1])
    counting(directory / "text.txt", directory / "out").run(directory / "snapshots", interval_s=0.1, parallelism=int(sys.argv[2]))
"""


def start_program(directory: Path, parallelism: int = 2) -> subprocess.Popen[bytes]:
    program = directory / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    return subprocess.Popen([sys.executable, str(program), str(directory), str(parallelism)], env=environment)


@pytest.mark.leaks_ok("programs are killed: what they leave is cleared up when their processes have noticed")
@pytest.mark.parametrize("parallelism", [2, 1])
def test_program_goes_on_when_it_is_run_again(tmp_path: Path, parallelism: int) -> None:
    skate.shutdown()
    _, counts = write_text(tmp_path)
    process = start_program(tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("snapshots/*/manifest.json"))) >= 2)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    again = start_program(tmp_path, parallelism)
    assert again.wait(60) == 0
    assert sorted(read_parts(tmp_path / "out").splitlines()) == expected_lines(counts)
    assert not list((tmp_path / "out").glob(".*"))


def test_two_runs_on_one_directory_are_refused(tmp_path: Path) -> None:
    path, _ = write_text(tmp_path)
    running = counting(path, tmp_path / "out").start(tmp_path / "snapshots", interval_s=0.1)
    with pytest.raises(StreamError, match="another process is running"):
        counting(path, tmp_path / "out2").start(tmp_path / "snapshots")
    running.stop()


def test_stop_leaves_a_savepoint_from_which_the_next_run_goes_on(tmp_path: Path) -> None:
    path, counts = write_text(tmp_path)
    running = counting(path, tmp_path / "out").start(tmp_path / "snapshots", interval_s=0.1)
    assert running.wait_for_snapshot(2, timeout_s=30)
    running.stop()
    assert read_parts(tmp_path / "out") == b""  # Counts are final at the end only.
    counting(path, tmp_path / "out").run(tmp_path / "snapshots", parallelism=3)
    assert sorted(read_parts(tmp_path / "out").splitlines()) == expected_lines(counts)


def test_a_finished_run_does_nothing_when_it_is_run_again(tmp_path: Path) -> None:
    path, counts = write_text(tmp_path, lines=500)
    for _ in range(2):
        counting(path, tmp_path / "out").run(tmp_path / "snapshots")
        assert sorted(read_parts(tmp_path / "out").splitlines()) == expected_lines(counts)
