"""How commands print: JSON for scripts, aligned columns into pipes, a rich table on a terminal.

rich takes 50 ms to import: it is used where a person looks, and only for tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_CELL_CHARACTERS_MAX = 60


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, default=_as_json, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Rows in columns; `empty` when there are none."""
    if not rows:
        print(empty)
        return
    texts = [[cell(row.get(column), column) for column in columns] for row in rows]
    if sys.stdout.isatty():
        _print_rich(texts, columns)
        return
    widths = [max(len(column), *(len(line[i]) for line in texts)) for i, column in enumerate(columns)]
    for line in [list(map(str.upper, columns)), *texts]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def cell(value: Any, column: str = "") -> str:
    """One value for a person. What a column's name says about its unit is used."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and (column.endswith("_bytes") or column in ("memory", "object_store_memory")):
        return size(value)
    if isinstance(value, int | float) and column.endswith("_time_ms"):
        return clock(value / 1000)
    if isinstance(value, int | float) and column.endswith(("_time", "_s")) and value > 1e9:
        return clock(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        value = " ".join(f"{key}={cell(one, str(key))}" for key, one in value.items() if not str(key).startswith("node:"))
    elif isinstance(value, list | tuple):
        value = ", ".join(cell(one) for one in value)
    text = str(value).replace("\n", " ")
    return text if len(text) <= _CELL_CHARACTERS_MAX else text[: _CELL_CHARACTERS_MAX - 1] + "…"


def size(count: float) -> str:
    """Bytes in decimal units: 1,500,000 is 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def clock(time_s: float) -> str:
    import time

    moment = time.localtime(time_s)
    today = time.localtime()
    form = "%H:%M:%S" if moment[:3] == today[:3] else "%Y-%m-%d %H:%M:%S"
    return time.strftime(form, moment)


def counts(values: Mapping[str, int]) -> str:
    """`{"RUNNING": 2, "FINISHED": 5}` → `2 running, 5 finished`."""
    return ", ".join(f"{count:,} {str(name).lower().replace('_', ' ')}" for name, count in values.items() if count) or "none"


def _print_rich(texts: Iterable[Sequence[str]], columns: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for line in texts:
        table.add_row(*(Text(text, style=_STATE_STYLES.get(text.upper(), "")) for text in line))
    Console().print(table)


_STATE_STYLES = {"FAILED": "red", "DEAD": "red", "RUNNING": "cyan", "ALIVE": "green", "FINISHED": "green", "SPILLED": "yellow"}


def _as_json(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)
