"""`python -m benchmarks.engine`: all rows, or some; a table, and a record in benchmarks/results/."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from benchmarks.engine import awake, report, runner
from benchmarks.engine.rows import BY_NAME, PEERS, ROWS, Row


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--rows", default="", metavar="NAMES", help="comma-separated; a name ending in * takes all that begin so")
    parser.add_argument(
        "--peers", default=",".join(PEERS), metavar="NAMES", help="comma-separated (default: %(default)s); none: Skate alone"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small counts and short periods: to see that rows run, not for figures"
    )
    parser.add_argument(
        "--awake", action="store_true", help="keep the CPUs from halting: without the time a hypervisor takes to wake one"
    )
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument(
        "--output", type=Path, default=report.RESULTS, metavar="DIRECTORY", help="where the record goes (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.list:
        for row in ROWS:
            print(f"{row.name:<20} {row.title} [{row.unit}]  {', '.join(row.peers)}")
        return 0
    rows = _choose(arguments.rows, parser)
    peers = [peer for peer in arguments.peers.split(",") if peer and peer != "none"]
    if unknown := [peer for peer in peers if peer not in PEERS]:
        parser.error(f"unknown peer {unknown[0]}; there are {', '.join(PEERS)}")
    problems = []
    for peer in list(peers):
        if why := runner.can_run(peer):
            problems.append(f"{peer}: {why}")
            print(f"without {peer}: {why}", file=sys.stderr)
            peers.remove(peer)

    def show(row: Row, figure: runner.Figure) -> None:
        text = figure.error if figure.value is None else f"{figure.value:,.4g} {row.unit}"
        print(f"{row.name} · {figure.peer}: {text}", file=sys.stderr, flush=True)

    with awake.all_cpus() if arguments.awake else nullcontext():
        figures = runner.run(rows, peers, quick=arguments.quick, on_figure=show)
    problems += runner.disagreements(figures)
    report.print_table(rows, figures)
    path = report.write(figures, rows, quick=arguments.quick, problems=problems, directory=arguments.output)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    print(f"written to {path}")
    return 1 if problems or any(figure.value is None and figure.peer == "skate" for figure in figures) else 0


def _choose(names: str, parser: argparse.ArgumentParser) -> list[Row]:
    if not names:
        return list(ROWS)
    rows: list[Row] = []
    for name in names.split(","):
        found = (
            [row for row in ROWS if row.name.startswith(name[:-1])]
            if name.endswith("*")
            else [BY_NAME[name]]
            if name in BY_NAME
            else []
        )
        if not found:
            parser.error(f"unknown row {name}; see --list")
        rows += found
    return rows


if __name__ == "__main__":
    sys.exit(main())
