"""The table on the terminal, and the record in benchmarks/results/."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.engine.report import RESULTS, machine
from benchmarks.pandas.measure import disagreement
from benchmarks.pandas.runner import REPOSITORY, Figure
from benchmarks.pandas.suites import Suite


def ratio(pandas: Figure | None, other: Figure | None) -> float | None:
    """How many times as fast as pandas."""
    if not pandas or not other or not pandas.get("value_s") or not other.get("value_s"):
        return None
    return float(pandas["value_s"] / other["value_s"])


def geometric_mean(values: list[float]) -> float | None:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def problems(suite: Suite, figures: dict[str, dict[str, Figure]]) -> list[str]:
    """Answers that differ from pandas'. skate.pandas must agree in order, names and dtypes too; the others in values."""
    found = []
    for peer, of_peer in figures.items():
        for case, figure in of_peer.items():
            reference = figures.get("pandas", {}).get(case, {})
            if peer == "pandas" or "answer" not in figure or "answer" not in reference:
                continue
            if why := disagreement(reference["answer"], figure["answer"], is_strict=peer == "skate"):
                found.append(f"{suite.name} {case}: {peer} answers something else: {why}")
    return found


def verdict(suite: Suite, figures: dict[str, dict[str, Figure]]) -> tuple[float | None, bool | None]:
    """(what the goal is measured by, reached or not) for skate.pandas over pandas."""
    ratios = [r for case in figures.get("skate", {}) if (r := ratio(figures.get("pandas", {}).get(case), figures["skate"][case]))]
    value = (min(ratios) if ratios else None) if suite.is_goal_each else geometric_mean(ratios)
    return value, None if value is None or suite.goal is None else value >= suite.goal


def print_table(suite: Suite, figures: dict[str, dict[str, Figure]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=suite.title, title_justify="left")
    table.add_column("case")
    for peer in figures:
        table.add_column(peer, justify="right")
    pandas = figures.get("pandas", {})
    for case in dict.fromkeys(case for of_peer in figures.values() for case in of_peer):
        table.add_row(
            case, *(_cell(of_peer.get(case), ratio(pandas.get(case), of_peer.get(case))) for of_peer in figures.values())
        )
    means = {
        peer: geometric_mean([r for c in of_peer if (r := ratio(pandas.get(c), of_peer[c]))]) for peer, of_peer in figures.items()
    }
    table.add_row("geometric mean", *("" if mean is None else f"{mean:.2f}×" for mean in means.values()))
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def write(
    suite: Suite, figures: dict[str, dict[str, Figure]], *, quick: bool, cpus: int | None, directory: Path = RESULTS
) -> Path:
    """Everything needed to judge the figures and to take them again."""
    measured, is_reached = verdict(suite, figures)
    record = {
        "suite": suite.name,
        "commit": _git("rev-parse", "HEAD"),
        "is_clean": not _git("status", "--porcelain"),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": " ".join(["python", "-m", "benchmarks.pandas", *sys.argv[1:]]),
        "is_quick": quick,
        "pinned_cpus": cpus,
        "machine": machine(),
        "goal": {"over_pandas": suite.goal, "is_for_each_case": suite.is_goal_each, "measured": measured, "reached": is_reached},
        "problems": problems(suite, figures),
        "figures": {
            peer: {case: {key: value for key, value in figure.items() if key != "answer"} for case, figure in of_peer.items()}
            for peer, of_peer in figures.items()
        },
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"pandas-{suite.name}-{time.strftime('%Y%m%d-%H%M%S')}{'-quick' if quick else ''}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _cell(figure: Figure | None, times: float | None) -> str:
    if figure is None:
        return ""
    value: Any = figure.get("value_s")
    if value is None:
        return "[dim]–[/]" if "not written" in figure.get("error", "") else "[red]failed[/]"
    text = f"{value:.3g} s" if value >= 0.1 else f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.0f} µs"
    return text if times is None else f"{text} [dim]({times:.2f}×)[/]"


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
