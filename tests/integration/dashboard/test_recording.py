"""A session's run file, written by real processes: complete, and there also after kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import skate
from skate import run_format as f
from skate.dashboard.runfile import RunFile, open_run
from skate.run_format import Row


def wait_for_rows(folder: Path, is_enough: object) -> tuple[RunFile, list[Row]]:
    """All rows of the only run, once they are enough."""
    deadline_s = time.monotonic() + 10
    rows: list[Row] = []
    run: RunFile | None = None
    while time.monotonic() < deadline_s:
        try:
            run = run or open_run(None, str(folder))
            rows += run.rows()
            if is_enough(rows):  # type: ignore[operator]
                return run, rows
        except LookupError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"only {len(rows)} rows came: {rows[-5:]}")


@pytest.fixture()
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKATE_RUNS_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("address", ["inline", "local"])
def test_reports_and_documents_from_driver_and_tasks(runs: Path, address: str) -> None:
    skate.init(address=None if address == "local" else address, num_cpus=2)

    @skate.remote
    def train(step: int) -> None:
        skate.report({"loss": 1 / step}, step=step, run="t")

    skate.get([train.remote(step) for step in range(1, 4)])
    skate.report({"epoch": 1})
    skate.publish("stream", "s", {"stages": ["read"]})
    skate.shutdown()
    run, rows = wait_for_rows(runs, lambda rows: sum(row.kind == f.REPORT for row in rows) == 4)
    told = {(run.names[row.name], row.owner, row.number) for row in rows if row.kind == f.REPORT}
    assert told >= {("t\x1floss", 1, 1.0), ("t\x1floss", 2, 0.5), ("\x1fepoch", f.NO_STEP, 1.0)}
    (document,) = [run.document(row) for row in rows if row.kind == f.DOCUMENT]
    assert document == {"stages": ["read"]}
    assert run.refresh_record()["ended_s"]


def test_tasks_actors_errors_lines_needs_and_objects_are_rows(runs: Path) -> None:
    skate.init(num_cpus=2, log_to_driver=False)

    @skate.remote
    def make() -> bytes:
        print("made")
        return b"x" * 200_000

    @skate.remote
    def take(value: bytes) -> int:
        return len(value)

    @skate.remote(max_retries=0)
    def fail() -> None:
        raise KeyError("b")

    @skate.remote
    class Counter:
        def add(self) -> int:
            return 1

    assert skate.get(take.remote(make.remote())) == 200_000
    skate.get(Counter.remote().add.remote())
    with pytest.raises(KeyError):
        skate.get(fail.remote())
    skate.shutdown()
    run, rows = wait_for_rows(runs, lambda rows: any(row.kind == f.LOG for row in rows))
    attempts = {run.names[row.name].rpartition(".")[2]: row for row in rows if row.kind in f.TASK_KINDS}
    assert {"make", "take", "fail", "add", "__init__"} <= set(attempts)
    assert attempts["fail"].state == f.FAILED
    (need,) = [row for row in rows if row.kind == f.NEEDS]
    assert (need.owner, need.number) == (attempts["take"].owner, attempts["take"].number)
    assert (need.lane, need.name) == (attempts["make"].owner, attempts["make"].number)
    (error,) = [run.document(row) for row in rows if row.kind == f.ERROR]
    assert (error["type"], error["message"]) == ("KeyError", "'b'")
    assert "in fail" in error["traceback"]
    assert any(row.kind == f.STORED and row.number == attempts["make"].number for row in rows)
    assert any(row.kind == f.LOG and run.blob(row) == b"made" for row in rows)
    assert {f.LANE, f.ACTOR, f.SUBMITTED} <= {row.kind for row in rows}


def test_a_run_survives_kill_9_of_its_driver(runs: Path) -> None:
    program = (
        "import skate\n"
        "@skate.remote\ndef f(i): return i\n"
        "skate.init(num_cpus=2)\nskate.get([f.remote(i) for i in range(2000)])\nprint('ready', flush=True)\n"
        "import time; time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_for_rows(runs, lambda rows: sum(row.kind == f.TASK for row in rows) == 2000)
        os.kill(process.pid, signal.SIGKILL)
    run, rows = wait_for_rows(runs, lambda rows: sum(row.kind == f.TASK for row in rows) == 2000)
    deadline_s = time.monotonic() + 5
    while not run.refresh_record().get("ended_s") and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert "ended" in run.record["end"]
    assert len({row.number for row in rows if row.kind == f.TASK}) == 2000


def test_recording_can_be_turned_off(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKATE_RECORD", "0")
    skate.init(num_cpus=1)

    @skate.remote
    def one() -> int:
        return 1

    assert skate.get(one.remote()) == 1
    assert len(skate.state.list_tasks()) <= 1
    skate.shutdown()
    assert list(runs.iterdir()) == []


def test_calls_without_task_events_leave_no_rows_unless_they_fail(runs: Path) -> None:
    skate.init(num_cpus=1)

    @skate.remote(concurrency_groups={"waiting": 1})
    class Station:
        @skate.method(enable_task_events=False, concurrency_group="waiting")
        def wait(self, seconds: float) -> None:
            time.sleep(seconds)
            if not seconds:
                raise ValueError("no time")

        def work(self) -> int:
            return 1

    @skate.remote
    class Silent:
        def work(self) -> int:
            return 1

        @skate.method(enable_task_events=True)
        def talk(self) -> int:
            return 1

    @skate.remote(enable_task_events=False)
    def quiet() -> int:
        return 1

    station = Station.remote()
    waited = station.wait.remote(0.7)  # Long enough for a row of what runs still.
    assert skate.get(station.work.remote()) == 1
    skate.get(waited)
    with pytest.raises(ValueError, match="no time"):
        skate.get(station.wait.remote(0.0))
    silent = Silent.options(enable_task_events=False).remote()
    assert skate.get([silent.work.remote(), silent.talk.remote(), quiet.remote()]) == [1, 1, 1]
    assert skate.get(quiet.options(enable_task_events=True, name="heard").remote()) == 1
    skate.shutdown()
    run, rows = wait_for_rows(runs, lambda rows: any(row.kind == f.TASK for row in rows))
    seen = [(run.names[row.name], row.state & f.STATE_MASK) for row in rows if row.kind in (f.TASK, f.ACTOR_CALL)]
    assert sorted(seen) == [
        ("Silent.talk", f.FINISHED),
        ("Station.wait", f.FAILED),
        ("Station.work", f.FINISHED),
        ("heard", f.FINISHED),
    ]


def test_a_wrong_report_says_what_to_write() -> None:
    with pytest.raises(TypeError, match="numbers by name"):
        skate.report(3.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="whole number"):
        skate.report({"loss": 1.0}, step="ten")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="as a mapping"):
        skate.publish("stream", "s", [1])  # type: ignore[arg-type]


def test_sizes_of_arguments_that_travelled_with_a_call(runs: Path) -> None:
    skate.init(num_cpus=1)

    @skate.remote
    def make(size: int) -> bytes:
        return b"x" * size

    @skate.remote
    def take(text: str, first: bytes, second: bytes) -> int:
        return len(text) + len(first) + len(second)

    assert skate.get(take.remote("t" * 5000, make.remote(700), make.remote(200_000))) == 205_700
    assert skate.get(make.remote(1)) == b"x"
    skate.shutdown()
    run, rows = wait_for_rows(runs, lambda rows: sum(row.kind == f.ARGUMENT for row in rows) == 2)
    (taken,) = {(row.owner, int(row.number)) for row in rows if row.kind == f.TASK and run.names[row.name].endswith("take")}
    sizes = {row.attempt: row.duration_us for row in rows if row.kind == f.ARGUMENT and (row.owner, int(row.number)) == taken}
    assert set(sizes) == {f.OWN_BYTES, 0}  # The second lies in the object store: a row of its own tells its size.
    assert 5000 < sizes[f.OWN_BYTES] < 5200
    assert 700 < sizes[0] < 800
    assert [row.name for row in rows if row.kind == f.STORED] == [200_000 >> 10]
