"""`python -m benchmarks.pandas [SUITE …]`: suites on pandas, skate.pandas and the peers; a table each, and a record in benchmarks/results/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.engine.report import RESULTS
from benchmarks.pandas import report, runner
from benchmarks.pandas.suites import PEERS, SUITES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pandas", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)} (default: all)")
    parser.add_argument("--peers", default=",".join(PEERS), metavar="NAMES", help="comma-separated (default: %(default)s)")
    parser.add_argument(
        "--cases", default="", metavar="NAMES", help="comma-separated; a name ending in * takes all that begin so"
    )
    parser.add_argument("--cpus", type=int, default=None, metavar="N", help="pin to the first N processors, to see the scaling")
    parser.add_argument("--quick", action="store_true", help="small data: to see that cases run and agree, not for figures")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="DIRECTORY", help="where records go (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.suites if name not in SUITES]:
        parser.error(f"unknown suite {unknown[0]}; there are {', '.join(SUITES)}")
    peers = [peer for peer in arguments.peers.split(",") if peer]
    if unknown := [peer for peer in peers if peer not in PEERS]:
        parser.error(f"unknown peer {unknown[0]}; there are {', '.join(PEERS)}")
    is_good = True
    for peer in list(peers):
        if why := runner.can_run(peer):
            print(f"without {peer}: {why}", file=sys.stderr)
            peers.remove(peer)
            is_good = False
    for suite in (SUITES[name] for name in arguments.suites or SUITES):
        cases = runner.cases_of(suite, arguments.cases)
        figures = {}
        for peer in peers:
            if peer == "polars" and not runner.has_limit(suite):
                continue  # The limit is not written for this suite.

            def show(case: str, figure: runner.Figure, where: str = f"{suite.name} · {peer}") -> None:
                text = figure.get("error") or f"{figure['value_s']:.4g} s"
                print(f"{where} · {case}: {text}", file=sys.stderr, flush=True)

            figures[peer] = runner.measure(suite, peer, cases, quick=arguments.quick, cpus=arguments.cpus, on_figure=show)
        report.print_table(suite, figures)
        found = report.problems(suite, figures)
        for problem in found:
            print(f"problem: {problem}")
        is_good &= not found and all("error" not in figure for figure in figures.get("skate", {}).values())
        print(
            f"written to {report.write(suite, figures, quick=arguments.quick, cpus=arguments.cpus, directory=arguments.output)}"
        )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
