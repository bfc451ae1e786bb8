"""Task events: one row per attempt of a task or actor call, written by the worker that ran it.

They travel packed, in the format of the run file (`skate.run_format`), and are kept as they came; `unpack_attempts` makes the rows that state, timeline
and CLI show. Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from skate import run_format as f

TASK, ACTOR_CREATION, ACTOR_CALL = 0, 1, 2
RUNNING, FINISHED, FAILED, CANCELLED = f.RUNNING, f.FINISHED, f.FAILED, f.CANCELLED
PACKED_KIND = (f.TASK, f.ACTOR_CREATION, f.ACTOR_CALL)

# (task id, attempt, name, kind, status, worker, actor id or b"", parent task id or b"", start_us, end_us (0: still running), error: "Type: message" or "", owner client)
Row = tuple[bytes, int, str, int, int, int, bytes, bytes, int, int, str, int]

encode_rows = msgspec.msgpack.Encoder().encode
decode_rows = msgspec.msgpack.Decoder(list[Row]).decode


def pack_attempts(rows: Iterable[Row], names: Mapping[str, int]) -> bytes:
    """Rows as they travel."""
    return b"".join(
        f.pack_row(
            PACKED_KIND[kind], status, attempt, worker, start_us, names.get(name, 0), owner, int.from_bytes(task[12:16], "big"),
            end_us - start_us if end_us else 0,
        )
        for task, attempt, name, kind, status, worker, _, _, start_us, end_us, _, owner in rows
    )  # fmt: skip


def unpack_attempts(
    data: bytes,
    tag: bytes,
    names: Mapping[int, str],
    actors: Mapping[int, bytes],
    errors: Mapping[tuple[int, int, int], str],
) -> list[Row]:
    """The rows of a batch; what it holds besides attempts is left out.

    Args:
        tag: Of the session: ids begin with it.
        names: By number.
        actors: By worker.
        errors: By (owner, number, attempt).
    """
    rows: list[Row] = []
    for offset in range(0, len(data) - f.ROW_BYTES + 1, f.ROW_BYTES):
        kind, state, attempt, worker, start, name, owner, number, duration = f.ROW.unpack_from(data, offset)
        if not 1 <= kind <= 3:
            continue
        status = state & f.STATE_MASK
        start_us = int(start)
        end_us = 0 if status == RUNNING else start_us + (duration * 1000 if state & f.IN_MS else duration)
        task = tag + owner.to_bytes(4, "big") + number.to_bytes(8, "big")
        rows.append(
            (
                task, attempt, names.get(name, "…"), kind - 1, status, worker, b"" if kind == 1 else actors.get(worker, b""), b"",
                start_us, end_us, errors.get((owner, number, attempt), ""), owner,
            )
        )  # fmt: skip
    return rows
