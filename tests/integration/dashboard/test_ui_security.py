"""Who may talk to the UI's server: a process of its own on the loopback interface, asked here without a browser."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from tests.browser.conftest import Ui
from tests.browser.fake_run import FakeRun


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    folder = tmp_path_factory.mktemp("runs")
    run = FakeRun(folder / "small")
    run.task("work", 1, 2, 0, 1)
    run.log(0.5, 2, "work", "secret line\n")
    run.end()
    run.close()
    ui = Ui("small", runs=folder)
    yield ui
    ui.close()


def ask(
    ui: Ui, method: str, path: str, headers: Mapping[str, str] | None = None, body: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    host = ui.origin.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": host, **(headers or {})}.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body.encode() if body is not None else None)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, {key.lower(): value for key, value in response.getheaders()}, data


def token(ui: Ui) -> str:
    return ui.url.split("token=")[1]


def cookie(ui: Ui) -> dict[str, str]:
    return {"Cookie": f"skate_ui_{ui.origin.rsplit(':', 1)[1]}={token(ui)}"}


PLACES = ["/", "/static/app.js", "/api/runs", "/api/blob/0/0/4", "/api/live/actors"]


@pytest.mark.parametrize("path", PLACES)
def test_nothing_is_shown_without_the_token(ui: Ui, path: str) -> None:
    for headers in ({}, {"Cookie": cookie(ui)["Cookie"][:-1] + "x"}):
        status, _, data = ask(ui, "GET", path, headers)
        assert status == 403
        assert b"skate ui" in data
    assert ask(ui, "GET", path + "?token=wrong")[0] == 403


def test_the_token_becomes_a_cookie_and_leaves_the_address(ui: Ui) -> None:
    status, headers, _ = ask(ui, "GET", f"/?token={token(ui)}&run=small")
    assert status == 303
    assert headers["location"] == "/?run=small"
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite" in headers["set-cookie"]
    assert ask(ui, "GET", "/", {"Cookie": headers["set-cookie"].split(";")[0]})[0] == 200


def test_the_redirect_leads_nowhere_else(ui: Ui) -> None:
    _, headers, _ = ask(ui, "GET", f"//evil.example/?token={token(ui)}")
    assert headers["location"] in ("/", "")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_another_host_name_is_refused(ui: Ui, host: str) -> None:
    for path in ("/", f"/?token={token(ui)}"):
        assert ask(ui, "GET", path, {"Host": host, **cookie(ui)})[0] == 403


def test_another_origin_is_refused(ui: Ui) -> None:
    for origin in ("http://evil.example", "null", "https://" + ui.origin.removeprefix("http://")):
        assert ask(ui, "GET", "/api/runs", {"Origin": origin, **cookie(ui)})[0] == 403
    assert ask(ui, "GET", "/api/runs", {"Origin": ui.origin, **cookie(ui)})[0] == 200


@pytest.mark.parametrize("action", ["kill-actor", "kill-worker", "cancel", "stack"])
def test_acting_needs_the_token_of_the_page(ui: Ui, action: str) -> None:
    for headers in ({}, {"X-Skate-Token": "wrong"}, {"X-Skate-Token": token(ui)}):
        assert ask(ui, "POST", f"/api/do/{action}", {**cookie(ui), **headers}, "{}")[0] == 403


def handshake(ui: Ui, headers: Mapping[str, str]) -> str:
    host = ui.origin.removeprefix("http://")
    with socket.create_connection((host.split(":")[0], int(host.split(":")[1])), timeout=10) as connection:
        lines = ["GET /ws HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *(f"{key}: {value}" for key, value in headers.items())]  # fmt: skip
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return connection.recv(100).split(b"\r\n")[0].decode()


def test_a_websocket_needs_cookie_and_origin(ui: Ui) -> None:
    assert "403" in handshake(ui, {})
    assert "403" in handshake(ui, cookie(ui))
    assert "403" in handshake(ui, {"Origin": ui.origin})
    assert "403" in handshake(ui, {"Origin": "http://evil.example", **cookie(ui)})
    assert "101" in handshake(ui, {"Origin": ui.origin, **cookie(ui)})


def test_pages_carry_a_strict_policy(ui: Ui) -> None:
    _, headers, _ = ask(ui, "GET", "/", cookie(ui))
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2fserver.py",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/pages/../../x.js",
        "/api/blob/0/0/999999999",
    ],
)
def test_only_its_own_files_are_served(ui: Ui, path: str) -> None:
    assert ask(ui, "GET", path, cookie(ui))[0] == 404


def test_a_run_elsewhere_is_not_read(ui: Ui) -> None:
    for run in ("../small", "..", "/etc", ".hidden"):
        assert ask(ui, "GET", f"/api/blob/0/0/4?run={run}", cookie(ui))[0] == 404


def test_blobs_and_runs_are_told(ui: Ui) -> None:
    assert ask(ui, "GET", "/api/blob/0/4/11", cookie(ui))[2] == b"secret line"
    runs: list[dict[str, Any]] = json.loads(ask(ui, "GET", "/api/runs", cookie(ui))[2])
    assert [run["id"] for run in runs] == ["small"]


def test_the_page_is_small(ui: Ui) -> None:
    names = [path.name for path in (Path(__file__).parents[3] / "src/skate/dashboard/static").iterdir()]
    sent = sum(len(ask(ui, "GET", f"/static/{name}", {"Accept-Encoding": "gzip", **cookie(ui)})[2]) for name in names)
    assert sent < 150_000
