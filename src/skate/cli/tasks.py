"""`skate tasks`, `skate errors` and `skate runs`: what ran, what failed, and the runs that are kept. Within 80 columns."""

from __future__ import annotations

import argparse
import time
from typing import Any

from skate.cli import output
from skate.cli.failure import CommandError
from skate.cli.run import add_run_argument, read_history

LIMIT = 30
_STATES = ("running", "finished", "FAILED", "cancelled")
_TRACEBACK_LINES = 10


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    if command == "tasks":
        parser.add_argument("query", nargs="*", help="such as: fn:train state:failed '>100ms' worker:3")
        parser.add_argument("--limit", "-n", type=int, default=LIMIT, help="the newest so many (default %(default)s; 0: all)")
    if command == "errors":
        parser.add_argument("--full", action="store_true", help="the whole traceback of each kind")
    if command != "runs":
        add_run_argument(parser)
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "tasks":
            return _tasks(arguments)
        case "errors":
            return _errors(arguments)
        case _:
            return _runs(arguments)


def _tasks(arguments: argparse.Namespace) -> int:
    from skate.dashboard.history import words
    from skate.dashboard.query import parse

    try:
        claim = parse(" ".join(arguments.query))
    except ValueError as error:
        raise CommandError(str(error), 2) from error
    run_file, history, _ = read_history(arguments.run)
    begin_us = float(run_file.record.get("started_s") or 0) * 1e6
    labelled = [
        (attempt, history.label(attempt.key)) for attempt in sorted(history.attempts.values(), key=lambda one: one.start_us)
    ]
    fits = [(attempt, label) for attempt, label in labelled if claim(attempt, label)]
    total = len(fits)
    if arguments.limit > 0:
        fits = fits[-arguments.limit :]
    if arguments.json:
        output.print_json([
            {
                "task": label, "owner": attempt.key[0], "number": attempt.key[1], "attempt": attempt.attempt + 1, "name": attempt.name,
                "state": _STATES[attempt.state].lower(), "worker": attempt.lane, "start_us": attempt.start_us,
                "duration_us": attempt.duration_us if attempt.end_us else None,
            }
            for attempt, label in fits
        ])  # fmt: skip
        return 0
    if not fits:
        print("no tasks" if not labelled else f"none of {len(labelled):,} attempts fits")
        return 0
    print(f"{'TASK':<34} {'STATE':<9} {'TRY':>3} {'WORKER':>6} {'AT':>10} {'TOOK':>9}")
    for attempt, label in fits:
        took = words(attempt.duration_us) if attempt.end_us else "…"
        print(
            f"{label if len(label) <= 34 else label[:16] + '…' + label[-17:]:<34} {_STATES[attempt.state]:<9} {attempt.attempt + 1:>3} {attempt.lane:>6}"
            f" {(attempt.start_us - begin_us) / 1e6:>8.3f} s {took:>9}"
        )
    if total > len(fits):
        print(f"(the newest {len(fits):,} of {total:,}; --limit 0 shows all)")
    return 0


def _errors(arguments: argparse.Namespace) -> int:
    from skate import run_format as f

    run_file, history, pointers = read_history(arguments.run)
    documents = [run_file.document(row) for row in pointers if row.kind == f.ERROR]
    groups = group_errors([document for document in documents if document])
    failed = sum(attempt.state == f.FAILED for attempt in history.attempts.values())
    if arguments.json:
        output.print_json({"failed_attempts": failed, "groups": groups})
        return 0
    if not failed:
        print("nothing has failed")
        return 0
    print(f"{failed:,} failed attempts, {len(groups)} kinds")
    for group in groups:
        first = group["first"]
        label = history.label((int(first["task"][8:16], 16), int(first["task"][16:], 16)))
        retried = ", retried" if first.get("is_retried") else ""
        print(
            f"\n{group['count']} × {group['name']} · {group['type']}{retried} · first: {label}, worker {first['worker']} (skate why {label})"
        )
        lines = str(first.get("traceback", "")).rstrip().split("\n")[1:]
        shown = lines if arguments.full or len(lines) <= _TRACEBACK_LINES else ["  …", *lines[-_TRACEBACK_LINES:]]
        print("\n".join(shown))
    return 0


def group_errors(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors of one function, type and place together; the most frequent first."""
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    for document in documents:
        frames = [line for line in str(document.get("traceback", "")).split("\n") if line.startswith('  File "')]
        key = (str(document.get("name")), str(document.get("type")), frames[-1] if frames else "")
        group = groups.setdefault(key, {"name": key[0], "type": key[1], "where": key[2].strip(), "count": 0, "first": document})
        group["count"] += 1
        group["last"] = document
    return sorted(groups.values(), key=lambda group: -int(group["count"]))


def _runs(arguments: argparse.Namespace) -> int:
    from skate.dashboard.runfile import list_runs, runs_folder

    rows: list[dict[str, Any]] = []
    for run_file in list_runs():
        record = run_file.record
        rows.append({
            "name": run_file.name, "started": record.get("started_s"), "is_live": run_file.is_live,
            "duration_s": (record.get("ended_s") or time.time()) - float(record.get("started_s") or 0) if record.get("ended_s") or run_file.is_live else None,
            "rows": record.get("rows"), "dropped": record.get("dropped"), "program": " ".join(map(str, record.get("argv") or ())), "path": run_file.path,
        })  # fmt: skip
    if arguments.json:
        output.print_json(rows)
        return 0
    if not rows:
        print(f"no run is kept in {runs_folder()}")
        return 0
    print(f"{'RUN':<24} {'STATE':<7} {'TOOK':>9}  PROGRAM")
    for row in rows:
        state = "live" if row["is_live"] else "over" if row["duration_s"] is not None else "killed"
        took = output.duration(row["duration_s"]) if row["duration_s"] is not None else ""
        print(f"{row['name'][:24]:<24} {state:<7} {took:>9}  {row['program'][:36]}")
    return 0
