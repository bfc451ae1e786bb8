"""Task events: one row per attempt of a task or actor call, written by the worker that ran it.

Rows are tuples, encoded in batches by MessagePack; the node keeps the encoded batches and decodes them only when somebody asks.
Times are microseconds since the epoch.
"""

from __future__ import annotations

import msgspec

TASK, ACTOR_CREATION, ACTOR_CALL = 0, 1, 2
RUNNING, FINISHED, FAILED, CANCELLED = 0, 1, 2, 3

# (task id, attempt, name, kind, status, worker, actor id or b"", parent task id or b"", start_us, end_us (0: still running), error: "Type: message" or "", owner client)
Row = tuple[bytes, int, str, int, int, int, bytes, bytes, int, int, str, int]

encode_rows = msgspec.msgpack.Encoder().encode
decode_rows = msgspec.msgpack.Decoder(list[Row]).decode
