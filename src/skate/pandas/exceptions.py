"""What skate.pandas itself may raise; everything else is pandas' own."""

from __future__ import annotations


class CheckError(AssertionError):
    """SKATE_PANDAS_CHECK=1 found that an accelerated operation and pandas disagree."""


class FallbackError(NotImplementedError):
    """SKATE_FALLBACK=error, and an operation on planned data was left to pandas."""


class SourceChangedError(RuntimeError):
    """A file changed between `read_…`, which only planned to read it, and the operation that needed its rows."""
