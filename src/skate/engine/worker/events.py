"""Task events of this worker: one row per attempt, appended by whoever ran the call, sent in batches.

Appending is one tuple (0.2 µs). The control thread sends what has gathered at its tick; the thread that runs calls sends by
itself when ROWS_MAX have come, so that a busy worker's rows do not pile up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skate.engine.spec import messages as m, task_events

if TYPE_CHECKING:
    from skate.engine.client.client import Client

ROWS_MAX = 1000
ERROR_TEXT_MAX = 500


class Events:
    """Rows that have not been sent yet."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.rows: list[task_events.Row] = []

    def flush(self) -> None:
        """Send all rows. Lock not held."""
        rows, self.rows = self.rows, []
        for start in range(0, len(rows), ROWS_MAX):
            batch = rows[start : start + ROWS_MAX]
            data = task_events.encode_rows(batch)
            with self._client.lock:
                if not self._client.death:
                    self._client.tell_node(m.Events(data, len(batch)))


def error_text(error: BaseException) -> str:
    """Type and message of an error, short enough for a table."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    return text[:ERROR_TEXT_MAX]
