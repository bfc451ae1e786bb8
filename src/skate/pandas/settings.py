"""What a user may set, from the environment. Rows count rows, sizes are bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass

ROWS_MIN_DEFAULT = 50_000


def _flag(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


@dataclass(slots=True)
class Settings:
    """`skate.pandas.settings`; each field may be set from the environment before the import, or assigned later.

    Attributes:
        check: Run pandas beside each accelerated operation and raise `CheckError` on a difference (SKATE_PANDAS_CHECK=1).
        fallback_is_error: Raise `FallbackError` where an operation on planned data would be left to pandas (SKATE_FALLBACK=error).
        rows_min: Below this many rows in memory an operation is pandas' own at once. Any other number than the default also switches the
            estimates in costs.py off: whatever can be planned is executed as a plan, even where pandas is faster (SKATE_PANDAS_MIN_ROWS).
        memory_bytes: How much memory this process may use; without, what the machine, the container and `ulimit` leave. Files that are too
            large for it are read in pieces (SKATE_PANDAS_MEMORY).
        file_bytes_min: Smaller files are read at once by pandas' own reader (SKATE_PANDAS_MIN_BYTES).
    """

    check: bool = _flag("SKATE_PANDAS_CHECK")
    fallback_is_error: bool = os.environ.get("SKATE_FALLBACK", "") == "error"
    rows_min: int = int(os.environ.get("SKATE_PANDAS_MIN_ROWS", str(ROWS_MIN_DEFAULT)))
    memory_bytes: int = int(os.environ.get("SKATE_PANDAS_MEMORY", "0"))
    file_bytes_min: int = int(os.environ.get("SKATE_PANDAS_MIN_BYTES", str(4 << 20)))


settings = Settings()
