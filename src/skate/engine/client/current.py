"""The client of this process, for what is unpickled in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skate.engine.client.client import Client

_client: Client | None = None


def set_client(client: Client | None) -> None:
    global _client
    _client = client


def require() -> Client:
    if _client is None:
        raise RuntimeError(
            "an ObjectRef or actor handle can only be unpickled where skate is initialised: call skate.init() first"
        )
    return _client
