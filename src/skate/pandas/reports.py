"""What a program's lines cost, as text (`pd.report()`) and as the document "dataframe" of the web UI. Times are seconds.

The document is published by itself, now and then, while a session runs; without one nothing is sent.
"""

from __future__ import annotations

import atexit
import linecache
import os
import sys
import time
from typing import Any

import skate
from skate.pandas import ledger
from skate.pandas.ledger import Entry

PUBLISH_S = 1.0
LINES_MAX = 200

_ENGINES = {
    "polars": "planned, all cores", "pandas": "pandas", "traced": "column calculation in place of the function", "workers": "function called on all cores",
    "python": "function called in this process", "different values": "function called once for each different value",
}  # fmt: skip
# What to do about a reason, by words in it.
_ADVICE = (
    ("side effects", "return values in place of changing something outside; use functions of math, re, NumPy and pandas"),
    ("source", "define the function in a file or a notebook cell"),
    ("may change", "pass a constant, or a copy as a default argument"),
    ("changes what", "build a new value in place of changing one that came from outside"),
    ("set is another", "sort the set before its items are used"),
    ("works in place", "leave out inplace= and out="),
    ("put together by pandas", "return one number or text for each group, or use agg with names of functions"),
    ("elements of dtype", "give the column a plain dtype: astype('str'), astype('float64'), pd.to_datetime"),
    ("divides by zero", "give zero a branch of its own: `a / b if b else 0.0`"),
    ("round differently", "use NumPy on the whole column where the last digit doesn't matter: np.sin(df.x)"),
    ("statement", "write it as one expression, or on whole columns with np.where"),
    ("form of it is not planned", "see docs/pandas/index.md for what is planned"),
)
_last_s = 0.0
_is_registered = False


def lines() -> list[dict[str, Any]]:
    """What was done, the slowest first: a line of the program, an operation and an engine each."""
    found = sorted(ledger.entries.copy().values(), key=lambda entry: -entry.seconds)[:LINES_MAX]
    return [_line(entry) for entry in found]


def _line(entry: Entry) -> dict[str, Any]:
    file, number = entry.line or ("", 0)
    is_unknown = entry.engine == "pandas" and not entry.seconds  # It was handed over, and nobody took the time.
    return {
        "file": file, "line": number, "code": linecache.getline(file, number).strip() if file else "", "operation": entry.what, "engine": entry.engine,
        "calls": entry.calls, "seconds": None if is_unknown else round(entry.seconds, 6), "rows": None if is_unknown else entry.rows,
        "reason": entry.reason, "advice": advice(entry.reason),
    }  # fmt: skip


def advice(reason: str) -> str:
    """What a user may change so that the reason goes away; "" if nothing is known."""
    return next((text for words, text in _ADVICE if words in reason), "")


def document() -> dict[str, Any]:
    """The page of the web UI: totals, time by line, every operation, and what to change."""
    found = lines()
    where = [f"{os.path.basename(one['file'])}:{one['line']}" if one["file"] else "?" for one in found]
    by_line: dict[tuple[str, str], float] = {}
    for name, one in zip(where, found, strict=True):
        by_line[name, one["code"]] = by_line.get((name, one["code"]), 0.0) + (one["seconds"] or 0.0)
    by_engine: dict[str, float] = {}
    for one in found:
        by_engine[one["engine"]] = by_engine.get(one["engine"], 0.0) + (one["seconds"] or 0.0)
    slow = {name for (name, code), seconds in by_line.items() if seconds}
    rows = [
        {
            "line": name, "operation": one["operation"], "seconds": one["seconds"], "calls": one["calls"], "rows": one["rows"],
            "where it ran": _ENGINES.get(one["engine"], one["engine"]), "why": one["reason"], "what to change": one["advice"],
            **({"level": "warning"} if one["engine"] == "pandas" and one["advice"] else {}),
        }
        for name, one in zip(where, found, strict=True)
    ]  # fmt: skip
    sections: list[dict[str, Any]] = [
        {"type": "stats", "values": {"program": os.path.basename(sys.argv[0]) or "python", "operations": sum(one["calls"] for one in found), **{f"seconds, {name}": round(seconds, 3) for name, seconds in by_engine.items()}}},
        {"type": "bars", "title": "Seconds by line", "items": [{"name": f"{name}  {code}"[:120], "value": round(seconds, 4), "unit": "s"} for (name, code), seconds in sorted(by_line.items(), key=lambda item: -item[1])[:20] if name in slow]},
        {"type": "table", "title": "Operations", "rows": rows},
    ]  # fmt: skip
    return {"title": "pandas", "sections": sections, "lines": found}


def text() -> str:
    """The same as a table for a terminal."""
    found = lines()
    if not found:
        return "nothing was planned: the data was small, or all of it was pandas' own work"
    rows = [("seconds", "calls", "rows", "engine", "operation", "where", "why, and what to change")]
    for one in found:
        where = f"{os.path.basename(one['file'])}:{one['line']}" if one["file"] else "?"
        why = one["reason"] + (f" → {one['advice']}" if one["advice"] else "")
        seconds = "–" if one["seconds"] is None else f"{one['seconds']:.4f}"
        rows.append(
            (
                seconds,
                str(one["calls"]),
                "–" if one["rows"] is None else f"{one['rows']:,}",
                one["engine"],
                one["operation"],
                where,
                why,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def publish() -> None:
    """Send the page to the web UI."""
    skate.publish("dataframe", f"pandas-{os.getpid()}", document())


def note_change() -> None:
    """Something was done: publish, if a session runs and the last time is a while ago."""
    global _last_s, _is_registered
    now = time.monotonic()
    if now - _last_s < PUBLISH_S or "skate.api" not in sys.modules or not skate.is_initialized():
        return
    _last_s = now
    if not _is_registered:
        _is_registered = True
        atexit.register(_publish_last)
    publish()


def _publish_last() -> None:
    if skate.is_initialized():
        publish()
