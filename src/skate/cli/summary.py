"""`skate summary tasks|actors|objects`: how many there are, by name and state."""

from __future__ import annotations

import argparse
from typing import Any

from skate.cli import output
from skate.cli.link import add_session_argument, open_link
from skate.cli.listing import fetch_rows

_NAME = {"tasks": "func_or_class_name", "actors": "class_name", "objects": "state"}


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("kind", metavar="KIND", choices=list(_NAME), help=", ".join(_NAME))
    parser.add_argument("--json", action="store_true", help="for scripts")
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    with open_link(arguments.session) as link:
        rows = fetch_rows(link, arguments.kind)
    groups = summarize(rows, arguments.kind)
    if arguments.json:
        output.print_json(groups)
    else:
        columns = list(dict.fromkeys(column for group in groups for column in group))
        output.print_table(groups, columns, empty=f"no {arguments.kind}")
    return 0


def summarize(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """One group for each name, the largest first; of objects, one for each state, with their bytes."""
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = str(row.get(_NAME[kind]) or "unknown")
        if kind == "objects":
            group = groups.setdefault(name, {"state": name, "count": 0, "size_bytes": 0})
            group["size_bytes"] += row.get("size_bytes") or 0
        else:
            group = groups.setdefault(name, {"name": name, "count": 0})
            state = str(row.get("state") or "unknown").lower()
            group[state] = group.get(state, 0) + 1
            start_ms, end_ms = row.get("start_time_ms"), row.get("end_time_ms")
            if kind == "tasks" and start_ms and end_ms:
                group["total_ms"] = round(group.get("total_ms", 0.0) + end_ms - start_ms, 3)
        group["count"] += 1
    return sorted(groups.values(), key=lambda group: -group["count"])
