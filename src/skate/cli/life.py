"""`skate start`: a session that outlives the programs that use it. `skate stop`: the end of sessions."""

from __future__ import annotations

import argparse
import json
from typing import Any

from skate.cli import output
from skate.cli.failure import NO_SESSION, CommandError
from skate.cli.link import choose, describe, open_link

STOP_WITHIN_S = 10.0
_MB = 1_000_000


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    if command == "stop":
        parser.add_argument("--session", metavar="NAME", default=None, help="which one (default: the one that skate start keeps)")
        parser.add_argument("--all", action="store_true", help="every session of this user, also those of running programs")
        return
    parser.add_argument("--name", default="", help="to join it by: skate.init(address=NAME)")
    parser.add_argument("--num-cpus", type=float, default=None, help="default: what this machine or container has")
    parser.add_argument("--num-gpus", type=float, default=None, help="default: what is found")
    parser.add_argument("--resources", default=None, metavar="JSON", help="""others, such as '{"licence": 1}'""")
    parser.add_argument(
        "--object-store-memory", type=_bytes, default=None, metavar="BYTES", help="such as 2000000000, 2GB or 500MB"
    )
    parser.add_argument("--json", action="store_true", help="for scripts: the session's record")


def run(arguments: argparse.Namespace) -> int:
    return _stop(arguments) if arguments.command == "stop" else _start(arguments)


def _start(arguments: argparse.Namespace) -> int:
    import msgspec

    from skate.engine.driver.connect import START_WITHIN_S, greet, make_hello
    from skate.engine.driver.launch import spawn_node
    from skate.engine.driver.sessions import find_session, sweep_stale
    from skate.engine.spec.messages import Goodbye
    from skate.engine.transport.channel import Channel

    if "/" in arguments.name or arguments.name in (".", "..", "auto", "local", "inline", "ray"):
        raise CommandError(f"a session cannot be called {arguments.name!r}", 2)
    settings: dict[str, Any] = {
        key: value
        for key, value in (
            ("num_cpus", arguments.num_cpus),
            ("num_gpus", arguments.num_gpus),
            ("resources", _resources(arguments.resources)),
            ("object_store_bytes", arguments.object_store_memory),
        )
        if value is not None
    }
    sweep_stale()
    try:
        node = spawn_node(settings, name=arguments.name, is_embedded=False)
    except FileExistsError as error:
        raise CommandError(str(error)) from error
    channel = Channel(node.sock)
    try:
        greet(channel, make_hello("observer"), START_WITHIN_S, node.describe_death)
        session = find_session(node.directory)
    except (ConnectionError, RuntimeError) as error:
        channel.close()
        node.end(0)
        raise CommandError(str(error)) from error
    channel.send(msgspec.msgpack.encode(Goodbye(shutdown=False)))
    channel.close()
    if arguments.json:
        output.print_json({**session.record, "directory": session.directory})
        return 0
    print(
        f"session {session.name} is running with {session.record['num_cpus']:g} CPUs (process {node.pid})\n"
        f'join it:  skate.init(address="auto")   or   skate.init(address="{session.name}")\n'
        f"look:     skate status --session {session.name}\n"
        f"end it:   skate stop --session {session.name}"
    )
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    from skate.engine.driver.sessions import list_sessions

    sessions = list_sessions()
    if arguments.all:
        chosen = sessions
    elif arguments.session is not None:
        chosen = [choose(sessions, arguments.session)]
    else:
        # A session of a running program ends with that program: it is not stopped by accident.
        kept = [session for session in sessions if not session.is_embedded]
        if not kept and sessions:
            lines = "".join(f"\n  {session.name}   {describe(session)}" for session in sessions)
            raise CommandError(f"what runs ends with its program; to end it now, say --session NAME or --all:{lines}", 2)
        chosen = [choose(kept, None)] if kept else []
    if not chosen:
        raise CommandError("no session of yours is running", NO_SESSION)
    status = 0
    for session in chosen:
        try:
            with open_link(session.name) as link:
                is_gone = link.stop_session(STOP_WITHIN_S)
        except CommandError:
            is_gone = True  # It ended by itself meanwhile.
        print(
            f"stopped {session.name}"
            if is_gone
            else f"{session.name} has not ended within {STOP_WITHIN_S:g} s (process {session.pid})"
        )
        status = status if is_gone else 1
    return status


def _resources(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    try:
        amounts = json.loads(text)
        return {str(name): float(amount) for name, amount in amounts.items()}
    except (ValueError, TypeError, AttributeError):
        raise CommandError(f"""--resources {text!r}: write JSON such as '{{"licence": 1}}'""", 2) from None


def _bytes(text: str) -> int:
    """Bytes with or without a unit."""
    units = {"": 1, "K": 1000, "M": _MB, "G": 1000 * _MB, "T": 1000**2 * _MB}
    number = text.strip().upper().removesuffix("B").strip()
    unit = number[-1:] if number[-1:] in "KMGT" else ""
    try:
        return int(float(number.removesuffix(unit) if unit else number) * units[unit])
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of bytes: write 2000000000, 2GB or 500MB") from None
