"""The table on the terminal, and the record in benchmarks/results/."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.engine.rows import PEERS, Row
from benchmarks.engine.runner import REPOSITORY, Figure

RESULTS = REPOSITORY / "benchmarks" / "results"


def ratio(row: Row, skate: float | None, peer: float | None) -> float | None:
    """How many times as good as the peer: above 1 is better, whichever way the row's unit goes."""
    if skate is None or peer is None or skate <= 0 or peer <= 0:
        return None
    return peer / skate if row.is_less_better else skate / peer


def verdicts(row: Row, values: dict[str, float | None]) -> list[tuple[str, bool | None]]:
    """(goal as text, reached or not; None: not measured) for each goal."""
    found: list[tuple[str, bool | None]] = []
    skate = values.get("skate")
    for goal in row.goals:
        if goal.peer:
            times = ratio(row, skate, values.get(goal.peer))
            found.append((f"{goal.factor:.2g}× {goal.peer}", None if times is None else times >= goal.factor))
        else:
            sign = "≤" if row.is_less_better else "≥"
            is_reached = None if skate is None else (skate <= goal.factor if row.is_less_better else skate >= goal.factor)
            found.append((f"{sign} {goal.factor:g}", is_reached))
    return found


def print_table(rows: list[Row], figures: list[Figure]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    peers = [peer for peer in PEERS if any(figure.peer == peer for figure in figures)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("row")
    table.add_column("unit")
    for name in ("skate", *peers):
        table.add_column(name, justify="right")
    table.add_column("goal")
    for row in rows:
        by_peer = {figure.peer: figure for figure in figures if figure.row == row.name}
        values = {peer: figure.value for peer, figure in by_peer.items()}
        cells = [_cell(by_peer.get("skate"), None)]
        cells += [_cell(by_peer.get(peer), ratio(row, values.get("skate"), values.get(peer))) for peer in peers]
        goals = "  ".join(f"{_SIGNS[is_reached]} {text}" for text, is_reached in verdicts(row, values))
        table.add_row(row.title, row.unit, *cells, goals)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(
        "Beside a peer's figure: how many times as good Skate is. Goals: [green]✓[/] reached, [red]✗[/] not reached, · not measured."
    )
    for figure in figures:
        if figure.error or figure.note:
            console.print(
                f"  {figure.row} on {figure.peer}: {figure.error or figure.note}",
                style="red" if figure.error else "dim",
                markup=False,
            )


def write(figures: list[Figure], rows: list[Row], *, quick: bool, problems: list[str], directory: Path = RESULTS) -> Path:
    """Everything needed to judge the figures and to take them again."""
    record = {
        "commit": _git("rev-parse", "HEAD"),
        "is_clean": not _git("status", "--porcelain"),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": " ".join(["python", "-m", "benchmarks.engine", *sys.argv[1:]]),
        "is_quick": quick,
        "machine": machine(),
        "versions": {figure.peer: figure.version for figure in figures if figure.version},
        "problems": problems,
        "rows": [_record(row, [figure for figure in figures if figure.row == row.name]) for row in rows],
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / time.strftime(f"engine-%Y%m%d-%H%M%S{'-quick' if quick else ''}.json")
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    cpu = ""
    try:
        cpu = next(
            (
                line.partition(":")[2].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            "",
        )
    except OSError:
        pass
    return {
        "cpus": os.cpu_count(),
        "cpu": cpu,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


def _record(row: Row, figures: list[Figure]) -> dict[str, Any]:
    values = {figure.peer: figure.value for figure in figures}
    return {
        "name": row.name,
        "title": row.title,
        "unit": row.unit,
        "is_less_better": row.is_less_better,
        "figures": {
            figure.peer: {
                "value": figure.value, "spread": figure.spread, "ratio": ratio(row, values.get("skate"), figure.value),
                "note": figure.note, "error": figure.error,
            }
            for figure in figures
        },
        "goals": [{"goal": text, "reached": is_reached} for text, is_reached in verdicts(row, values)],
    }  # fmt: skip


def _cell(figure: Figure | None, times: float | None) -> str:
    if figure is None:
        return ""
    if figure.value is None:
        return "[red]failed[/]"
    text = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.3g}"
    return text if times is None else f"{text} [dim]({times:,.1f}×)[/]" if times < 100 else f"{text} [dim]({times:,.0f}×)[/]"


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


_SIGNS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "·"}
