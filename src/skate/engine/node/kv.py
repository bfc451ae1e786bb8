"""The key-value store of a session: small settings that libraries share. Lives as long as the node process."""

from __future__ import annotations

from typing import Any

from skate.engine.spec import messages as m


class KeyValues:
    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def answer(self, message: m.KvPut | m.KvGet | m.KvDel | m.KvList) -> Any:
        """Put: whether it was stored. Get: the value or None. Del: whether it was there. List: the keys in order."""
        match message:
            case m.KvPut():
                if not message.overwrite and message.key in self._values:
                    return False
                self._values[message.key] = message.value
                return True
            case m.KvGet():
                return self._values.get(message.key)
            case m.KvDel():
                return self._values.pop(message.key, None) is not None
            case m.KvList():
                return sorted(key for key in self._values if key.startswith(message.prefix))
