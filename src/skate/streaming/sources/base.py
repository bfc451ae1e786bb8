"""Source: where records come from, in splits that are read one after the other, each from a position on.

A new source is a `Source` that names its splits and opens a `Reader` on one of them. A position is anything picklable from which
`open` continues exactly behind the last record read: that is what a snapshot keeps. A source that can't be read twice
(`is_replayable = False`) has no exactly-once: it has to be asked for by `allow_loss=True`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skate.streaming.batch import Batch

BATCH_BYTES = 64 * 1024  # What is made of it should fit a cache: lines of 256 kB took a word count 18 % longer.
BATCH_RECORDS = 4096


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a source. `id` is the same in every run."""

    id: str
    detail: Any = None


class Reader:
    """Reads one split. After each `read`, `position` is behind what was read."""

    position: Any = None
    is_done = False

    def read(self) -> Batch | None:
        """The next records; None if there are none now (`is_done` says whether there will be)."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of files and connections."""


class Source:
    kind = "source"
    is_replayable = True
    is_bounded = True
    is_live = False  # True: records come when they happen, and are sent on soon although the source may end.
    grows = False  # True: `splits` may name more of them later.
    parallelism_max: int | None = None
    label = ""
    imports: tuple[str, ...] = ()  # As an operator's.

    @property
    def name(self) -> str:
        return f"{self.kind}({self.label})" if self.label else self.kind

    def splits(self) -> list[Split]:
        """The splits there are now, in the order in which to read them."""
        raise NotImplementedError

    def open(self, split: Split, position: Any) -> Reader:
        """A reader that goes on from `position` (None: from the start)."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What must be the same for a position in a snapshot to fit."""
        return {}

    def size_bytes(self) -> int | None:
        """How much there is to read, for a progress bar; None if not known."""
        return None
