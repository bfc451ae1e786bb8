"""`skate ui`: the web UI of a running session, or of a run that has ended."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skate.cli.failure import CommandError
from skate.cli.link import Link, add_session_argument, choose

if TYPE_CHECKING:
    from skate.engine.driver.sessions import Session

LINGER_S = 60.0  # Started by a program: how long it stays after the run's end and the last browser.


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument(
        "run", nargs="?", default=None, help="a run that has ended: its name, the beginning of it, or its directory"
    )
    parser.add_argument("--port", type=int, default=0, help="on the loopback interface (default: any free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument(
        "--announce", action="store_true", help=argparse.SUPPRESS
    )  # Started by a program: one line of JSON, no browser.
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    try:
        from skate.dashboard.server import serve
    except ImportError as error:
        raise CommandError(f"the web UI needs {error.name}: pip install 'skate[dashboard]'") from error
    directory, live = _find(arguments.run, arguments.session)
    token = secrets.token_urlsafe(24)

    def on_ready(port: int) -> None:
        url = f"http://127.0.0.1:{port}/?token={token}"
        if arguments.announce:
            print(json.dumps({"url": url}), flush=True)
            return
        print(f"{'live' if live else 'run'} {os.path.basename(directory)}: {url}\n(Ctrl-C ends the UI, not the run)", flush=True)
        if not arguments.no_browser and sys.stdout.isatty():
            import webbrowser

            webbrowser.open(url)

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        linger_s = LINGER_S if arguments.announce else None
        await serve(directory, live, port=arguments.port, token=token, on_ready=on_ready, linger_s=linger_s)

    try:
        asyncio.run(main())
    except (asyncio.CancelledError, KeyboardInterrupt):
        pass
    except OSError as error:
        raise CommandError(f"port {arguments.port}: {error.strerror or error}") from error
    finally:
        if live is not None:
            live.close()
    return 0


def _find(run_name: str | None, session_name: str | None) -> tuple[str, SessionSource | None]:
    """The directory of what is meant, and the session when it still runs: what was named, else what runs, else the newest run."""
    from skate.dashboard.runfile import open_run, runs_folder
    from skate.engine.driver.connect import connect_observer
    from skate.engine.driver.sessions import list_sessions

    sessions = list_sessions()
    if run_name is None and (session_name is not None or sessions):
        session = choose(sessions, session_name)
        return os.path.join(runs_folder(), session.name), SessionSource(Link(connect_observer(session)), session)
    try:
        found = open_run(run_name)
    except (LookupError, OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    for session in sessions:
        if session.name == found.name:
            return found.path, SessionSource(Link(connect_observer(session)), session)
    return found.path, None


class SessionSource:
    """What the UI asks of the running session, and does to it."""

    def __init__(self, link: Link, session: Session) -> None:
        self._link = link
        self._session = session

    def is_alive(self) -> bool:
        """Without asking the node: its process, and the directory that it removes at its end."""
        return os.path.exists(self._session.directory) and os.path.exists(f"/proc/{self._session.pid}")

    def query(self, what: str, params: Mapping[str, Any]) -> Any:
        return self._link.query(what, params)

    def kill_actor(self, actor_id: str, *, no_restart: bool) -> None:
        self._link.kill_actor(bytes.fromhex(actor_id), no_restart=no_restart)

    def kill_worker(self, pid: int) -> None:
        """Only of this session: what the page says is checked against the node's own list."""
        if pid not in {worker.get("pid") for worker in self._link.query("workers") or []}:
            raise ValueError(f"this session has no worker with pid {pid}")
        os.kill(pid, signal.SIGKILL)

    def cancel_task(self, owner: int, number: int) -> None:
        """Interrupt a task that runs, as `skate.cancel` does."""
        for row in self._link.query("tasks") or []:
            task = bytes.fromhex(row["task_id"])
            if (
                row["state"] == "RUNNING"
                and int.from_bytes(task[4:8], "big") == owner
                and int.from_bytes(task[12:16], "big") == number
            ):
                self._link.cancel_task(int(row["worker_id"], 16), task)
                return
        raise ValueError("the task does not run any more")

    def close(self) -> None:
        self._link.__exit__()
