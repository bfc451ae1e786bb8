"""`skate timeline`: the task events of a session as a Chrome trace."""

from __future__ import annotations

import argparse
import json
import sys
import time

from skate.cli.link import add_session_argument, open_link


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument(
        "-o", "--output", default=None, metavar="FILE", help="where to (default skate-timeline-<time>.json; -: standard output)"
    )
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    from skate.timeline import chrome_events

    with open_link(arguments.session) as link:
        rows = link.query("timeline") or []
        is_ready = bool(rows) and isinstance(rows[0], dict) and "ph" in rows[0]  # A Ray cluster's.
        events = rows if is_ready else list(chrome_events(rows, link.query("workers") or []))
    if arguments.output == "-":
        json.dump(events, sys.stdout)
        return 0
    path = arguments.output or time.strftime("skate-timeline-%Y%m%d-%H%M%S.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(events, file, separators=(",", ":"))
    boxes = sum(event["ph"] in "XB" for event in events)
    print(f"{path}: {boxes:,} attempts; open it at https://ui.perfetto.dev")
    return 0
