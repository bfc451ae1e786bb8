"""`skate trace`: a run for Perfetto, or as OpenTelemetry spans. It needs no running session."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from skate.cli.run import add_run_argument, read_history


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument(
        "-o", "--output", default=None, metavar="FILE", help="where to (default skate-trace-RUN.json; -: standard output)"
    )
    parser.add_argument(
        "--otlp", action="store_true", help="OpenTelemetry spans (OTLP/JSON), to be posted to a collector's /v1/traces"
    )
    add_run_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    from skate.dashboard.traces import spans, trace_events

    run_file, history, _ = read_history(arguments.run)
    document: Any
    if arguments.otlp:
        scope = {"scope": {"name": "skate"}, "spans": spans(run_file, history)}
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "skate"}}]}
        document = {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}
    else:
        document = trace_events(run_file, history)
    text = json.dumps(document, separators=(",", ":"))
    if arguments.output == "-":
        sys.stdout.write(text)
        return 0
    path = arguments.output or f"skate-trace-{run_file.name}.json"
    Path(path).write_text(text, encoding="utf-8")
    print(f"{path}: {len(text) / 1e6:.2f} MB" + ("" if arguments.otlp else "; open it at https://ui.perfetto.dev"))
    return 0
