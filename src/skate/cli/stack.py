"""`skate stack`: the Python stacks of every worker, now."""

from __future__ import annotations

import argparse

from skate.cli import output
from skate.cli.failure import CommandError
from skate.cli.link import add_session_argument, open_link


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("pid", nargs="?", type=int, help="of one worker; all without")
    parser.add_argument("--json", action="store_true", help="for scripts: {pid: text}")
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    with open_link(arguments.session) as link:
        stacks = link.query("stacks", {} if arguments.pid is None else {"pid": arguments.pid}) or {}
    if arguments.pid is not None and not stacks:
        raise CommandError(f"there is no worker with pid {arguments.pid}; see `skate list workers`")
    if arguments.json:
        output.print_json(stacks)
    elif not stacks:
        print("no workers")
    else:
        print("\n".join(f"── worker pid {pid}\n{text.rstrip()}\n" for pid, text in stacks.items()), end="")
    return 0
