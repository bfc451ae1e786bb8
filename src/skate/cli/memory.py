"""`skate memory`: what the object store holds, and how much memory each process has."""

from __future__ import annotations

import argparse
from typing import Any

from skate.cli import output
from skate.cli.link import add_session_argument, open_link
from skate.cli.status import store_line

OBJECTS_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument(
        "--limit", "-n", type=int, default=OBJECTS_SHOWN, help="so many objects, the largest (default %(default)s)"
    )
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    with open_link(arguments.session) as link:
        session, summary = link.query("session"), link.query("summary")
        workers, objects = link.query("workers") or [], link.query("objects") or []
    processes = [
        _process("node", session["pid"], ""),
        *(_process("worker", row["pid"], row["state"]) for row in workers if row["pid"]),
    ]
    if session.get("is_embedded") and session.get("driver_pid"):
        processes.insert(0, _process("driver", session["driver_pid"], ""))
    largest = sorted(objects, key=lambda row: -(row.get("size_bytes") or 0))[: arguments.limit]
    if arguments.json:
        output.print_json({"store": summary["objects"], "processes": processes, "objects": largest})
        return 0
    print(f"the store holds {store_line(summary['objects'])}\n")
    output.print_table(largest, ["object_id", "size_bytes", "state", "reference_count", "owner"], empty="no objects in the store")
    if len(objects) > len(largest):
        print(f"(the largest {len(largest)} of {len(objects):,})")
    print()
    output.print_table(processes, ["process", "pid", "state", "pss_bytes", "rss_bytes"], empty="no processes")
    print(
        f"together {output.size(sum(row['pss_bytes'] or 0 for row in processes))} (pss: pages shared by several processes are divided among them)"
    )
    return 0


def _process(kind: str, pid: int, state: str) -> dict[str, Any]:
    return {"process": kind, "pid": pid, "state": state, "pss_bytes": _smaps(pid, "Pss:"), "rss_bytes": _smaps(pid, "Rss:")}


def _smaps(pid: int, field: str) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(field)), None)
    except OSError:
        return None  # It has ended.
