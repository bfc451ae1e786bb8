"""A run as OpenTelemetry spans, to any exporter of the SDK: `pip install 'skate[otel]'`.

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    skate.dashboard.otel.export(OTLPSpanExporter())        # the newest run, or export(exporter, "name of a run")

One trace for each run: a span for the program, below it one for each attempt; the parent is the attempt that submitted it, links lead to the tasks
that made its arguments, and a failure is an event `exception` with the traceback. The spans are made of the run file afterwards, so tracing costs a running program
nothing. Called again it sends only what has ended since then: `Export` remembers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skate import run_format as f
from skate.dashboard.history import History
from skate.dashboard.runfile import RunFile, open_run
from skate.dashboard.traces import Link, parent_of, program_span, span_id, trace_id

if TYPE_CHECKING:
    from skate.dashboard.history import Attempt

BATCH = 512


def export(exporter: Any, run: str | None = None) -> int:
    """Send a run's attempts that have ended to an exporter; returns how many spans that were.

    Args:
        exporter: A `SpanExporter` of the OpenTelemetry SDK. It is neither flushed nor shut down here.
        run: A run's name, the beginning of it, or its path; the newest without.

    Raises:
        ImportError: The extra is missing.
        LookupError: There is no such run.
        RuntimeError: The exporter did not take a batch.
    """
    return Export(open_run(run)).send(exporter)


class Export:
    """One run on its way to an exporter: `send` again while the run goes on."""

    def __init__(self, run: RunFile) -> None:
        self._run = run
        self._history = History(run.names)
        self._errors: dict[tuple[int, int, int], dict[str, Any]] = {}
        self._sent: set[tuple[int, int, int]] = set()
        self._is_root_sent = False

    def send(self, exporter: Any) -> int:
        """What has ended since the last call; returns the number of spans."""
        try:
            from opentelemetry.sdk.trace.export import SpanExportResult
        except ImportError as error:
            raise ImportError("OpenTelemetry spans need its SDK: pip install 'skate[otel]'") from error
        self._read()
        fresh = [(key, attempt) for key, attempt in self._history.attempts.items() if attempt.end_us and key not in self._sent]
        fresh.sort(key=lambda pair: pair[1].start_us)
        spans = [self._span(attempt) for _, attempt in fresh]
        self._run.refresh_record()
        if self._run.record.get("ended_s") and not self._is_root_sent:
            self._is_root_sent = True
            spans.append(self._root())
        for start in range(0, len(spans), BATCH):
            if exporter.export(spans[start : start + BATCH]) is not SpanExportResult.SUCCESS:
                raise RuntimeError(f"the exporter {type(exporter).__name__} did not take spans {start:,} to {start + BATCH:,}")
        self._sent.update(key for key, _ in fresh)
        return len(spans)

    def _read(self) -> None:
        rows = list(self._run.rows())
        self._history.read(rows)
        for row in rows:
            if row.kind == f.ERROR:
                document = self._run.document(row)
                task = bytes.fromhex(str(document.get("task", "")))
                if len(task) == 16:
                    key = int.from_bytes(task[4:8], "big"), int.from_bytes(task[12:16], "big"), int(document.get("attempt", 0))
                    self._errors[key] = document

    def _context(self, identity: int) -> Any:
        from opentelemetry.trace import SpanContext, TraceFlags

        trace = int(trace_id(self._run.name), 16)
        return SpanContext(trace, identity, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def _context_of(self, link: Link) -> Any:
        return self._context(int(span_id(*link), 16))

    def _span(self, attempt: Attempt) -> Any:
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.trace import Link as OtelLink, SpanKind, Status, StatusCode

        history = self._history
        error = self._errors.get((*attempt.key, attempt.attempt))
        events = []
        if error:
            fields = {
                "exception.type": str(error.get("type", "")), "exception.message": str(error.get("message", "")),
                "exception.stacktrace": str(error.get("traceback", "")),
            }  # fmt: skip
            events.append(Event("exception", fields, timestamp=int(attempt.end_us * 1000)))
        needs = [history.last[dep] for dep in history.needs.get(attempt.key, ()) if dep in history.last]
        parent = parent_of(history, attempt)
        code = StatusCode.ERROR if attempt.state in (f.FAILED, f.CANCELLED) else StatusCode.OK
        return ReadableSpan(
            attempt.name,
            context=self._context_of((*attempt.key, attempt.attempt)),
            parent=self._context_of(parent) if parent is not None else self._context(int(program_span(self._run.name), 16)),
            resource=self._resource(),
            attributes={
                "skate.task": history.label(attempt.key), "skate.worker": attempt.lane, "skate.attempt": attempt.attempt + 1,
                "skate.kind": ("", "task", "actor creation", "actor call")[attempt.kind],
            },
            events=events,
            links=[OtelLink(self._context_of((*made.key, made.attempt))) for made in needs],
            kind=SpanKind.INTERNAL,
            status=Status(code, str(error.get("message", "")) if error else None),
            start_time=int(attempt.start_us * 1000),
            end_time=int(attempt.end_us * 1000),
        )  # fmt: skip

    def _root(self) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan

        record = self._run.record
        return ReadableSpan(
            " ".join(str(word) for word in record.get("argv") or ()) or "skate",
            self._context(int(program_span(self._run.name), 16)),
            resource=self._resource(),
            attributes={"skate.end": str(record.get("end", ""))},
            start_time=int(float(record.get("started_s") or 0) * 1e9),
            end_time=int(float(record["ended_s"]) * 1e9),
        )

    def _resource(self) -> Any:
        from opentelemetry.sdk.resources import Resource

        return Resource({"service.name": "skate", "service.instance.id": self._run.name})
