"""`python -m benchmarks.tabulate RECORD…`: write the table of docs/benchmarks.md from records of benchmarks/results/.

A row stands as the last record that has it measured it. Every figure of a row comes from one run, on one machine, one after the other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
_BEGIN, _END = "<!-- table: python -m benchmarks.tabulate -->", "<!-- end of table -->"


def main(paths: list[str]) -> None:
    rows: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for path in paths:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        for row in record["rows"]:
            rows[row["name"]] = (row, record)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}\n\n{_table(rows)}\n{_END}{after}", encoding="utf-8")


def _table(rows: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> str:
    lines = ["| row | unit | Skate | Ray | the others | goals | commit |", "|---|---|---|---|---|---|---|"]
    for row, record in rows.values():
        figures = dict(row["figures"])
        own, ray = figures.pop("skate", None), figures.pop("ray", None)
        others = " · ".join(f"{peer} {_cell(figure)}" for peer, figure in figures.items())
        goals = " · ".join(f"{_mark(goal['reached'])} {goal['goal']}" for goal in row["goals"])
        lines.append(
            f"| {row['title']} | {row['unit']} | {_number(own)} | {_cell(ray)} | {others} | {goals} | {record['commit'][:7]} |"
        )
    return "\n".join(lines) + "\n"


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "" if figure is None else "failed"
    ratio = figure["ratio"]
    if not ratio:
        return _number(figure)
    return f"{_number(figure)} ({ratio:.0f}×)" if ratio >= 10 else f"{_number(figure)} ({ratio:.2g}×)"


def _number(figure: dict[str, Any] | None) -> str:
    value = None if figure is None else figure["value"]
    return "failed" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _mark(reached: bool | None) -> str:
    return {True: "✓", False: "✗", None: "·"}[reached]


if __name__ == "__main__":
    main(sys.argv[1:])
