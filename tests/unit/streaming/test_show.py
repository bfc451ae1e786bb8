"""What a running stream tells: the document for the web UI, and the progress bar."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import skate
from skate.streaming import Stream, Tumbling
from skate.streaming.run import wait_until


def test_the_web_ui_gets_the_graph_rates_watermarks_state_and_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[str, str, Any]] = []
    monkeypatch.setattr(
        skate, "publish", lambda kind, key, document: published.append((kind, key, json.loads(json.dumps(document))))
    )
    stream = Stream.from_list(range(1000)).event_time(lambda n: n).key_by(lambda n: n % 5).window(Tumbling(100)).count()
    running = stream.to_list().start(in_process=True, interval_s=0.001, name="fives")
    running.wait()
    kind, key, document = published[-1]
    assert kind == "stream"
    assert key.startswith("fives-")
    assert {name for _, name, _ in published} == {key}
    assert document["state"] == "ended"
    source, window = document["stages"]
    assert source["source"] == "memory"
    assert window["operators"] == ["window(tumbling, count)", "list"]
    assert (source["records_in"], window["records_in"]) == (1000, 1000)
    assert all(0 <= stage["backpressure"] <= 1 for stage in document["stages"])
    assert source["watermark_s"] is None  # Time has ended.
    assert [(edge["from"], edge["to"], edge["how"]) for edge in document["edges"]] == [(0, 1, "key")]
    assert document["snapshots"]
    assert {"number", "size_bytes", "epoch_s", "at_s"} <= document["snapshots"][-1].keys()
    assert document["progress"] == 1.0
    assert window["state_keys"] == 50


def test_a_stream_that_failed_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Stream.from_list(["x"]).map(int).to_list().start(in_process=True)
    with pytest.raises(skate.exceptions.RayError):
        running.wait()
    document = running.progress()
    assert document["state"] == "failed"
    assert "map(int) raised ValueError" in document["error"]


def test_bounded_inputs_have_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    Stream.from_list(range(1000)).to_list().run(in_process=True, progress=True)
    drawn = capsys.readouterr().err
    assert "100%" in drawn
    assert "█" * 30 in drawn
    assert drawn.endswith("\n")


def test_nothing_is_drawn_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Stream.from_list(range(10)).to_list().run(in_process=True)
    assert capsys.readouterr().err == ""


def test_the_watermark_is_how_far_event_time_has_come() -> None:
    go_on = threading.Event()

    def numbers() -> Iterator[float]:
        yield from (5.0, 9.0, 7.0)
        go_on.wait()

    stream = (
        Stream.from_iterator(numbers, bounded=False).event_time(lambda n: n, max_delay_s=2).key_by().window(Tumbling(100)).count()
    )
    running = stream.to_list().start(in_process=True, interval_s=0.05)
    wait_until(lambda: [stage["watermark_s"] for stage in running.progress()["stages"]][:2] == [7.0, 7.0])
    go_on.set()
    running.wait(20)
