"""`skate metrics`: what the program counted with `skate.util.metrics`, summed over all processes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from skate.cli import output
from skate.cli.link import add_session_argument, open_link


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("--json", action="store_true", help="the rows instead of Prometheus text")
    parser.add_argument(
        "--serve",
        type=int,
        metavar="PORT",
        default=None,
        help="go on, for Prometheus to scrape http://127.0.0.1:PORT/metrics (0: any free port)",
    )
    add_session_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.serve is not None:
        return _serve(arguments.session, arguments.serve)
    with open_link(arguments.session) as link:
        rows = link.query("metrics") or []
    if arguments.json:
        output.print_json([dict(zip(("kind", "name", "description", "tags", "value"), row, strict=True)) for row in rows])
    else:
        from skate.metrics import prometheus_text

        print(prometheus_text(rows), end="")
    return 0


def _serve(session: str | None, port: int) -> int:
    """An endpoint on loopback. Each scrape asks the session anew, so that it may end and another begin."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from skate.cli.failure import CommandError
    from skate.metrics import prometheus_text

    class Scrape(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # The name that http.server calls.
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            # A page that rebinds its name to 127.0.0.1 comes with another Host.
            if host not in ("127.0.0.1", "localhost"):
                self._answer(403, "this endpoint answers to 127.0.0.1 and localhost only\n")
            elif self.path.partition("?")[0] != "/metrics":
                self._answer(404, "ask for /metrics\n")
            else:
                try:
                    with open_link(session) as link:
                        self._answer(200, prometheus_text(link.query("metrics") or []) + _session_text(link.query("summary")))
                except CommandError as error:
                    self._answer(503, f"{error}\n")

        def _answer(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a line each."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Scrape)
    except OSError as error:
        raise CommandError(
            f"port {port} can't be listened on: {error.strerror}; choose another, or 0 for any free one"
        ) from error
    with server:
        print(f"http://127.0.0.1:{server.server_address[1]}/metrics until Ctrl-C", flush=True)
        server.serve_forever()
    return 0


def _session_text(summary: Mapping[str, Any]) -> str:
    """The session itself, as gauges."""
    rows: list[Any] = []
    for what in ("total", "available"):
        for name, amount in summary["resources"][what].items():
            if not name.startswith("node:"):
                rows.append(["gauge", f"skate_resources_{what}", "", {"resource": name}, amount])
    rows += [["gauge", "skate_workers", "", {"state": state}, count] for state, count in summary["workers"].items()]
    rows += [["gauge", "skate_actors", "", {"state": state}, count] for state, count in summary["actors"].items()]
    for field in ("objects", "used_bytes", "capacity_bytes", "spilled_bytes"):
        if field in summary["objects"]:
            rows.append(["gauge", f"skate_store_{field}", "", {}, summary["objects"][field]])
    from skate.metrics import prometheus_text

    return prometheus_text(rows)
