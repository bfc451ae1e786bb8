"""A run in the formats of other tools: Chrome trace events (https://ui.perfetto.dev) and OpenTelemetry spans (OTLP/JSON). Pure over what was read."""

from __future__ import annotations

import hashlib
from typing import Any

from skate import run_format as f
from skate.dashboard.history import Attempt, History
from skate.dashboard.runfile import RunFile


def trace_events(run: RunFile, history: History) -> list[dict[str, Any]]:
    """Chrome trace events, for https://ui.perfetto.dev: a row for each lane, arrows along arguments."""
    events: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": f"skate {run.name}"}}]
    for lane in sorted({attempt.lane for attempt in history.attempts.values()}):
        known = history.lanes.get(lane)
        events.append(
            {
                "name": "thread_name",
                "ph": "M",
                "pid": 1,
                "tid": lane,
                "args": {"name": f"worker {lane}" + (f" (pid {known.pid})" if known else "")},
            }
        )
    for attempt in history.attempts.values():
        event = {
            "name": attempt.name, "cat": ("", "task", "actor_creation", "actor_call")[attempt.kind], "pid": 1, "tid": attempt.lane, "ts": attempt.start_us,
            "args": {"task": history.label(attempt.key), "attempt": attempt.attempt + 1, "state": ("running", "finished", "failed", "cancelled")[attempt.state]},
        }  # fmt: skip
        event |= {"ph": "X", "dur": max(attempt.duration_us, 1)} if attempt.end_us else {"ph": "B"}
        if attempt.state in (f.FAILED, f.CANCELLED):
            event["cname"] = "terrible" if attempt.state == f.FAILED else "grey"
        events.append(event)
        for start_us, duration_us in history.blocked.get(attempt.key, ()):
            events.append(
                {
                    "name": "waits in get",
                    "cat": "wait",
                    "ph": "X",
                    "pid": 1,
                    "tid": attempt.lane,
                    "ts": start_us,
                    "dur": max(duration_us, 1),
                }
            )
    number = 0
    for key, deps in history.needs.items():
        taker = history.last.get(key)
        for dep in deps:
            maker = history.last.get(dep)
            if taker is None or maker is None or not maker.end_us:
                continue
            number += 1
            common = {"name": "argument", "cat": "argument", "id": number, "pid": 1}
            events.append(common | {"ph": "s", "tid": maker.lane, "ts": max(maker.start_us, maker.end_us - 1)})
            events.append(common | {"ph": "f", "bp": "e", "tid": taker.lane, "ts": max(taker.start_us, maker.end_us)})
    return events


Link = tuple[int, int, int]  # (owner, number, attempt)


def trace_id(run_name: str) -> str:
    """32 hex digits: the same for a run whenever it is sent."""
    return hashlib.sha256(run_name.encode()).hexdigest()[:32]


def program_span(run_name: str) -> str:
    """The id of the span of the whole program."""
    return hashlib.sha256(run_name.encode()).hexdigest()[32:48]


def span_id(owner: int, number: int, attempt: int) -> str:
    """16 hex digits, never all zero: owners count from 1."""
    return f"{owner & 0xFFFF:04x}{attempt & 0xFFFF:04x}{number & 0xFFFFFFFF:08x}"


def parent_of(history: History, attempt: Attempt) -> Link | None:
    """The attempt that submitted this one; None when the driver did."""
    submitted = history.submitted_us(attempt.key)
    if submitted is None:
        return None
    parent = history.ran_on(attempt.key[0], submitted)
    return (*parent.key, parent.attempt) if parent is not None and parent.key != attempt.key else None


def spans(run: RunFile, history: History) -> list[dict[str, Any]]:
    """OpenTelemetry spans as plain data (OTLP/JSON's `Span`): one for each attempt, below the one that submitted it, linked to the tasks that made its arguments."""
    trace = trace_id(run.name)
    found = []
    for (owner, number, tried), attempt in history.attempts.items():
        if not attempt.end_us:
            continue
        links = [
            {"traceId": trace, "spanId": span_id(*dep, history.last[dep].attempt)}
            for dep in history.needs.get((owner, number), ())
            if dep in history.last
        ]
        parent = parent_of(history, attempt)
        found.append({
            "traceId": trace, "spanId": span_id(owner, number, tried), "parentSpanId": span_id(*parent) if parent else "", "name": attempt.name, "kind": 1,
            "startTimeUnixNano": str(int(attempt.start_us * 1000)), "endTimeUnixNano": str(int(attempt.end_us * 1000)), "links": links,
            "status": {"code": 2 if attempt.state in (f.FAILED, f.CANCELLED) else 1},
            "attributes": [
                {"key": "skate.task", "value": {"stringValue": history.label(attempt.key)}}, {"key": "skate.worker", "value": {"intValue": str(attempt.lane)}},
                {"key": "skate.attempt", "value": {"intValue": str(tried + 1)}},
            ],
        })  # fmt: skip
    return found
