"""`skate list KIND` and `skate get KIND ID`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from skate.cli import output
from skate.cli.failure import CommandError
from skate.cli.link import Link, add_session_argument, open_link

LIMIT = 100

_COLUMNS = {  # kind → (what is shown, what is added by --detail)
    "tasks": (
        ["task_id", "name", "type", "state", "worker_pid", "attempt_number", "error_type"],
        ["start_time_ms", "end_time_ms", "actor_id", "job_id", "parent_task_id", "error_message"],
    ),
    "actors": (
        ["actor_id", "class_name", "name", "state", "pid", "num_restarts"],
        ["ray_namespace", "is_detached", "job_id", "node_id", "death_cause"],
    ),
    "objects": (["object_id", "size_bytes", "state", "reference_count"], ["owner", "holders", "pins", "is_spilled"]),
    "workers": (["worker_id", "pid", "state", "job_id", "rss_bytes"], ["node_id", "start_time_ms"]),
    "nodes": (["node_id", "state", "is_head_node", "resources_total"], ["labels"]),
    "placement-groups": (["placement_group_id", "name", "state", "strategy", "bundles"], []),
    "jobs": (["job_id", "pid", "status", "start_time", "namespace", "entrypoint"], ["name", "end_time"]),
}
_ID_COLUMNS = {
    "tasks": "task_id", "actors": "actor_id", "objects": "object_id", "workers": "worker_id", "nodes": "node_id",
    "placement-groups": "placement_group_id", "jobs": "job_id",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    kinds = list(_COLUMNS)
    if command in _COLUMNS:  # `skate actors`: short for `skate list actors`.
        parser.set_defaults(kind=command)
    elif command == "get":
        # Ray's users write `ray get tasks ID` and `ray get actors ID`; one thing is as often asked for in the singular.
        parser.add_argument("kind", metavar="KIND", choices=[*kinds, *(kind[:-1] for kind in kinds)], help=", ".join(kinds))
        parser.add_argument("id", help="its id, or the beginning of it; an actor's name does too")
    else:
        parser.add_argument("kind", metavar="KIND", choices=kinds, help=", ".join(kinds))
    if command != "get":
        parser.add_argument(
            "--filter", "-f", action="append", default=[], metavar="COLUMN=VALUE", help="or COLUMN!=VALUE; all must hold"
        )
        parser.add_argument(
            "--limit", "-n", type=int, default=LIMIT, help="at most so many rows, the newest (default %(default)s; 0: all)"
        )
        parser.add_argument("--detail", action="store_true", help="more columns")
    parser.add_argument("--json", action="store_true", help="for scripts: every column")
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    return _get(arguments) if arguments.command == "get" else _list(arguments)


def fetch_rows(link: Link, kind: str, limit: int = 0) -> list[dict[str, Any]]:
    """All rows of a kind; the newest `limit` of tasks, when that is not 0."""
    params = {"limit": limit} if limit and kind == "tasks" else {}
    rows: list[dict[str, Any]] = link.query(kind.replace("-", "_"), params) or []
    return rows


def _list(arguments: argparse.Namespace) -> int:
    claims = [_claim(text) for text in arguments.filter]
    with open_link(arguments.session) as link:
        rows = fetch_rows(link, arguments.kind, 0 if claims else arguments.limit)
    known = {column for row in rows for column in row}
    for column, _holds in claims:
        if rows and column not in known:
            raise CommandError(f"{arguments.kind} have no column {column!r}; there are: {', '.join(sorted(known))}", 2)
    rows = [row for row in rows if all(holds(row.get(column)) for column, holds in claims)]
    total = len(rows)
    if arguments.limit > 0:
        rows = rows[-arguments.limit :]
    if arguments.json:
        output.print_json(rows)
        return 0
    shown, more = _COLUMNS[arguments.kind]
    if arguments.command in _COLUMNS and not arguments.detail:
        rows = [shortened(row) for row in rows]
    output.print_table(rows, [*shown, *more] if arguments.detail else shown, empty=f"no {arguments.kind.replace('-', ' ')}")
    if total > len(rows) or (arguments.kind == "tasks" and not claims and 0 < arguments.limit <= len(rows)):
        print(f"(the newest {len(rows):,}; --limit 0 shows all)")
    return 0


def shortened(row: dict[str, Any]) -> dict[str, Any]:
    """With ids as short as people need them: who made it, and its number. `skate get` takes whole ids."""
    short = dict(row)
    for column in _ID_COLUMNS.values():
        value = row.get(column)
        if isinstance(value, str) and len(value) >= 32:
            index = f".{int(value[32:40], 16)}" if len(value) >= 40 else ""
            short[column] = f"{int(value[8:16], 16)}-{int(value[16:32], 16)}{index}"
    return short


def _get(arguments: argparse.Namespace) -> int:
    kind = arguments.kind if arguments.kind.endswith("s") else arguments.kind + "s"
    column = _ID_COLUMNS[kind]
    with open_link(arguments.session) as link:
        rows = [
            row
            for row in fetch_rows(link, kind)
            if str(row.get(column, "")).startswith(arguments.id) or (kind == "actors" and row.get("name") == arguments.id)
        ]
    if not rows:
        raise CommandError(f"there is no {kind[:-1]} {arguments.id}; `skate list {kind}` shows those there are")
    if len({row[column] for row in rows}) > 1:
        raise CommandError(f"{arguments.id} begins the ids of {len(rows)} {kind}: write more of it", 2)
    if arguments.json:
        output.print_json(rows)
        return 0
    for position, row in enumerate(rows):  # A task has a row for each attempt.
        if position:
            print()
        width = max(map(len, row))
        for name, value in row.items():
            print(f"{name:<{width}}  {value if name == 'error_message' else output.cell(value, name)}")
    return 0


def _claim(text: str) -> tuple[str, Callable[[Any], bool]]:
    column, sign, value = text.partition("!=") if "!=" in text else text.partition("=")
    if not sign or not column:
        raise CommandError(f"--filter {text!r}: write COLUMN=VALUE or COLUMN!=VALUE, such as state=RUNNING", 2)
    is_negated = sign == "!="

    def holds(actual: Any) -> bool:
        return (_text(actual) == value.lower()) is not is_negated

    return column, holds


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower()
