"""The format of a run file: what happened in a session, as rows of 32 bytes. Told in full in docs/architecture/run-file.md.

    offset  0    1     2        4     8                     16       20      24      28
            kind state attempt  lane  time_us (float64)     name     owner   number  duration
                                                                      step    value (float64)        in kinds SAMPLE and REPORT

Little endian. Times are microseconds since the epoch; durations are microseconds, or milliseconds where `state` has IN_MS. Pure: the engine
writes with it, the dashboard and the CLI read with it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

VERSION: Final = 1
ROW_BYTES: Final = 32
ROW: Final = struct.Struct("<BBHIdIIII")
VALUE_ROW: Final = struct.Struct("<BBHIdIId")
STRING_HEAD: Final = struct.Struct("<II")  # id, bytes of UTF-8 that follow
BLOB_HEAD: Final = struct.Struct("<I")  # bytes that follow

# ---- kinds
TASK, ACTOR_CREATION, ACTOR_CALL = 1, 2, 3
SUBMITTED = 4  # `owner` had made ids up to `number` at this time: when a task waits, between two of these it was submitted
NEEDS = 5  # task (owner, number) takes the return of task (lane, name) as an argument; time: when it was submitted
BLOCKED = 6  # task (owner, number) on this lane waited in get or wait
SPILLED, RESTORED = 7, 8  # object of task (owner, number); name: KiB; attempt: index of the return
STORED, FREED = 9, 10  # as above
PACKED = 11  # a large value was serialized; name: call site; number: KiB; owner: string of what it was for
SAMPLE = 12  # a measurement of the machine (lane 0) or of a lane: name, value
REPORT = 13  # skate.report: name is RUN + SEPARATOR + METRIC; step (NO_STEP: none), value
LANE = 14  # a process came or went; name: what it is, number: its pid, owner: its job
ACTOR = 15  # actor (owner, number) on this lane; name: its class; attempt: restarts
LOG = 16  # lines that a lane printed; name: label; attempt: segment, number: offset, duration: bytes in `blobs`; owner: lines
DOCUMENT = (
    17  # skate.publish: name is KIND + SEPARATOR + KEY; attempt: segment, number: offset, duration: bytes of JSON in `blobs`
)
ERROR = 18  # a task failed; name: type of the error; attempt, number, duration: as above; JSON
ARGUMENT = (
    20  # what a call of task (owner, number) took along: bytes in duration; attempt: which ref, OWN_BYTES: all that was no ref
)
DROPPED = 19  # `number` rows were not recorded here; name: of what, and why

# ---- states of attempts; the high bit says that the duration is in milliseconds
RUNNING, FINISHED, FAILED, CANCELLED = 0, 1, 2, 3
STATE_MASK: Final = 0x7F
IN_MS: Final = 0x80
# … of LANE rows
CAME, WENT = 0, 1
# … of ACTOR rows
ACTOR_STATES: Final = ("PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")
# … of LOG rows: the stream
STDOUT, STDERR = 1, 2

DURATION_MAX: Final = 0xFFFFFFFF
NO_STEP: Final = 0xFFFFFFFF
OWN_BYTES: Final = 0xFFFF  # Of ARGUMENT rows.
SEPARATOR: Final = "\x1f"
STRINGS_PER_LANE_MAX: Final = 4096  # An id is lane × this + its number there, so that lanes need not agree.

RECORD_NAME: Final = "run.json"
STRINGS_NAME: Final = "strings"
TASK_KINDS: Final = frozenset({TASK, ACTOR_CREATION, ACTOR_CALL})


class Row(NamedTuple):
    """A row as a reader sees it. For SAMPLE and REPORT `number` is the value and `owner` the step."""

    kind: int
    state: int
    attempt: int
    lane: int
    time_us: float
    name: int
    owner: int
    number: float
    duration_us: float


def rows_name(segment: int) -> str:
    return f"rows-{segment:05d}"


def blobs_name(segment: int) -> str:
    return f"blobs-{segment:05d}"


def failed_name(owner: int, number: int, attempt: int) -> str:
    """The file with a failed attempt's function and arguments."""
    return f"failed-{owner}-{number}-{attempt}"


def string_id(lane: int, number: int) -> int:
    """The id of a lane's string; 0 (“…”) when the lane has too many."""
    return (lane * STRINGS_PER_LANE_MAX + number) & 0xFFFFFFFF if number < STRINGS_PER_LANE_MAX else 0


def pack_row(
    kind: int, state: int, attempt: int, lane: int, time_us: float, name: int, owner: int, number: int, duration_us: int
) -> bytes:
    """A row; numbers that are too large are cut to what fits."""
    if duration_us > DURATION_MAX:
        duration_us = min(duration_us // 1000, DURATION_MAX)
        state |= IN_MS
    return ROW.pack(
        kind,
        state,
        min(attempt, 0xFFFF),
        lane & 0xFFFFFFFF,
        time_us,
        name,
        owner & 0xFFFFFFFF,
        number & 0xFFFFFFFF,
        max(0, duration_us),
    )


def pack_value(kind: int, lane: int, time_us: float, name: int, value: float, step: int | None = None) -> bytes:
    return VALUE_ROW.pack(kind, 0, 0, lane & 0xFFFFFFFF, time_us, name, NO_STEP if step is None else step & 0xFFFFFFFF, value)


def unpack_row(data: bytes | memoryview, offset: int = 0) -> Row:
    kind, state, attempt, lane, time_us, name, owner, number, duration = ROW.unpack_from(data, offset)
    if kind in (SAMPLE, REPORT):
        kind, state, attempt, lane, time_us, name, step, value = VALUE_ROW.unpack_from(data, offset)
        return Row(kind, state, attempt, lane, time_us, name, step, value, 0)
    if state & IN_MS:
        duration *= 1000
    return Row(kind, state & STATE_MASK, attempt, lane, time_us, name, owner, number, duration)


def runs_folder(environ: Mapping[str, str]) -> str:
    """Where runs are kept: $SKATE_RUNS_DIR, else $XDG_STATE_HOME/skate/runs, else ~/.local/state/skate/runs."""
    chosen = environ.get("SKATE_RUNS_DIR", "")
    if chosen:
        return chosen
    home = environ.get("HOME", "")
    state = environ.get("XDG_STATE_HOME", "")
    if not state.startswith("/"):  # The specification says to ignore relative ones.
        state = home + "/.local/state" if home else f"/tmp/skate-{environ.get('USER', '')}-state"  # noqa: S108  # Made with mode 0700.
    return state + "/skate/runs"


def is_recording(environ: Mapping[str, str]) -> bool:
    """Recording is on, unless SKATE_RECORD says 0, no, off or false."""
    return environ.get("SKATE_RECORD", "1").lower() not in ("0", "no", "off", "false")
