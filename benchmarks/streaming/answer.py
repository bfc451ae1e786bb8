"""How a program of this folder hands in its figures: one line, with a digest of its answer, so that all sides are compared."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any


def digest(items: Iterable[tuple[Any, ...]]) -> str:
    """Of rows in any order: how many, and a checksum of them sorted."""
    lines = sorted("\t".join(map(str, item)) for item in items)
    return f"{len(lines)}:{zlib.crc32(chr(10).join(lines).encode()):08x}"


def hand_in(**figures: Any) -> None:
    print("RESULT " + json.dumps(figures), flush=True)
