"""A run as one HTML file: the page of the web UI with its data inside. Needs no server and no network.

    rows (32 bytes each) ─► columns, as differences ─► byte planes ─► deflate ─► base64, in the page
    strings, errors, latest documents, newest log lines ─┘

The page unpacks them again (`unpackRows` in static/app.js) and goes on as if they had come over its WebSocket.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import struct
import zlib
from array import array
from pathlib import Path

from skate import run_format as f
from skate.dashboard.reader import BLOBS, ROWS, STRINGS, Tail, read_blob, read_record

STATIC = Path(__file__).parent / "static"
MODULES = (
    "theme",
    "dom",
    "model",
    "query",
    "timeline",
    "why",
    "detail",
    "pages",
    "training",
    "documents",
    "app",
)  # In order of their imports.
LOG_BYTES_MAX = 256 * 1024
ROWS_MAX = 2_000_000

_WORDS = struct.Struct("<IIdIIII")
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORTED = re.compile(r"^export ((?:async )?function|class|const) ([\w$]+)", re.MULTILINE)
_EXPORT_LIST = re.compile(r"^export \{([^}]*)\};\n", re.MULTILINE)


def make_report(directory: str) -> str:
    """The page of a run.

    Raises:
        LookupError: There is no run in this directory.
    """
    record = read_record(directory)
    if not record:
        raise LookupError(f"there is no run in {directory}")
    strings, rows = _read(directory)
    left_out = max(0, len(rows) // f.ROW_BYTES - ROWS_MAX)
    rows = rows[left_out * f.ROW_BYTES :]
    places, blobs = _blobs(directory, rows)
    body = struct.pack("<III", len(strings), len(blobs), len(rows) // f.ROW_BYTES) + strings + blobs + pack_rows(rows)
    packed = base64.b64encode(zlib.compress(body, 9)).decode()
    run = directory.rstrip("/").rsplit("/", 1)[-1]
    data = {"record": record, "run": run, "left_out": left_out, "blobs": places, "packed": packed}
    # "<" would let a name end the element.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return _page(run, text)


def pack_rows(rows: bytes) -> bytes:
    """Rows as byte planes of their columns, small differences where the column grows: what deflate makes small."""
    heads, lanes, times, names, owners, numbers, durations = (
        array("I"), array("I"), array("q"), array("I"), array("I"), array("I"), array("I"),
    )  # fmt: skip
    before_us = 0
    before: dict[int, int] = {}
    for head, lane, time_us, name, owner, number, duration in _WORDS.iter_unpack(rows):
        kind = head & 0xFF
        at_us = round(time_us)
        heads.append(head)
        lanes.append(lane)
        delta = at_us - before_us
        times.append((delta << 1) ^ (delta >> 63))  # Small numbers whatever the sign.
        before_us = at_us
        names.append(name)
        owners.append(owner)
        if kind in (f.SAMPLE, f.REPORT):
            numbers.append(number)
        else:
            numbers.append((number - before.get(kind, 0)) & 0xFFFFFFFF)
            before[kind] = number
        durations.append(duration)
    planes = []
    for column in (heads, lanes, times, names, owners, numbers, durations):
        data, width = column.tobytes(), column.itemsize
        planes += [data[byte::width] for byte in range(width)]
    return b"".join(planes)


def bundle() -> str:
    """The modules as one script."""
    parts = ['"use strict";\nconst modules = {};\n']
    for name in MODULES:
        source = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        source = _IMPORT.sub(lambda match: f"const {{{match[1].replace(' as ', ': ')}}} = modules.{match[2]};\n", source)
        exports = [f"{match[2]}" for match in _EXPORTED.finditer(source)]
        for match in _EXPORT_LIST.finditer(source):
            pairs = [one.strip().partition(" as ") for one in match[1].split(",")]
            exports += [f"{outer}: {inner}" if outer else inner for inner, _, outer in pairs]
        source = _EXPORT_LIST.sub("", _EXPORTED.sub(r"\1 \2", source))
        parts.append(f"modules.{name} = (() => {{\n{source}\nreturn {{ {', '.join(exports)} }};\n}})();\n")
    return "".join(parts)


def _page(run: str, data: str) -> str:
    style, script = (STATIC / "app.css").read_text(encoding="utf-8"), bundle()
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en" data-theme="dark" data-report="1"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f'<title>{html.escape(run)} · skate</title><style>{style}</style></head><body><div id="app"></div>'
        f'<script type="application/json" id="report-data">{data}</script><script>{script}</script></body></html>\n'
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(directory: str) -> tuple[bytes, bytes]:
    """(strings, rows) of the whole run."""
    tail = Tail(directory, blob_history_bytes=0)
    parts: dict[int, list[bytes]] = {STRINGS: [], BLOBS: [], ROWS: []}
    try:
        while pieces := tail.step():
            for piece in pieces:
                parts[piece.kind].append(piece.data)
    finally:
        tail.close()
    return b"".join(parts[STRINGS]), b"".join(parts[ROWS])


def _blobs(directory: str, rows: bytes) -> tuple[list[tuple[int, int, int]], bytes]:
    """What errors and the latest documents say, and the newest log lines: ([(segment, offset, bytes)], the bytes)."""
    chosen: dict[tuple[int, int], int] = {}
    documents: dict[int, tuple[int, int, int]] = {}
    logs: list[tuple[int, int, int]] = []
    for head, _, _, name, _, number, size in _WORDS.iter_unpack(rows):
        kind, place = head & 0xFF, (head >> 16, number)
        if kind == f.ERROR and len(chosen) < 500:
            chosen[place] = size
        elif kind == f.DOCUMENT:
            documents[name] = (*place, size)
        elif kind == f.LOG:
            logs.append((*place, size))
    for segment, offset, size in documents.values():
        chosen[segment, offset] = size
    left = LOG_BYTES_MAX
    for segment, offset, size in reversed(logs):
        left -= size
        if left < 0:
            break
        chosen[segment, offset] = size
    places, parts = [], []
    for (segment, offset), size in sorted(chosen.items()):
        data = read_blob(directory, segment, offset, size)
        if len(data) == size:
            places.append((segment, offset, size))
            parts.append(data)
    return places, b"".join(parts)
