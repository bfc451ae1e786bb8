"""The run a command is about: the newest, or the one that `--run` names. Runs are files: they can be looked at while they go on, and afterwards."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from skate.cli.failure import NO_SESSION, CommandError

if TYPE_CHECKING:
    from skate.dashboard.history import History
    from skate.dashboard.runfile import RunFile
    from skate.run_format import Row


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="NAME", default=None, help="which run (`skate runs`); the newest without")


def open_run_file(name: str | None) -> RunFile:
    from skate.dashboard.runfile import open_run

    try:
        return open_run(name)
    except (LookupError, ValueError, OSError) as error:
        raise CommandError(str(error), NO_SESSION) from error


def read_history(name: str | None) -> tuple[RunFile, History, list[Row]]:
    """(the run, what happened, its rows that point to lines, errors and documents)."""
    from skate import run_format as f
    from skate.dashboard.history import History

    run = open_run_file(name)
    history = History(run.names)
    pointers: list[Row] = []
    while delta := run.tail(8 * 1024 * 1024):
        rows = list(delta)
        history.read(rows)
        pointers += [row for row in rows if row.kind in (f.LOG, f.DOCUMENT, f.ERROR)]
    return run, history, pointers


def task_key(history: History, text: str) -> Any:
    try:
        return history.find(text)
    except LookupError as error:
        raise CommandError(str(error), 2) from error
