"""Who may talk to the UI: this user's browser, at the address it was given, and no page of another origin.

    token in the URL, once ─► cookie (HttpOnly, SameSite=Lax) ─► every request
    Host must be a loopback name (against DNS rebinding) · Origin, where there is one, must be ours · POST must carry the page's token

Pure ASGI: what does not pass never reaches a route.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
POST_HEADER = b"x-skate-token"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """Lets pass what has proved itself."""

    def __init__(self, app: App, token: str, post_token: str) -> None:
        self._app = app
        self._token = token
        self._post_token = post_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4403, "reason": refusal})
        elif self._is_token(_query(scope).get("token", "")) and scope["method"] == "GET":
            await self._greet(scope, send)
        else:
            await _answer(send, 403, refusal)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> str | None:
        """Why it may not pass, in words; None when it may."""
        host = headers.get(b"host", b"").decode("latin-1")
        if host.rsplit(":", 1)[0] not in LOOPBACK_NAMES:
            return f"the UI answers at 127.0.0.1 and localhost only, not at {host!r}"
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin != f"http://{host}":
            return f"a page of {origin} may not use the UI"
        if scope["type"] == "websocket" and not origin:
            return "a WebSocket has to say its Origin"
        if not self._is_token(_cookie(headers, cookie_name(host))):
            return "open the address that `skate ui` printed: it carries the token of this UI"
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            given = headers.get(POST_HEADER, b"").decode("latin-1")
            if not hmac.compare_digest(given.encode(), self._post_token.encode()):
                return "the request lacks the page's token"
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    async def _greet(self, scope: Scope, send: Send) -> None:
        """The first visit: the token goes from the URL (which histories keep) into a cookie."""
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if host.rsplit(":", 1)[0] not in LOOPBACK_NAMES:
            await _answer(send, 403, "the UI answers at 127.0.0.1 and localhost only")
            return
        rest = {key: value for key, value in _query(scope).items() if key != "token"}
        target = scope["path"] if scope["path"].startswith("/") and not scope["path"].startswith("//") else "/"
        location = target + ("?" + urlencode(rest) if rest else "")
        cookie = f"{cookie_name(host)}={self._token}; HttpOnly; SameSite=Lax; Path=/"
        await _answer(send, 303, "", [(b"location", location.encode("latin-1")), (b"set-cookie", cookie.encode())])


def cookie_name(host: str) -> str:
    """Cookies do not know ports: two UIs of one machine must not overwrite each other's."""
    return f"skate_ui_{host.rsplit(':', 1)[-1] if ':' in host else '80'}"


def _query(scope: Scope) -> dict[str, str]:
    return {key: values[-1] for key, values in parse_qs(scope.get("query_string", b"").decode("latin-1")).items()}


def _cookie(headers: dict[bytes, bytes], name: str) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return ""
    return jar[name].value if name in jar else ""


def _with_headers(send: Send) -> Send:
    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await send(message)

    return wrapped


async def _answer(send: Send, status: int, reason: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    body = json.dumps({"error": reason}).encode() if reason else b""
    kind = (b"content-type", b"application/json")
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [kind, length, *_HEADERS, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})
