"""A run in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

from skate import run_format as f
from skate.dashboard.history import History
from skate.dashboard.runfile import RunFile
from skate.dashboard.traces import spans, trace_events
from skate.engine.node.recorder import Recorder


def test_traces_and_spans_tell_attempts_and_arguments(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path / "run"), {"name": "run"}, lambda _delay_s, _callback: None)
    name = recorder.string("square")
    for number in range(1, 11):
        recorder.add_rows(f.pack_row(f.TASK, f.FAILED if number == 10 else f.FINISHED, 0, 2, number * 1000, name, 1, number, 900))
    recorder.row(f.NEEDS, lane=1, name=1, owner=1, number=2)
    recorder.close("over")
    run = RunFile(str(tmp_path / "run"))
    history = History(run.names)
    history.read(run.rows())
    events = trace_events(run, history)
    assert sum(event["ph"] == "X" for event in events) == 10
    assert {event["ph"] for event in events if event["name"] == "argument"} == {"s", "f"}
    found = spans(run, history)
    assert len({span["spanId"] for span in found}) == 10
    assert [span["status"]["code"] for span in found] == [1] * 9 + [2]
    (link,) = [link for span in found for link in span["links"]]
    assert link["spanId"] == found[0]["spanId"]
