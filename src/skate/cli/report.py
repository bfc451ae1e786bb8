"""`skate report`: a run as one HTML file."""

from __future__ import annotations

import argparse
import os

from skate.cli.failure import CommandError


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument(
        "run", nargs="?", default=None, help="its name, the beginning of it, or its directory (default: the newest)"
    )
    parser.add_argument("-o", "--output", default=None, metavar="FILE", help="where to (default skate-<run>.html)")


def run(arguments: argparse.Namespace) -> int:
    from skate.dashboard.report import make_report
    from skate.dashboard.runfile import open_run

    try:
        found = open_run(arguments.run)
        page = make_report(found.path)
    except (LookupError, OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    path = arguments.output or f"skate-{found.name}.html"
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)
    print(f"{path}: {os.path.getsize(path) / 1e6:.2f} MB; open it in any browser")
    return 0
