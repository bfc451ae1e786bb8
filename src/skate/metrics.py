"""Metrics of the user's program: counters, gauges and histograms that tasks, actors and the driver add to.

Each process adds up its own records and reports the sums every `REPORT_S`; the node adds up the processes. `export_text()` is the
Prometheus text format (https://prometheus.io/docs/instrumenting/exposition_formats/), for a scraper or for `skate metrics`.

What is reported, one row for each name and set of tags:

    ["counter", name, description, tags, value]     what was added since the last report
    ["gauge", name, description, tags, value]       the last value
    ["histogram", name, description, tags, [sum, boundaries, counts]]   since the last report; one count more than boundaries
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skate.backends import current

REPORT_S = 0.5

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

Tags = tuple[tuple[str, str], ...]  # sorted


class _Reporter:
    """This process's sums since the last report. The thread starts with the first record and sleeps while there are none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counters: dict[tuple[str, str, Tags], float] = {}
        self.gauges: dict[tuple[str, str, Tags], float] = {}
        self.histograms: dict[tuple[str, str, Tags], tuple[list[float], list[float], list[int]]] = {}
        self._is_dirty = threading.Event()
        self._thread: threading.Thread | None = None

    def mark(self) -> None:
        """Lock held. Something is to be reported."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="skate-metrics", daemon=True)
            self._thread.start()
            atexit.register(self.report)
        self._is_dirty.set()

    def _run(self) -> None:
        stop = threading.Event()
        while self._is_dirty.wait():
            stop.wait(REPORT_S)  # Gathers what comes in the meantime.
            self.report()

    def report(self) -> None:
        backend = current.peek()
        if backend is None:
            return  # Kept for the next session of this program.
        with self.lock:
            self._is_dirty.clear()
            counters, self.counters = self.counters, {}
            gauges, self.gauges = self.gauges, {}
            histograms, self.histograms = self.histograms, {}
        rows: list[Any] = [["counter", name, text, dict(tags), value] for (name, text, tags), value in counters.items()]
        rows += [["gauge", name, text, dict(tags), value] for (name, text, tags), value in gauges.items()]
        rows += [
            ["histogram", name, text, dict(tags), [total[0], bounds, counts]]
            for (name, text, tags), (total, bounds, counts) in histograms.items()
        ]
        if rows:
            try:
                backend.report_metrics(rows)
            except Exception:  # The session ends: metrics must not be what a program fails by.
                pass


_reporter = _Reporter()


def _start_anew() -> None:
    """In a forked child: what the parent recorded is the parent's, and its thread is not here."""
    global _reporter
    _reporter = _Reporter()


os.register_at_fork(after_in_child=_start_anew)


def flush() -> None:
    """Report what this process has recorded, now."""
    _reporter.report()


class Metric:
    """Base of the three kinds.

    Args:
        name: Letters, digits, `_` and `:`; anything else makes the metric do nothing, with a warning, as in Ray.
        description: For people.
        tag_keys: Every record has to give each of them a value, unless `set_default_tags` does.
    """

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        if not name:
            raise ValueError("a metric needs a name")
        if tag_keys is not None and not isinstance(tag_keys, tuple):
            raise TypeError(f"tag_keys must be a tuple of str, not {type(tag_keys).__name__}")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"tag keys must be str, got {type(key).__name__}")
        self._is_valid = _NAME.fullmatch(name) is not None
        if not self._is_valid:
            warnings.warn(
                f"{name!r} is no valid metric name (letters, digits, _ and :, no digit first): it will not be recorded",
                stacklevel=3,
            )
        self._name = name
        self._description = description
        self._tag_keys = tag_keys or ()
        self._default_tags: dict[str, str] = {}
        self._keys: dict[Tags, tuple[str, str, Tags]] = {}

    def set_default_tags(self, default_tags: Mapping[str, str]) -> Any:
        """Values for tags that a record leaves out. Returns the metric."""
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"unknown tag {key!r}: {self._name} has {', '.join(self._tag_keys) or 'no tags'}")
            if not isinstance(value, str):
                raise TypeError(f"tag values must be str, got {type(value).__name__} for {key!r}")
        self._default_tags = dict(default_tags)
        return self

    @property
    def info(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def _key(self, tags: Mapping[str, str] | None) -> tuple[str, str, Tags]:
        merged = {**self._default_tags, **tags} if tags else self._default_tags
        sorted_tags = tuple(sorted(merged.items()))
        key = self._keys.get(sorted_tags)
        if key is None:
            for name, value in sorted_tags:
                if not isinstance(value, str):
                    raise TypeError(f"tag values must be str, got {type(value).__name__} for {name!r}")
                if name not in self._tag_keys:
                    raise ValueError(f"unknown tag {name!r}: {self._name} has {', '.join(self._tag_keys) or 'no tags'}")
            missing = [name for name in self._tag_keys if name not in merged]
            if missing:
                raise ValueError(f"missing value for tag(s) {', '.join(missing)} of {self._name}")
            key = self._keys[sorted_tags] = (self._name, self._description, sorted_tags)
        return key

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._arguments(), self._default_tags)

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self._tag_keys


