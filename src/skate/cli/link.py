"""The session a command is about: found by itself, or by its name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from skate.cli.failure import NO_SESSION, CommandError
from skate.engine.driver.connect import Observer, connect_observer
from skate.engine.driver.sessions import Session, list_sessions

if TYPE_CHECKING:
    from skate.engine.spec.messages import LogLines


class Link:
    """A connection to a session that only looks. What goes wrong with it is a `CommandError`."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def query(self, what: str, params: Mapping[str, Any] | None = None) -> Any:
        """The node's answer, as plain data."""
        try:
            return self._observer.query(what, params)
        except (ConnectionError, ValueError) as error:
            raise CommandError(str(error)) from error

    def kill_actor(self, actor: bytes, *, no_restart: bool) -> None:
        try:
            self._observer.kill_actor(actor, no_restart=no_restart)
        except ConnectionError as error:
            raise CommandError(str(error)) from error

    def cancel_task(self, worker: int, task: bytes) -> None:
        """Interrupt a task that runs in this worker, with the tasks it has started."""
        try:
            self._observer.cancel_task(worker, task)
        except ConnectionError as error:
            raise CommandError(str(error)) from error

    def stop_session(self, within_s: float) -> bool:
        """End the session; whether it was gone in time."""
        try:
            self._observer.stop_session()
        except ConnectionError:
            return True
        return self._observer.wait_until_gone(within_s)

    def follow_logs(self) -> Iterator[LogLines]:
        """What workers print from now on, until the session ends."""
        from skate.engine.spec.messages import LogLines

        try:
            self._observer.follow_logs()
            while True:
                message = self._observer.next_message(None)
                if isinstance(message, LogLines):
                    yield message
        except ConnectionError:
            return

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._observer.close()


def add_session_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--session",
        metavar="NAME",
        default=None,
        help="which one, when several are running (`skate status --all`); or a Ray cluster's address",
    )


def open_link(name: str | None) -> Link:
    """Connect to the session of that name; to the only one when no name is given.

    Raises:
        CommandError: None is running, several are, or it went away meanwhile.
    """
    if (address := named_address(name)) is not None:
        from skate.cli.ray_link import RayLink

        return cast("Link", RayLink(address))
    session = choose(list_sessions(), name)
    try:
        return Link(connect_observer(session))
    except (ConnectionError, RuntimeError) as error:
        raise CommandError(str(error), NO_SESSION) from error


def named_address(name: str | None) -> str | None:
    """The address of a Ray cluster, if the name (or SKATE_ADDRESS, when there is none) is one."""
    address = name if name is not None else os.environ.get("SKATE_ADDRESS", "")
    is_address = address == "ray" or address.startswith("ray:") or address.rpartition(":")[2].isdigit()
    return address if is_address else None


def choose(sessions: list[Session], name: str | None) -> Session:
    """The one that is meant."""
    if not sessions:
        raise CommandError(
            "no session of yours is running: start a program that uses skate, or keep one alive with `skate start`", NO_SESSION
        )
    if name is not None:
        fits = [session for session in sessions if session.name == name] or [one for one in sessions if one.name.startswith(name)]
        if len(fits) == 1:
            return fits[0]
        names = ", ".join(session.name for session in sessions)
        if fits:
            raise CommandError(f"several sessions begin with {name!r}: write more of the name (running: {names})", 2)
        raise CommandError(f"no session {name!r} is running (running: {names})", NO_SESSION)
    if len(sessions) > 1:
        lines = "".join(f"\n  --session {session.name}   {describe(session)}" for session in sessions)
        raise CommandError(f"{len(sessions)} sessions are running; say which:{lines}", 2)
    return sessions[0]


def describe(session: Session) -> str:
    """Whose it is, in words."""
    return f"of process {session.record.get('driver_pid')}" if session.is_embedded else "kept alive by skate start"


def running_sessions() -> list[dict[str, Any]]:
    """A row for each session of this user, the newest first."""
    return [
        {
            "name": session.name,
            "pid": session.pid,
            "driver_pid": session.record.get("driver_pid") if session.is_embedded else None,
            "started_time": session.record.get("started_s"),
            "num_cpus": session.record.get("num_cpus"),
            "is_embedded": session.is_embedded,
            "directory": session.directory,
        }
        for session in list_sessions()
    ]
