"""Run files: what the recorder writes comes back, also while it grows, when files rotate, and when the disk refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skate import run_format as f
from skate.dashboard.runfile import RunFile, list_runs, open_run
from skate.engine.node import recorder as recorder_module
from skate.engine.node.recorder import Recorder, prune_runs


def make(path: Path, **record: Any) -> Recorder:
    def never(_delay_s: float, _callback: Callable[[], None]) -> None: ...

    return Recorder(str(path), {"name": path.name, "started_s": 1.0, **record}, never)


def attempt(number: int, name: int = 7) -> bytes:
    return f.pack_row(f.TASK, f.FINISHED, 0, 2, 1_000_000 + number, name, 1, number, 50)


def test_tail_brings_each_row_once_with_the_strings_it_names(tmp_path: Path) -> None:
    recorder = make(tmp_path / "run")
    recorder.add_string(7, "square")
    recorder.add_rows(attempt(1) + attempt(2))
    recorder.flush()
    run = RunFile(str(tmp_path / "run"))
    delta = run.tail()
    assert [row.number for row in delta] == [1, 2]
    assert delta.strings == {7: "square"}
    assert not run.tail()

    recorder.add_rows(attempt(3))
    recorder.flush()
    assert [row.number for row in run.tail()] == [3]


def test_half_a_row_and_half_a_string_wait_for_their_rest(tmp_path: Path) -> None:
    recorder = make(tmp_path / "run")
    recorder.add_string(7, "square")
    recorder.add_rows(attempt(1))
    recorder.flush()
    run = RunFile(str(tmp_path / "run"))
    run.tail()
    string = f.STRING_HEAD.pack(8, 4) + b"cube"
    for cut_row, cut_string in ((10, 3), (32, 12)):
        start_row, start_string = (0, 0) if cut_row == 10 else (10, 3)
        with open(tmp_path / "run" / "rows-00000", "ab") as rows, open(tmp_path / "run" / "strings", "ab") as strings:
            rows.write(attempt(2, 8)[start_row:cut_row])
            strings.write(string[start_string:cut_string])
        delta = run.tail()
    assert ([row.name for row in delta], delta.strings) == ([8], {8: "cube"})


def test_nothing_is_on_disk_before_something_happened(tmp_path: Path) -> None:
    recorder = make(tmp_path / "run")
    recorder.flush()
    recorder.close("over")
    assert not (tmp_path / "run").exists()


def test_blobs_documents_and_errors_come_back(tmp_path: Path) -> None:
    recorder = make(tmp_path / "run")
    recorder.lines(2, "square", f.STDERR, b"one\ntwo")
    recorder.tell(1, ["publish", "stream", "s1", 5, b'{"stages": [1]}'])
    recorder.error_json(2, "KeyError", b'{"task": "00"}')
    recorder.flush()
    run = RunFile(str(tmp_path / "run"))
    log, document, error = run.tail()
    assert (run.blob(log), log.owner, log.state) == (b"one\ntwo", 2, f.STDERR)
    assert run.names[document.name] == "stream\x1fs1"
    assert run.document(document) == {"stages": [1]}
    assert run.document(error) == {"task": "00"}


def test_reports_keep_run_metric_step_and_value(tmp_path: Path) -> None:
    recorder = make(tmp_path / "run")
    recorder.tell(3, ["report", "trial-1", 12, 1_000_000, {"loss": 0.25, "acc": 1}])
    recorder.tell(3, ["report", "", None, 1_000_000, {"loss": float("nan")}])
    recorder.flush()
    run = RunFile(str(tmp_path / "run"))
    loss, acc, unnamed = run.tail()
    assert (run.names[loss.name], loss.owner, loss.number) == ("trial-1\x1floss", 12, 0.25)
    assert acc.number == 1
    assert (run.names[unnamed.name], unnamed.owner) == ("\x1floss", f.NO_STEP)


def test_old_rows_go_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "SEGMENT_BYTES", 320)
    monkeypatch.setattr(recorder_module, "ROW_SEGMENTS_KEPT", 2)
    recorder = make(tmp_path / "run")
    for number in range(100):
        recorder.add_rows(attempt(number))
        recorder.flush()
    run = RunFile(str(tmp_path / "run"))
    delta = run.tail()
    assert [row.number for row in delta] == list(range(80, 100))
    assert recorder.dropped == 80
    assert delta.lost_rows == 80


def test_the_latest_documents_survive_the_rotation_of_blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(recorder_module, "BLOB_SEGMENTS_KEPT", 2)
    recorder = make(tmp_path / "run")
    recorder.document(1, "stream", "s1", b'{"n": 1}')
    for _ in range(50):
        recorder.lines(2, "", f.STDOUT, b"x" * 100)
        recorder.flush()
    run = RunFile(str(tmp_path / "run"))
    documents = [row for row in run.tail() if row.kind == f.DOCUMENT]
    assert run.document(documents[0]) == {}
    assert run.document(documents[-1]) == {"n": 1}


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = make(tmp_path / "run")
    recorder.add_rows(attempt(1))
    recorder.flush()

    def full(_fd: int, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder_module, "_write", full)
    recorder.add_rows(attempt(2))
    recorder.flush()
    recorder.add_rows(attempt(3))
    recorder.flush()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["dropped"] == 1
    assert "No space left" in record["trouble"]


def test_old_runs_are_removed_but_never_one_in_use(tmp_path: Path) -> None:
    for number in range(5):
        recorder = make(tmp_path / f"run{number}", session_dir=str(tmp_path) if number == 0 else "")
        recorder.add_rows(attempt(1))
        recorder.flush()
        os.utime(tmp_path / f"run{number}", (number, number))
    (tmp_path / "not-a-run").mkdir()
    removed = prune_runs(str(tmp_path), runs_max=2)
    assert sorted(map(os.path.basename, removed)) == ["run1", "run2"]
    assert sorted(run.name for run in list_runs(str(tmp_path))) == ["run0", "run3", "run4"]
    assert (tmp_path / "not-a-run").exists()


def test_runs_are_found_by_the_beginning_of_their_names(tmp_path: Path) -> None:
    for name in ("alpha", "beta"):
        recorder = make(tmp_path / name)
        recorder.add_rows(attempt(1))
        recorder.close("over")
    assert open_run("al", str(tmp_path)).record["end"] == "over"
    with pytest.raises(LookupError, match="no run is called 'gamma'"):
        open_run("gamma", str(tmp_path))


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="format 99"):
        RunFile(str(tmp_path))
