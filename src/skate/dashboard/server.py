"""The server of the web UI: static files, the run file as a stream, and questions to the living session.

    run file ─► Tail (one per browser) ─► WebSocket, at most 10 pieces a second ─► the page decodes
    session  ◄─ LiveSource ◄─ GET /api/live/… , POST /api/kill-actor …

A message of the WebSocket is binary: kind (u8), 0 (u8), segment (u16), offset (u32), then bytes of the file as they are; or JSON: what
run.json tells. Each browser reads at its own speed; nothing is kept for it here.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import struct
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from skate.dashboard.reader import Tail, list_runs, read_blob, read_record
from skate.dashboard.security import Guard

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

STATIC = Path(__file__).parent / "static"
PAGES_GROUP = "skate.dashboard.pages"  # Entry points: kind of document → "module:PATH", the path of a JavaScript module.
INTERVAL_S = 0.1
IDLE_INTERVAL_S = 0.4
_IDLE_AFTER_S = 3.0
_RECORD_EVERY_S = 2.0
_BLOB_BYTES_MAX = 4 * 1024 * 1024
_HEAD = struct.Struct("<BBHI")
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
          ".svg": "image/svg+xml"}  # fmt: skip


class LiveSource(Protocol):
    """A session that runs. Calls may block; they are made in a thread, one at a time."""

    def is_alive(self) -> bool: ...

    def query(self, what: str, params: Mapping[str, Any]) -> Any: ...

    def kill_actor(self, actor_id: str, *, no_restart: bool) -> None: ...

    def kill_worker(self, pid: int) -> None: ...

    def cancel_task(self, owner: int, number: int) -> None: ...


class Ui:
    """What the routes share."""

    def __init__(self, run_directory: str, live: LiveSource | None, post_token: str) -> None:
        self.run_directory = run_directory.rstrip("/")
        self.live = live
        self.post_token = post_token
        self.lock = asyncio.Lock()
        self.browsers = 0
        self.last_seen_s = time.monotonic()
        self.pages = find_pages()

    def directory_of(self, run: str) -> str | None:
        """The folder of a run by its id; "" is the one this UI was opened for. None: there is none."""
        if not run or run == os.path.basename(self.run_directory):
            return self.run_directory
        if "/" in run or run.startswith("."):
            return None
        directory = os.path.join(os.path.dirname(self.run_directory), run)
        return directory if os.path.isdir(directory) else None

    def is_live(self, directory: str) -> bool:
        # A session that ran no task has no run file, and a killed one has no end in it: so the session is asked, too.
        is_ours = self.live is not None and directory == self.run_directory
        return is_ours and self.live is not None and self.live.is_alive() and not read_record(directory).get("ended_s")

    def hello(self, directory: str) -> dict[str, Any]:
        return {
            "record": read_record(directory),
            "run": os.path.basename(directory),
            "live": self.is_live(directory),
            "token": self.post_token,
            "pages": sorted(self.pages),
            "now_us": time.time_ns() // 1000,
        }

    async def ask(self, what: str, params: Mapping[str, Any]) -> Any:
        if self.live is None:
            return None
        async with self.lock:
            return await asyncio.to_thread(self.live.query, what, params)


def make_app(ui: Ui, token: str) -> Guard:
    """The ASGI application, behind its guard."""
    from starlette.applications import Starlette
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Route, WebSocketRoute

    async def index(_request: Request) -> Response:
        return FileResponse(STATIC / "index.html", media_type=_TYPES[".html"])

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        path = STATIC / name
        if path.parent != STATIC or path.suffix not in _TYPES or not path.is_file():
            return JSONResponse({"error": f"there is no file {name}"}, 404)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return FileResponse(path, media_type=_TYPES[path.suffix])
        # Small files, packed when they are asked for: keeping them would cost more memory than it saves time.
        data = gzip.compress(path.read_bytes(), 6)
        return Response(data, media_type=_TYPES[path.suffix], headers={"content-encoding": "gzip"})

    async def page(request: Request) -> Response:
        path = ui.pages.get(request.path_params["kind"])
        if path is None or not path.is_file():
            return JSONResponse({"error": "no package has registered this page"}, 404)
        return FileResponse(path, media_type=_TYPES[".js"])

    async def runs(_request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(list_runs, os.path.dirname(ui.run_directory)))

    async def blob(request: Request) -> Response:
        directory = ui.directory_of(request.query_params.get("run", ""))
        place = request.path_params
        if directory is None or place["size"] > _BLOB_BYTES_MAX:
            return JSONResponse({"error": "no such piece"}, 404)
        data = await asyncio.to_thread(read_blob, directory, place["segment"], place["offset"], place["size"])
        return Response(data, media_type="application/octet-stream")

    async def live(request: Request) -> Response:
        what = request.path_params["what"]
        if what not in _QUESTIONS:
            return JSONResponse({"error": f"nothing is known of {what}"}, 404)
        if ui.live is None:
            return JSONResponse({"error": "this run has ended"}, 410)
        try:
            rows = await ui.ask(what, {})
        except Exception as error:  # The session may end at any moment; the page goes on with the file.
            return JSONResponse({"error": str(error)}, 410)
        return JSONResponse(_plain(rows))

    async def act(request: Request) -> Response:
        """What the UI can do to a session."""
        if ui.live is None:
            return JSONResponse({"error": "this run has ended"}, 410)
        try:
            body = await request.json()
            answer = await _do(ui, request.path_params["action"], body)
        except (KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": f"the request is not understood: {error}"}, 400)
        except Exception as error:
            return JSONResponse({"error": str(error)}, 409)
        return JSONResponse({"ok": True, "answer": _plain(answer)})

    async def stream(socket: WebSocket) -> None:
        directory = ui.directory_of(socket.query_params.get("run", ""))
        await socket.accept()
        if directory is None:
            await socket.close(4404, "there is no such run")
            return
        ui.browsers += 1
        try:
            await _stream(ui, socket, directory)
        finally:
            ui.browsers -= 1
            ui.last_seen_s = time.monotonic()

    routes = [
        Route("/", index),
        Route("/static/{name}", static),
        Route("/pages/{kind}.js", page),
        Route("/api/runs", runs),
        Route("/api/blob/{segment:int}/{offset:int}/{size:int}", blob),
        Route("/api/live/{what}", live),
        Route("/api/do/{action}", act, methods=["POST"]),
        WebSocketRoute("/ws", stream),
    ]
    return Guard(Starlette(routes=routes), token, ui.post_token)


_QUESTIONS = frozenset(
    {"actors", "objects", "workers", "nodes", "resources", "placement_groups", "jobs", "demand", "summary", "metrics"}
)


async def _do(ui: Ui, action: str, body: Mapping[str, Any]) -> Any:
    source = ui.live
    assert source is not None
    async with ui.lock:
        match action:
            case "stack":
                return await asyncio.to_thread(source.query, "stacks", {"pid": int(body["pid"])})
            case "kill-actor":
                return await asyncio.to_thread(source.kill_actor, str(body["actor_id"]), no_restart=True)
            case "kill-worker":
                return await asyncio.to_thread(source.kill_worker, int(body["pid"]))
            case "cancel":
                return await asyncio.to_thread(source.cancel_task, int(body["owner"]), int(body["number"]))
    raise ValueError(f"there is no action {action!r}")


async def _stream(ui: Ui, socket: WebSocket, directory: str) -> None:
    """Send what is there, then what comes, until the browser goes."""
    await socket.send_json(ui.hello(directory))
    gone = asyncio.create_task(_until_gone(socket))
    tail = Tail(directory)
    last_new_s = last_record_s = time.monotonic()
    last_record = read_record(directory)
    try:
        while not gone.done():
            pieces = tail.step()
            for piece in pieces:
                await socket.send_bytes(_HEAD.pack(piece.kind, 0, piece.segment & 0xFFFF, piece.offset) + piece.data)
            now_s = time.monotonic()
            if pieces:
                last_new_s = now_s
                if max(len(piece.data) for piece in pieces) > 256 * 1024:
                    continue  # History: at the speed of the browser.
            if now_s - last_record_s > _RECORD_EVERY_S:
                last_record_s = now_s
                record = read_record(directory)
                if record != last_record:
                    last_record = record
                    await socket.send_json(ui.hello(directory))
            interval_s = INTERVAL_S if now_s - last_new_s < _IDLE_AFTER_S else IDLE_INTERVAL_S
            await asyncio.wait([gone], timeout=interval_s)
    except Exception as error:
        if not _is_disconnect(error):
            raise
    finally:
        tail.close()
        gone.cancel()


async def _until_gone(socket: WebSocket) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return


def _is_disconnect(error: Exception) -> bool:
    from starlette.websockets import WebSocketDisconnect

    return isinstance(error, (WebSocketDisconnect, RuntimeError, ConnectionError))


def _plain(value: Any) -> Any:
    """As JSON takes it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def find_pages() -> dict[str, Path]:
    """JavaScript modules of other packages, by the kind of document they draw."""
    pages = {}
    for entry in metadata.entry_points(group=PAGES_GROUP):
        try:
            pages[entry.name] = Path(entry.load())
        except Exception as error:  # Another package's mistake must not take the UI with it.
            import warnings

            warnings.warn(f"the page {entry.name!r} of {entry.value} could not be loaded: {error}", stacklevel=2)
    return pages


async def serve(
    run_directory: str, live: LiveSource | None, *, port: int, token: str, on_ready: Any, linger_s: float | None = None
) -> None:
    """Serve until cancelled, or, with `linger_s`, until the run has ended and no browser has looked for so long.

    Args:
        on_ready: Called with the port when the server answers.
    """
    import secrets
    import socket

    import uvicorn

    ui = Ui(run_directory, live, secrets.token_urlsafe(24))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        make_app(ui, token),
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    on_ready(listener.getsockname()[1])
    try:
        while not task.done():
            await asyncio.wait([task], timeout=2.0)
            is_over = linger_s is not None and not ui.browsers and time.monotonic() - ui.last_seen_s > linger_s
            if is_over and not ui.is_live(ui.run_directory):
                server.should_exit = True
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
