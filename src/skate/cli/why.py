"""`skate why TASK` and `skate explain`: why a task ended when it did, and what a run's time went into."""

from __future__ import annotations

import argparse

from skate.cli import output
from skate.cli.run import add_run_argument, read_history, task_key

_FUNCTIONS_SHOWN = 8
_NAME_WIDTH = 28


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    if command == "why":
        parser.add_argument(
            "task", help="its label (prep-7), its id or the beginning of it, or a function: its failed or slowest task"
        )
    add_run_argument(parser)
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(arguments: argparse.Namespace) -> int:
    return _why(arguments) if arguments.command == "why" else _explain(arguments)


def _why(arguments: argparse.Namespace) -> int:
    from skate.dashboard.why import as_rows, explain_task, verdict

    _, history, _ = read_history(arguments.run)
    steps = explain_task(history, task_key(history, arguments.task))
    if arguments.json:
        output.print_json({"steps": as_rows(steps), "verdict": verdict(steps)})
        return 0
    for position, step in enumerate(steps):
        print(("" if not position else "  before that: ") + step.text)
    if sentence := verdict(steps):
        print(f"\n{sentence}")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from skate.dashboard.explain import summarize
    from skate.dashboard.history import words

    run_file, history, _ = read_history(arguments.run)
    summary = summarize(history, float(run_file.record.get("num_cpus") or 0))
    if arguments.json:
        output.print_json(summary.as_dict())
        return 0
    state = "still running" if run_file.is_live else "over"
    print(
        f"run {run_file.name} ({state}): {summary.tasks:,} attempts in {words(summary.wall_us)} on {summary.workers} workers, {summary.cores:g} cores"
    )
    if not summary.tasks:
        return 0
    print(
        f"  parallel efficiency   {summary.efficiency:.0%}   (work of {words(summary.work_us)} in {words(summary.wall_us)} × {summary.cores:g} cores)"
    )
    print(f"  per task besides work {words(summary.overhead_us)}")
    if summary.waited_us:
        print(f"  tasks waited in get   {words(summary.waited_us)}")
    print(f"\n  {'function':<{_NAME_WIDTH}} {'count':>8} {'mean':>8} {'p99':>8} {'share':>6} {'failed':>6}")
    for function in summary.functions[:_FUNCTIONS_SHOWN]:
        print(
            f"  {function.name[:_NAME_WIDTH]:<{_NAME_WIDTH}} {function.count:>8,} {words(function.mean_us):>8} {words(function.p99_us):>8}"
            f" {function.share:>6.0%} {function.failed or '':>6}"
        )
    if len(summary.functions) > _FUNCTIONS_SHOWN:
        print(f"  … and {len(summary.functions) - _FUNCTIONS_SHOWN} more (--json has all)")
    if summary.speedups:
        print(
            "\n  as fast, by replaying the recorded tasks: "
            + ", ".join(f"{count} workers {times:.2g}×" for count, times in summary.speedups)
        )
    print()
    for line in summary.advice:
        print(f"* {line}")
    return 0
