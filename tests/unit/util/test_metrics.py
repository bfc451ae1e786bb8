from __future__ import annotations

import pickle
from typing import Any

import pytest

from skate import metrics
from skate.backends import current


class FakeBackend:
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def report_metrics(self, rows: list[Any]) -> None:
        self.rows += rows

    def query(self, what: str, params: Any) -> Any:
        return self.rows


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    monkeypatch.setattr(metrics, "_reporter", metrics._Reporter())
    monkeypatch.setattr(metrics._reporter, "mark", lambda: None)  # No thread: tests report by hand.
    monkeypatch.setattr(current, "peek", lambda: fake)
    return fake


def test_counters_are_summed_before_and_after_the_report(backend: FakeBackend) -> None:
    counter = metrics.Counter("jobs", "Jobs done.", tag_keys=("kind",))
    counter.inc(tags={"kind": "a"})
    counter.inc(2, tags={"kind": "a"})
    metrics.flush()
    counter.inc(4, tags={"kind": "a"})
    metrics.flush()

    assert [row[4] for row in backend.rows] == [3.0, 4]
    assert metrics.export_text() == '# HELP jobs_total Jobs done.\n# TYPE jobs_total counter\njobs_total{kind="a"} 7\n'


def test_the_last_value_of_a_gauge_counts(backend: FakeBackend) -> None:
    gauge = metrics.Gauge("load")
    gauge.set(1.0)
    gauge.set(0.5)
    gauge.set(None)

    assert metrics.export_text() == "# TYPE load gauge\nload 0.5\n"


def test_histogram_buckets_are_cumulative(backend: FakeBackend) -> None:
    histogram = metrics.Histogram("wait_s", boundaries=[0.1, 1])
    for value in (0.05, 0.1, 0.5, 7):
        histogram.observe(value)
    metrics.flush()
    histogram.observe(0.5)

    assert metrics.export_text().splitlines() == [
        "# TYPE wait_s histogram",
        'wait_s_bucket{le="0.1"} 2',
        'wait_s_bucket{le="1"} 4',
        'wait_s_bucket{le="+Inf"} 5',
        "wait_s_sum 8.15",
        "wait_s_count 5",
    ]


def test_labels_are_escaped() -> None:
    text = metrics.prometheus_text([["gauge", "g", "", {"path": 'a"b\\c\n'}, 1]])

    assert 'g{path="a\\"b\\\\c\\n"} 1' in text


def test_default_tags_fill_in_and_missing_ones_are_named(backend: FakeBackend) -> None:
    counter = metrics.Counter("c", tag_keys=("a", "b")).set_default_tags({"a": "1"})
    with pytest.raises(ValueError, match="b"):
        counter.inc()
    with pytest.raises(ValueError, match="unknown tag 'z'"):
        counter.inc(tags={"b": "2", "z": "3"})
    with pytest.raises(TypeError, match="tag values must be str"):
        counter.inc(tags={"b": 2})
    counter.inc(tags={"b": "2"})

    assert 'c_total{a="1",b="2"} 1' in metrics.export_text()


def test_wrong_use_is_refused(backend: FakeBackend) -> None:
    with pytest.raises(ValueError, match="only grows"):
        metrics.Counter("c").inc(0)
    with pytest.raises(TypeError, match="number"):
        metrics.Gauge("g").set("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="boundaries"):
        metrics.Histogram("h")
    with pytest.raises(ValueError, match="name"):
        metrics.Counter("")
    with pytest.raises(TypeError, match="tuple"):
        metrics.Counter("c", tag_keys=["a"])  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="no valid metric name"):
        metrics.Counter("has space").inc()
    assert metrics.export_text() == ""


def test_metrics_travel(backend: FakeBackend) -> None:
    histogram = pickle.loads(
        pickle.dumps(metrics.Histogram("h", boundaries=[1, 2], tag_keys=("a",)).set_default_tags({"a": "x"}))
    )

    assert histogram.info == {
        "name": "h",
        "description": "",
        "tag_keys": ("a",),
        "default_tags": {"a": "x"},
        "boundaries": [1, 2],
    }


def test_what_is_recorded_without_a_session_is_kept(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "peek", lambda: None)
    metrics.Counter("early").inc()
    metrics.flush()
    monkeypatch.setattr(current, "peek", lambda: backend)

    assert "early_total 1" in metrics.export_text()
