"""The entry of the `skate` command: finds the subcommand's module and runs it.

Only the module of the command that was asked for is imported: `skate status` has to answer at once. Each has
`add_arguments(parser, command)` and `run(arguments) -> int`, where the result is the exit status.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from skate.cli.failure import CommandError

COMMANDS = {  # command → (module, what it does)
    "status": ("status", "the running session: resources, workers, tasks, memory"),
    "list": ("listing", "tasks, actors, objects, workers, nodes, placement-groups or jobs"),
    "get": ("listing", "everything known about one of them"),
    "summary": ("summary", "how many tasks, actors or objects there are, by name and state"),
    "timeline": ("timeline", "write what ran where and when, for https://ui.perfetto.dev"),
    "memory": ("memory", "what the object store and the processes hold"),
    "logs": ("logs", "what workers printed"),
    "stack": ("stack", "where every worker is, as Python stacks"),
    "metrics": ("metrics", "counters, gauges and histograms, in Prometheus text format"),
    "ui": ("ui", "the web UI: what runs now, or a run that has ended"),
    "report": ("report", "a run as one HTML file that needs nothing else"),
    "top": ("top", "what every worker does, live"),
    "tasks": ("tasks", "what ran: skate tasks fn:train state:failed '>100ms'"),
    "errors": ("tasks", "what failed, grouped, with tracebacks"),
    "actors": ("listing", "actors, with short ids"),
    "objects": ("listing", "objects in the store, with short ids"),
    "why": ("why", "why a task ended when it did: the critical path in words"),
    "debug": ("debug", "run a failed task again here, under pdb"),
    "explain": ("why", "what the time of a run went into, and what would make it faster"),
    "runs": ("tasks", "the runs that are kept"),
    "trace": ("trace", "a run for https://ui.perfetto.dev, or as OpenTelemetry spans"),
    "kill-actor": ("kill_actor", "end an actor"),
    "start": ("life", 'keep a session alive, for drivers that call skate.init(address="auto")'),
    "stop": ("life", "end sessions"),
    "microbenchmark": ("microbenchmark", "the rows of Ray's microbenchmark, on this machine"),
    "tune": ("tune", "the table of a study of skate.tune, running or not"),
    "rl": ("rl", "reinforcement learning: train, eval, play"),
    "demo": ("demo", "analyse all installed Python source, serially and on every core"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in words if not word.startswith("-")), "")
    parser = argparse.ArgumentParser(
        prog="skate",
        description="Look at running sessions of this user, keep one alive, or see the engine at work.",
        epilog="`skate COMMAND --help` tells the rest.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command, (module, text) in COMMANDS.items():
        subparser = subparsers.add_parser(command, help=text, description=text[0].upper() + text[1:] + ".")
        if command == name:
            import_module(f"skate.cli.{module}").add_arguments(subparser, command)
    arguments = parser.parse_args(words)
    if arguments.version:
        import skate

        print(f"skate {skate.__version__}")
        return 0
    if not arguments.command:
        parser.print_help()
        return 2
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        status: int = import_module(f"skate.cli.{COMMANDS[arguments.command][0]}").run(arguments)
        sys.stdout.flush()
        return status
    except CommandError as error:
        print(f"skate {arguments.command}: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `skate list tasks | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
