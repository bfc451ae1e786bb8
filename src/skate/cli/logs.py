"""`skate logs`: what workers printed. The node keeps the last lines of each, also of those that have ended."""

from __future__ import annotations

import argparse

from skate.cli import output
from skate.cli.failure import CommandError
from skate.cli.link import add_session_argument, open_link


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("pid", nargs="?", type=int, help="of one worker (`skate list workers`); all without")
    parser.add_argument("--tail", "-n", type=int, default=None, metavar="LINES", help="only the last lines of each")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what is printed from now on, until Ctrl-C")
    parser.add_argument("--node", action="store_true", help="the node process's own log instead")
    parser.add_argument("--json", action="store_true", help="for scripts: {pid: [line, …]}")
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    with open_link(arguments.session) as link:
        if arguments.node:
            return _print_node_log(link.query("session")["session_dir"], arguments.tail)
        params = {key: value for key, value in (("pid", arguments.pid), ("tail", arguments.tail)) if value is not None}
        logs: dict[int, list[str]] = {int(pid): lines for pid, lines in (link.query("logs", params) or {}).items()}
        if arguments.pid is not None and arguments.pid not in logs:
            raise CommandError(f"nothing is known of a worker {arguments.pid}; `skate logs` shows all that printed something")
        if arguments.json:
            output.print_json(logs)
            return 0
        for pid, lines in logs.items():
            for line in lines:
                print(line if arguments.pid is not None else f"(pid={pid}) {line}")
        if arguments.follow:
            for message in link.follow_logs():
                if arguments.pid is None or message.pid == arguments.pid:
                    label = f"{message.label} " if message.label else ""
                    for line in message.lines:
                        print(f"({label}pid={message.pid}) {line}", flush=True)
    return 0


def _print_node_log(directory: str, tail: int | None) -> int:
    try:
        with open(f"{directory}/node.log", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError as error:
        raise CommandError(f"cannot read the node's log: {error}") from error
    print("".join(lines if tail is None else lines[-tail:]), end="")
    return 0
