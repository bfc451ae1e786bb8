"""Placement groups this process waits for. Everything runs under the client's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from skate.engine.spec import messages as m

if TYPE_CHECKING:
    from skate.engine.client.client import Client


class Groups:
    """What the node has said of placement groups, and who waits to hear."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.waiters: dict[bytes, list[Callable[[m.PlacementGroupUpdate], None]]] = {}
        self._states: dict[bytes, m.PlacementGroupUpdate] = {}

    def on_group_update(self, message: m.PlacementGroupUpdate) -> None:
        if message.state == "INFEASIBLE":
            self._client.pump.deferred.append(lambda: self._client.on_notice(m.Notice("warning", message.detail)))
            return
        self._states[message.group] = message
        for waiting in self.waiters.pop(message.group, []):
            waiting(message)

    def on_group(self, group: bytes, callback: Callable[[m.PlacementGroupUpdate], None]) -> None:
        """Lock held. Call back when a placement group is reserved or removed."""
        state = self._states.get(group)
        if state is not None:
            callback(state)
        else:
            self.waiters.setdefault(group, []).append(callback)
