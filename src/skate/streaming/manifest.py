"""Manifest: what a snapshot consists of. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """What one subtask wrote."""

    stage: int
    index: int
    file: str
    size_bytes: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Manifest:
    number: int
    fingerprint: dict[str, Any]
    parts: tuple[Part, ...]
    is_final: bool  # The stream had ended: there is nothing to continue.
