"""What the directory knows of one object, and the states it goes through.

A fetch waits while there is no value:

    ABSENT ──Resolve──► INLINE
       └─────Seal─────► SEALED ⇄ SPILLING ──► SPILLED ──► RESTORING ──► SEALED
                            any of them ──Free, failed restore──► LOST ──Seal, Resolve──► …
"""

from __future__ import annotations

from skate.engine.spec.messages import Value

ABSENT, INLINE, SEALED, SPILLING, SPILLED, RESTORING, LOST = range(7)

# For people. SPILLING is still read from the arena.
STATE_NAMES = ("PENDING", "SEALED", "SEALED", "SEALED", "SPILLED", "SPILLED", "LOST")


class Entry:
    """One object: its value or where it is, and who waits for it or has it mapped."""

    __slots__ = (
        "arena_bytes", "contains", "id", "is_asked", "lost", "offset", "pins", "size", "stale_offsets", "state", "value", "waiters",
    )  # fmt: skip

    def __init__(self, object_id: bytes) -> None:
        self.id = object_id
        self.state = ABSENT
        self.value: Value | None = None  # INLINE only.
        self.offset = -1  # SEALED and SPILLING only.
        self.size = 0
        self.arena_bytes = 0  # `size` in whole pages.
        self.contains: list[bytes] = []
        self.pins = 0  # Of all clients, on this and stale copies.
        self.waiters: list[int] | None = None  # Clients, one for each Fetch to answer; None: nobody waits.
        self.is_asked = False  # LOST only: its owner was asked to make it again.
        self.lost = ""  # Why, in words.
        self.stale_offsets: list[int] | None = None  # Ranges of values that are gone, kept until nobody has any of them mapped.
