"""Reference counts at the node: who holds what.

A signed count per (holder, id), see `spec/messages.py` for the rule. A holder is a client (int) or the id of an object or actor that contains the
reference (bytes). Counts may pass below zero for a moment: giving back can overtake handing over, as they travel on different sockets.
An id is *held* while any holder's count of it is above zero. Pure; each step is a few dict operations.
"""

from __future__ import annotations

from skate.engine.spec.messages import Holder


class Counts:
    """All counts of a session."""

    def __init__(self) -> None:
        self._by_holder: dict[Holder, dict[bytes, int]] = {}  # No entry is zero, no inner dict is empty.
        self._holders: dict[bytes, int] = {}  # id → how many holders have a count above zero; absent: none

    def add(self, any_id: bytes, holder: Holder, count: int = 1) -> None:
        held = self._by_holder.get(holder)
        if held is None:
            held = self._by_holder[holder] = {}
        before = held.get(any_id, 0)
        after = before + count
        if after:
            held[any_id] = after
        else:
            del held[any_id]
            if not held:
                del self._by_holder[holder]
        if before <= 0 < after:
            self._holders[any_id] = self._holders.get(any_id, 0) + 1

    def take(self, any_id: bytes, holder: Holder, count: int = 1) -> bool:
        """Take `count` away. True when the id was held and is not any more."""
        held = self._by_holder.get(holder)
        if held is None:
            held = self._by_holder[holder] = {}
        before = held.get(any_id, 0)
        after = before - count
        if after:
            held[any_id] = after
        else:
            del held[any_id]
            if not held:
                del self._by_holder[holder]
        return before > 0 >= after and self._one_holder_less(any_id)

    def drop_holder(self, holder: Holder) -> list[bytes]:
        """Forget a holder and all its counts. The ids that are not held any more."""
        held = self._by_holder.pop(holder, None)
        if held is None:
            return []
        return [any_id for any_id, count in held.items() if count > 0 and self._one_holder_less(any_id)]

    def is_held(self, any_id: bytes) -> bool:
        return any_id in self._holders

    def count_of(self, any_id: bytes, holder: Holder) -> int:
        held = self._by_holder.get(holder)
        return held.get(any_id, 0) if held is not None else 0

    def holders(self) -> dict[bytes, dict[Holder, int]]:
        """id → {holder: count}, of every id that is held. Slow: goes through everything."""
        result: dict[bytes, dict[Holder, int]] = {any_id: {} for any_id in self._holders}
        for holder, held in self._by_holder.items():
            for any_id, count in held.items():
                if any_id in result:
                    result[any_id][holder] = count
        return result

    def __len__(self) -> int:
        """Ids that are held."""
        return len(self._holders)

    def _one_holder_less(self, any_id: bytes) -> bool:
        left = self._holders[any_id] - 1
        if left:
            self._holders[any_id] = left
            return False
        del self._holders[any_id]
        return True
