"""The trail: what this process records for the run file, as packed rows that leave in batches. In the driver and in every worker.

    whoever sees something ─► rows.append(pack(...)) (0.4 µs) ─► flush ─► the node, which appends them to the run file as they are

Texts are sent once and named by number. The format is `skate.run_format`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import TYPE_CHECKING, Any

from skate import run_format as f
from skate.engine.spec import messages as m

if TYPE_CHECKING:
    from skate.engine.client.client import Client

ROWS_MAX = 1000
OTHERS_MAX = 1000
ERRORS_PER_FLUSH_MAX = 20
_TEXT_MAX = 500
_MARK_NS = 1_000_000
_FLUSH_NS = 100_000_000


class Trail:
    """Rows that have not been sent yet. Appending needs no lock."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.lane = int(client.client_id)
        self.rows: list[bytes] = []  # Attempts of tasks.
        self.others: list[bytes] = []
        self._names: dict[str, int] = {}
        self._new_names: list[tuple[int, str]] = []
        self._errors: list[tuple[bytes, int, str, str, bytes]] = []
        self._kept: list[tuple[bytes, int, bytes]] = []
        self.errors_left_out = 0
        self._marked_ns = self._flushed_ns = 0

    def name(self, text: str) -> int:
        """The number of a text. Remember it: this is a look-up."""
        found = self._names.get(text)
        if found is None:
            number = len(self._names) + 1
            found = f.string_id(self.lane, number)
            if number <= f.STRINGS_PER_LANE_MAX:
                self._names[text] = found
            if found:
                self._new_names.append((found, text[:_TEXT_MAX]))
        return found

    def error(self, task: bytes, attempt: int, name: str, text: str, detail: Callable[[], bytes]) -> None:
        """A task failed: `text` is "Type: message", `detail` makes the JSON for those who look closer."""
        if len(self._errors) >= ERRORS_PER_FLUSH_MAX:  # A million of the same are not worth a million tracebacks.
            self.errors_left_out += 1
            self._errors.append((task, attempt, name, text, b""))
            return
        try:
            data = detail()
        except Exception:  # Hostile exceptions: the text alone, then.
            data = b""
        self._errors.append((task, attempt, name, text, data))

    def keep(self, task: bytes, attempt: int, data: bytes) -> None:
        """A failed task's function and arguments."""
        self._kept.append((task, attempt, data))

    def packed(self, name: str, for_name: str, size: int, start_ns: int) -> None:
        """A large value was serialized at this place of the user's program."""
        end_ns = time_ns()
        row = f.pack_row(
            f.PACKED,
            0,
            0,
            self.lane,
            start_ns // 1000,
            self.name(name),
            self.name(for_name),
            size >> 10,
            (end_ns - start_ns) // 1000,
        )
        self.others.append(row)

    def needs(self, task: bytes, deps: list[bytes]) -> None:
        """A task takes results of others."""
        now_us = time_ns() // 1000
        owner, number = int.from_bytes(task[4:8], "big"), int.from_bytes(task[12:16], "big")
        pack = f.ROW.pack
        for dep in deps:
            lane, of = int.from_bytes(dep[4:8], "big"), int.from_bytes(dep[12:16], "big")
            self.others.append(pack(f.NEEDS, 0, dep[19], lane, now_us, of, owner, number, 0))

    def submitted(self) -> None:
        """What was made until now has been made until now: when each task was submitted lies between two such marks."""
        now_ns = time_ns()
        if now_ns - self._marked_ns < _MARK_NS:
            return
        self._marked_ns = now_ns
        number = int(self._client.counter.__reduce__()[1][0])  # Without taking one.
        self.others.append(f.ROW.pack(f.SUBMITTED, 0, 0, self.lane, now_ns // 1000, 0, self.lane, number & 0xFFFFFFFF, 0))

    def blocked(self, task: bytes, start_ns: int) -> None:
        end_ns = time_ns()
        self.others.append(
            f.pack_row(
                f.BLOCKED, 0, 0, self.lane, start_ns // 1000, 0, int.from_bytes(task[4:8], "big"), int.from_bytes(task[12:16], "big"),
                (end_ns - start_ns) // 1000,
            )
        )  # fmt: skip

    # ------------------------------------------------------------ sending

    @property
    def is_waiting(self) -> bool:
        return bool(self.rows or self.others)

    def flush_when_due(self) -> None:
        """Lock held. Send all, unless that was done a moment ago and it is not much."""
        now_ns = time_ns()
        if len(self.others) >= OTHERS_MAX or now_ns - self._flushed_ns > _FLUSH_NS:
            self._flushed_ns = now_ns
            self.flush_locked()

    def flush(self) -> None:
        """Send all. Lock not held."""
        with self._client.lock:
            self.flush_locked()

    def flush_locked(self) -> None:
        """Lock held."""
        rows, self.rows = self.rows, []
        others, self.others = self.others, []
        errors, self._errors = self._errors, []
        names, self._new_names = self._new_names, []
        kept, self._kept = self._kept, []
        if self._client.death or not (rows or others):
            return
        for start in range(0, max(len(rows), len(others)), ROWS_MAX):
            attempts, more = rows[start : start + ROWS_MAX], others[start : start + ROWS_MAX]
            self._client.tell_node(m.Events(b"".join(attempts + more), len(attempts), names, errors))
            names, errors = [], []
        for task, attempt, data in kept:
            self._client.tell_node(m.FailedTask(task, attempt, data))


def error_text(error: BaseException) -> str:
    """Type and message of an error, short enough for a table."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    return text[:_TEXT_MAX]


def task_numbers(task: bytes) -> tuple[int, int]:
    """(owner, number) of a task as rows name it."""
    return int.from_bytes(task[4:8], "big"), int.from_bytes(task[12:16], "big")


def detail_of(fields: dict[str, Any]) -> bytes:
    """JSON of an error document."""
    import msgspec

    return msgspec.json.encode(fields)
