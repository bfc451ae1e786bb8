"""`skate tune PATH`: the table of a study, from its journal; also while it runs, and after it was killed."""

from __future__ import annotations

import argparse
from pathlib import Path

from skate.cli import output
from skate.cli.failure import CommandError


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("path", help="the study's directory: RunConfig's storage_path/name")
    parser.add_argument("--metric", help="sort by it (default: that of the study)")
    parser.add_argument("--mode", choices=("min", "max"), help="which is best")
    parser.add_argument("--json", action="store_true", help="the trials instead of a table")


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from skate.tune.study import read_trials
    from skate.tune.table import render
    from skate.tune.tuner import read_settings

    directory = Path(arguments.path).expanduser().absolute()
    trials = read_trials(directory)
    if not trials:
        raise CommandError(f"there is no study in {directory}: it has no journal.jsonl with trials")
    if arguments.json:
        output.print_json([{"id": one.trial_id, "state": one.state, "config": one.config, "metrics": one.row} for one in trials])
        return 0
    metric, mode = read_settings(directory)
    seconds = max((float(one.row.get("time_total_s", 0)) for one in trials), default=0.0)
    Console().print(render(trials, len(trials), seconds, arguments.metric or metric, arguments.mode or mode))
    return 0
