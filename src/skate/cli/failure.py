"""What goes wrong in a way that a sentence tells: printed without a traceback."""

from __future__ import annotations


class CommandError(Exception):
    """A command cannot be done. `status` is the exit status: 1 failed, 2 wrong usage, 3 no session is running."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


NO_SESSION = 3
