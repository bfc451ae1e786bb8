"""`skate metrics`: what the program counted with `skate.util.metrics`, summed over all processes."""

from __future__ import annotations

import argparse

from skate.cli import output
from skate.cli.link import add_session_argument, open_link


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("--json", action="store_true", help="the rows instead of Prometheus text")
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    with open_link(arguments.session) as link:
        rows = link.query("metrics") or []
    if arguments.json:
        output.print_json([dict(zip(("kind", "name", "description", "tags", "value"), row, strict=True)) for row in rows])
    else:
        from skate.metrics import prometheus_text

        print(prometheus_text(rows), end="")
    return 0
