"""`skate kill-actor`: end one actor, by name or id."""

from __future__ import annotations

import argparse

from skate.cli.failure import CommandError
from skate.cli.link import add_session_argument, open_link
from skate.cli.listing import fetch_rows


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("actor", help="its name, or its id or the beginning of that (`skate list actors`)")
    parser.add_argument("--namespace", default=None, help="where names alone are not unique")
    parser.add_argument("--restart", action="store_true", help="let it start again, if it has restarts left")
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    with open_link(arguments.session) as link:
        rows = [
            row
            for row in fetch_rows(link, "actors")
            if row["state"] != "DEAD"
            and (row["actor_id"].startswith(arguments.actor) or row.get("name") == arguments.actor)
            and arguments.namespace in (None, row.get("ray_namespace"))
        ]
        if not rows:
            raise CommandError(
                f"no living actor is called {arguments.actor}, and no id begins like this; see `skate list actors`"
            )
        if len(rows) > 1:
            raise CommandError(f"{arguments.actor} fits {len(rows)} actors: give the whole id, or --namespace", 2)
        link.kill_actor(bytes.fromhex(rows[0]["actor_id"]), no_restart=not arguments.restart)
    print(f"killed {rows[0]['class_name']} {rows[0]['actor_id']}")
    return 0
