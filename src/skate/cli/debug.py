"""`skate debug TASK`: a failed task again, here, under pdb: at the line that fails, with its variables."""

from __future__ import annotations

import argparse
import sys
from types import TracebackType

from skate.cli.failure import CommandError
from skate.cli.run import add_run_argument, read_history, task_key


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("task", help="its label (prep-7), its id, or a function: its failed task")
    parser.add_argument("--step", action="store_true", help="stop at the first line of the function instead of where it fails")
    add_run_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    from skate.reproduce import load

    run_file, history, _ = read_history(arguments.run)
    key = task_key(history, arguments.task)
    label = history.label(key)
    try:
        task = load(run_file.path, *key)
    except (LookupError, PermissionError) as error:
        raise CommandError(f"{label} can't be run again: {error}") from error
    import pdb  # It is what this command is for.

    print(f"running {label} again here; q leaves the debugger", file=sys.stderr)
    if arguments.step:
        pdb.Pdb().runcall(task.function, *task.args, **task.kwargs)
        return 0
    try:
        value = task.run()
    except Exception as error:
        import traceback

        shown = error.with_traceback(_below_us(error.__traceback__))
        traceback.print_exception(shown)
        pdb.post_mortem(shown.__traceback__)
        return 1
    print(f"it did not fail here: it returned {value!r}"[:2000])
    return 0


def _below_us(trace: TracebackType | None) -> TracebackType | None:
    """Without the frames of this command and of FailedTask.run."""
    below = trace
    for _ in range(2):
        if below is not None and below.tb_next is not None:
            below = below.tb_next
    return below
