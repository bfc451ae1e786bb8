"""A run as OpenTelemetry spans, in the SDK's in-memory exporter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from skate import run_format as f
from skate.dashboard import otel
from skate.dashboard.runfile import RunFile
from skate.engine.node.recorder import Recorder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The driver calls outer (worker 2), which submits inner (worker 3) while it runs; merge takes inner's result and fails."""
    recorder = Recorder(
        str(tmp_path / "run"), {"name": "run", "started_s": 1.0, "argv": ["app.py"]}, lambda _delay_s, _callback: None
    )
    name = recorder.string
    rows = [
        f.pack_row(f.LANE, f.CAME, 0, 1, 1e6, name("driver app.py"), 1, 10, 0),
        f.pack_row(f.LANE, f.CAME, 0, 2, 1e6, name("worker"), 1, 12, 0),
        f.pack_row(f.LANE, f.CAME, 0, 3, 1e6, name("worker"), 1, 13, 0),
        f.pack_row(f.SUBMITTED, 0, 0, 1, 1_000_100, 0, 1, 5, 0),
        f.pack_row(f.SUBMITTED, 0, 0, 2, 1_002_000, 0, 2, 5, 0),
        f.pack_row(f.NEEDS, 0, 0, 2, 1_002_000, 3, 2, 4, 0),
        f.pack_row(f.TASK, f.FINISHED, 0, 3, 1_003_000, name("inner"), 2, 3, 2_000),
        f.pack_row(f.TASK, f.FAILED, 0, 3, 1_006_000, name("merge"), 2, 4, 1_000),
        f.pack_row(f.TASK, f.FINISHED, 0, 2, 1_001_000, name("outer"), 1, 2, 9_000),
    ]  # fmt: skip
    recorder.add_rows(b"".join(rows))
    task = b"tag!" + (2).to_bytes(4, "big") + (4).to_bytes(8, "big")
    recorder.error_json(
        3,
        "KeyError",
        b'{"task":"%s","attempt":0,"type":"KeyError","message":"x","traceback":"Traceback (most"}' % task.hex().encode(),
    )
    recorder.close("over")
    return tmp_path / "run"


def test_spans_have_parents_links_and_errors(run: Path) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import StatusCode

    exporter = InMemorySpanExporter()
    assert otel.export(exporter, str(run)) == 4
    spans: dict[str, Any] = {span.name: span for span in exporter.get_finished_spans()}
    outer, inner, merge, program = (spans[name] for name in ("outer", "inner", "merge", "app.py"))
    assert program.parent is None
    assert outer.parent.span_id == program.context.span_id
    assert inner.parent.span_id == merge.parent.span_id == outer.context.span_id
    assert [link.context.span_id for link in merge.links] == [inner.context.span_id]
    assert len({span.context.trace_id for span in spans.values()}) == 1
    assert (inner.start_time, inner.end_time) == (1_003_000_000, 1_005_000_000)
    assert outer.status.status_code is StatusCode.OK
    assert merge.status.status_code is StatusCode.ERROR
    (event,) = merge.events
    assert event.attributes["exception.type"] == "KeyError"
    assert event.attributes["exception.stacktrace"] == "Traceback (most"


def test_only_what_is_new_is_sent_again(run: Path) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    export = otel.Export(RunFile(str(run)))
    assert [export.send(exporter), export.send(exporter)] == [4, 0]
    with open(run / "rows-00000", "ab") as file:
        file.write(f.pack_row(f.TASK, f.FINISHED, 0, 3, 1_020_000, 0, 1, 9, 10))
    assert export.send(exporter) == 1


def test_without_the_sdk_the_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(ImportError, match=r"skate\[otel\]"):
        otel.export(object(), str(run))
