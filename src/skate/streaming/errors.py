"""Errors of streams, and what to do with a record that raises.

StreamError                    a stream stopped
├── RecordError                a function raised on a record; names the operator, the record and its position
├── SnapshotMismatchError      the program does not fit the snapshot it should continue from
├── SnapshotCorruptError       no snapshot in the directory is whole
└── SinkError                  the output is not what the snapshot says it is
"""

from __future__ import annotations

from typing import Any

from skate.exceptions import RayError


class StreamError(RayError):
    """A stream stopped. Its message says where and why."""


class RecordError(StreamError):
    """A function of the stream raised on a record."""

    def __init__(self, operator: str, record: str, position: str, error: str) -> None:
        super().__init__(operator, record, position, error)
        self.operator = operator
        self.record = record
        self.position = position
        self.error = error

    def __str__(self) -> str:
        return (
            f"{self.operator} raised {self.error}\n  on the record {self.record}\n  at {self.position or 'an unknown position'}\n"
            f'  To go on without such records: on_error="skip" (counted), or on_error=<a sink> to keep them.'
        )


class SnapshotMismatchError(StreamError):
    """The program does not fit the snapshot it should continue from."""


class SnapshotCorruptError(StreamError):
    """No snapshot in the directory is whole."""


class SinkError(StreamError):
    """The output is not what the snapshot says it is."""


def show(record: Any, length_max: int = 200) -> str:
    """A record as one short line."""
    try:
        text = repr(record)
    except Exception as error:  # A record whose repr raises must not hide the error it caused.
        text = f"<{type(record).__qualname__}: its repr raises {error!r}>"
    return text if len(text) <= length_max else f"{text[:length_max]}… ({len(text):,} characters)"