def _rebuild(kind: type[Metric], arguments: tuple[Any, ...], default_tags: dict[str, str]) -> Metric:
    metric = kind(*arguments)
    metric._default_tags = default_tags
    return metric


class Counter(Metric):
    """A sum that only grows."""

    def inc(self, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None:
        """Add `value`, above zero."""
        _check_number(value)
        if value <= 0:
            raise ValueError(f"a counter only grows: value must be above zero, got {value}")
        key = self._key(tags)
        if self._is_valid:
            with _reporter.lock:
                _reporter.counters[key] = _reporter.counters.get(key, 0.0) + value
                _reporter.mark()


class Gauge(Metric):
    """A value that goes up and down; the last one set counts."""

    def set(self, value: float | None, tags: Mapping[str, str] | None = None) -> None:
        """Set the value; None changes nothing."""
        if value is None:
            return
        _check_number(value)
        key = self._key(tags)
        if self._is_valid:
            with _reporter.lock:
                _reporter.gauges[key] = value
                _reporter.mark()


class Histogram(Metric):
    """Counts observations by size.

    Args:
        boundaries: Upper ends of the buckets, rising, above zero; one more bucket takes what is larger.
    """

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(name, description, tag_keys)
        if not boundaries:
            raise ValueError('a histogram needs boundaries, such as Histogram("name", boundaries=[0.1, 1, 10])')
        if any(boundary <= 0 for boundary in boundaries):
            raise ValueError(f"boundaries must be above zero, got {list(boundaries)}")
        self.boundaries = sorted(boundaries)

    def observe(self, value: float, tags: Mapping[str, str] | None = None) -> None:
        """Count one observation."""
        _check_number(value)
        key = self._key(tags)
        if self._is_valid:
            with _reporter.lock:
                entry = _reporter.histograms.get(key)
                if entry is None or entry[1] != self.boundaries:
                    entry = _reporter.histograms[key] = ([0.0], list(self.boundaries), [0] * (len(self.boundaries) + 1))
                entry[0][0] += value
                entry[2][bisect_left(self.boundaries, value)] += 1
                _reporter.mark()

    @property
    def info(self) -> dict[str, Any]:
        return {**super().info, "boundaries": self.boundaries}

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self.boundaries, self._tag_keys


def _check_number(value: Any) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"value must be a number, got {type(value).__name__}")


# ---------------------------------------------------------------- export


def export_text() -> str:
    """All metrics of the session in Prometheus text format.

    Raises:
        RuntimeError: Nothing is running.
    """
    backend = current.peek()
    if backend is None:
        raise RuntimeError("no session is running: call skate.init() first")
    flush()
    reply = backend.query("metrics", {})
    return reply if isinstance(reply, str) else prometheus_text(reply or [])


def prometheus_text(rows: Iterable[Any]) -> str:
    """Prometheus text of reported rows, which are added up first."""
    families: dict[str, tuple[str, str]] = {}  # name → (kind, description)
    samples: dict[str, dict[Tags, Any]] = {}
    for kind, name, description, tags, value in rows:
        families.setdefault(name, (kind, description))
        series = samples.setdefault(name, {})
        key = tuple(sorted((str(tag), str(text)) for tag, text in dict(tags).items()))
        if kind == "counter":
            series[key] = series.get(key, 0.0) + value
        elif kind == "gauge":
            series[key] = value
        else:
            total, bounds, counts = value
            old = series.get(key)
            if old is not None and old[1] == list(bounds):
                total, counts = total + old[0], [a + b for a, b in zip(counts, old[2], strict=True)]
            series[key] = (total, list(bounds), list(counts))
    lines: list[str] = []
    for name in sorted(families):
        kind, description = families[name]
        # The format wants counters to end in _total.
        shown = name + "_total" if kind == "counter" and not name.endswith("_total") else name
        if description:
            lines.append(f"# HELP {shown} {_escape(description, quotes=False)}")
        lines.append(f"# TYPE {shown} {kind}")
        for tags, value in sorted(samples[name].items()):
            if kind != "histogram":
                lines.append(f"{shown}{_labels(tags)} {_number(value)}")
                continue
            total, bounds, counts = value
            below = 0
            for bound, count in zip([*bounds, float("inf")], counts, strict=True):
                below += count
                lines.append(f"{shown}_bucket{_labels((*tags, ('le', _number(bound))))} {below}")
            lines.append(f"{shown}_sum{_labels(tags)} {_number(total)}")
            lines.append(f"{shown}_count{_labels(tags)} {below}")
    return "".join(line + "\n" for line in lines)


def _labels(tags: Iterable[tuple[str, str]]) -> str:
    text = ",".join(f'{name}="{_escape(value, quotes=True)}"' for name, value in tags)
    return f"{{{text}}}" if text else ""


def _escape(text: str, *, quotes: bool) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
