"""`skate status`: the running session on one screen."""

from __future__ import annotations

import argparse
import os
from typing import Any

from skate.cli import output
from skate.cli.link import Link, add_session_argument, open_link, running_sessions


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    add_session_argument(parser)
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--all", action="store_true", help="every session of this user, one line each")


def run(arguments: argparse.Namespace) -> int:
    if arguments.all:
        return _list_sessions(as_json=arguments.json)
    with open_link(arguments.session) as link:
        status = gather(link)
    if arguments.json:
        output.print_json(status)
    else:
        print_status(status)
    return 0


def gather(link: Link) -> dict[str, Any]:
    status: dict[str, Any] = link.query("summary")
    status["placement_groups"] = link.query("placement_groups")
    return status


def print_status(status: dict[str, Any]) -> None:
    session = status["session"]
    if session.get("is_ray"):
        print(f"{session['name']}, seen by skate {session['version']}, Python {session['python']}")
        print(f"\nnodes      {output.counts(status['nodes'])}")
    else:
        _print_session(session)
    _print_resources(status)


def _print_session(session: dict[str, Any]) -> None:
    kind = f"of process {session['driver_pid']}" if session.get("is_embedded") else "kept alive by skate start"
    print(
        f"session {session['name']}, {kind}, up {output.duration(session['uptime_s'])}"
        f" (skate {session['version']}, Python {session['python']}, node process {session['pid']})"
    )


def _print_resources(status: dict[str, Any]) -> None:
    session = status["session"]
    total, available = status["resources"]["total"], status["resources"]["available"]
    print("\nresources")
    for name in sorted(total, key=lambda name: (name not in ("CPU", "GPU", "memory"), name)):
        if name.startswith("node:"):
            continue  # Ray's way to name a machine as a resource; there is one.
        used = total[name] - available.get(name, 0)
        show = output.size if name in ("memory", "object_store_memory") else _number
        print(f"  {name:<20} {show(used)} of {show(total[name])} in use")
    print()
    if not session.get("is_ray"):
        print(f"workers    {output.counts(status['workers'])}")
    print(f"actors     {output.counts(status['actors'])}")
    print(f"drivers    {output.counts(status['jobs'])}")
    if session.get("is_ray"):
        print(f"store      {output.size(status['objects']['used_bytes'])} of {output.size(status['objects']['capacity_bytes'])}")
    else:
        print(f"attempts   {session['task_events']:,} on record" + _dropped(session))
        print(f"store      {store_line(status['objects'])}")
    if status["placement_groups"]:
        print(f"placement groups  {output.counts(_by_state(status['placement_groups']))}")
    if status["demand"]:
        print("\nwaits for resources")
        for row in status["demand"]:
            wants = output.cell(row["resources"]) if row["resources"] else "its bundles"
            never = "" if row["is_feasible"] else "  (more than this session has: it can never start)"
            print(f"  {row['count']:,} × {row['kind'].replace('_', ' ')} {row['name'] or ''} needs {wants}{never}")


def store_line(summary: dict[str, Any]) -> str:
    """The object store in one line, from its summary."""
    text = f"{summary['objects']:,} {'object' if summary['objects'] == 1 else 'objects'}, {output.size(summary['used_bytes'])} of {output.size(summary['capacity_bytes'])}"
    if summary.get("pinned_bytes"):
        text += f", {output.size(summary['pinned_bytes'])} pinned"
    if summary.get("spilled_objects"):
        text += f"; {summary['spilled_objects']:,} spilled to disk, {output.size(summary['spilled_bytes'])}"
    if waiting := summary.get("waiting_creations"):
        text += f"; {waiting:,} wait for room"
    return text


def _list_sessions(*, as_json: bool) -> int:
    sessions = running_sessions()
    if as_json:
        output.print_json(sessions)
    else:
        output.print_table(
            sessions,
            ["name", "pid", "driver_pid", "started_time", "num_cpus", "is_embedded"],
            empty=f"user {os.getuid()} runs no session",
        )
    return 0


def _by_state(rows: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    return counts


def _dropped(session: dict[str, Any]) -> str:
    return f" ({session['task_events_dropped']:,} older ones were dropped)" if session.get("task_events_dropped") else ""


def _number(value: float) -> str:
    return f"{value:g}"
