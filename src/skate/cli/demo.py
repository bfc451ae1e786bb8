"""`skate demo`: real work on real text, once serially and once on every core.

It reads every Python source file of the standard library and of site-packages into one buffer, parses each file, counts and ranks what is in
it, and checks that both ways find the same. On the engine the buffer is one object that all workers map (no copies), a task analyses a
share of the files, and an actor shows how far it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skate.cli import output
from skate.cli.demo_analysis import Corpus, Report, Span, analyse, installed_source, read_corpus, split_evenly
from skate.cli.failure import CommandError

TASKS_PER_CPU = 16  # Small enough that the last one to end does not keep the others waiting.
_STEPS = 4  # How often progress is shown.


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument(
        "--path", action="append", default=[], metavar="DIRECTORY", help="analyse what is in here instead; may be repeated"
    )
    parser.add_argument("--num-cpus", type=int, default=None, help="so many workers (default: every core)")
    parser.add_argument(
        "-o", "--output", default="skate-timeline-demo.json", metavar="FILE", help="the timeline (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(arguments: argparse.Namespace) -> int:
    import skate

    say = _say_nothing if arguments.json else _say
    started = time.perf_counter()
    paths = (
        installed_source() if not arguments.path else sorted({str(p) for at in arguments.path for p in Path(at).rglob("*.py")})
    )
    corpus = read_corpus(paths)
    if not corpus.spans:
        raise CommandError(f"no Python files in {', '.join(arguments.path)}", 2)
    size_mb = len(corpus.text) / 1e6
    say(f"read {len(corpus.spans):,} Python files, {size_mb:.1f} MB, in {time.perf_counter() - started:.1f} s")

    started = time.perf_counter()
    serial = analyse(corpus.text, corpus.spans)
    serial_s = time.perf_counter() - started
    say(f"serial: {serial_s:.2f} s, {size_mb / serial_s:.1f} MB/s")

    started = time.perf_counter()
    skate.init(num_cpus=arguments.num_cpus, log_to_driver=not arguments.json)
    try:
        num_cpus = int(skate.cluster_resources()["CPU"])
        init_s = time.perf_counter() - started
        run = analyse_on_engine(corpus, num_cpus)
        engine_s = time.perf_counter() - started
        _write_timeline(arguments.output, run.tasks)
    finally:
        skate.shutdown()

    agrees = run.report == serial
    figures: dict[str, Any] = {
        "files": serial.files, "size_bytes": serial.size_bytes, "lines": serial.lines, "num_cpus": num_cpus, "tasks": run.tasks,
        "serial_s": serial_s, "engine_s": engine_s, "init_s": init_s, "put_s": run.put_s, "speedup": serial_s / engine_s,
        "serial_mb_per_s": size_mb / serial_s, "engine_mb_per_s": size_mb / engine_s, "agrees": agrees, "workers_used": run.workers_used,
        "timeline": os.path.abspath(arguments.output),
    }  # fmt: skip
    if arguments.json:
        output.print_json(figures)
    else:
        _print_findings(serial)
        _print_figures(figures)
    if not agrees:
        print("skate demo: the two runs disagree:\n  " + "\n  ".join(differences(serial, run.report)), file=sys.stderr)
    if not arguments.json:
        agrees &= _show_flights()
    return 0 if agrees else 1


def _show_flights() -> bool:
    """The flights analysis with pandas and, one import line changed, with skate.pandas. Whether the results are equal."""
    if any(importlib.util.find_spec(name) is None for name in ("pandas", "polars", "pyarrow")):
        print("\nThe flights analysis with skate.pandas needs pandas and Polars: pip install 'skate[demo]'")
        return True
    from skate.pandas import flights

    print("\nnycflights13: which airline makes up for late departures? `import pandas as pd`, then `import skate.pandas as pd`")
    comparison = flights.compare()
    print(comparison)
    if not comparison.is_equal:
        print("skate demo: skate.pandas and pandas disagree", file=sys.stderr)
    return comparison.is_equal


# ---------------------------------------------------------------- on the engine


class Progress:
    """An actor: hears from every task, and says now and then how far they are. What it prints appears in the driver."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.done_bytes = 0
        self.files = 0
        self.workers: set[int] = set()
        self.started = time.perf_counter()

    def add(self, files: int, size_bytes: int, pid: int) -> None:
        step = self.done_bytes * _STEPS // self.size_bytes
        self.files += files
        self.done_bytes += size_bytes
        self.workers.add(pid)
        if self.done_bytes * _STEPS // self.size_bytes > step:
            seconds = time.perf_counter() - self.started
            print(
                f"{100 * self.done_bytes // self.size_bytes} % · {self.files:,} files · {self.done_bytes / 1e6 / seconds:.1f} MB/s"
            )

    def workers_used(self) -> int:
        return len(self.workers)


def analyse_share(text: memoryview, spans: Sequence[Span], progress: Any) -> Report:
    """A task. `text` is a view of the one copy in shared memory."""
    report = analyse(text, spans)
    progress.add.remote(report.files, report.size_bytes, os.getpid())
    return report


@dataclass
class EngineRun:
    report: Report
    tasks: int
    workers_used: int
    put_s: float


def analyse_on_engine(corpus: Corpus, num_cpus: int) -> EngineRun:
    """The same findings, by one task for each share of the files."""
    import skate

    analyse_remotely = skate.remote(analyse_share)
    progress = skate.remote(num_cpus=0)(Progress).remote(max(1, len(corpus.text)))
    started = time.perf_counter()
    text = skate.put(pickle.PickleBuffer(corpus.text))  # Travels as a buffer of its own: `get` gives a view, not a copy.
    put_s = time.perf_counter() - started
    pending = [analyse_remotely.remote(text, share, progress) for share in split_evenly(corpus.spans, TASKS_PER_CPU * num_cpus)]
    tasks = len(pending)
    report = Report()
    while pending:
        ready, pending = skate.wait(pending)  # Adds up one report while the others are made.
        report.add(skate.get(ready[0]))
    return EngineRun(report, tasks, skate.get(progress.workers_used.remote()), put_s)


def _write_timeline(path: str, tasks: int) -> None:
    """Write it as soon as the last workers have reported what they did (they do so four times a second)."""
    import skate

    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        boxes = sum(event["ph"] == "X" and event["name"] == "analyse_share" for event in skate.timeline() or [])
        if boxes >= tasks:
            break
        time.sleep(0.05)
    skate.timeline(path)


# ---------------------------------------------------------------- what is printed


def differences(one: Report, other: Report) -> list[str]:
    """Which findings are not the same."""
    return [name for name in vars(one) if getattr(one, name) != getattr(other, name)]


def _print_findings(report: Report) -> None:
    print(
        f"\nfound {report.lines:,} lines, {report.functions:,} functions, {report.classes:,} classes"
        f" ({report.unparsable} files do not parse: test data, mostly)"
    )
    for title, counter in (("syntax", report.nodes), ("names", report.names), ("imports", report.imports)):
        ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:6]
        print(f"  {title:<8} " + "  ".join(f"{name} {count:,}" for name, count in ranked))
    print(f"  longest function  {report.longest_function[0]:,} lines  {_short(report.longest_function[1])}")
    print(f"  deepest nesting   {report.deepest_nesting[0]:,} levels  {_short(report.deepest_nesting[1])}")


def _print_figures(figures: dict[str, Any]) -> None:
    print(
        f"\nserial  {figures['serial_s']:7.2f} s  {figures['serial_mb_per_s']:6.1f} MB/s"
        f"\nskate   {figures['engine_s']:7.2f} s  {figures['engine_mb_per_s']:6.1f} MB/s   {figures['speedup']:.2f}× on {figures['num_cpus']} CPUs,"
        f" with {figures['init_s'] * 1000:.0f} ms to start and {figures['put_s'] * 1000:.0f} ms to share the text"
        f"\n        {figures['tasks']} tasks on {figures['workers_used']} workers; both found the same: {'yes' if figures['agrees'] else 'NO'}"
        f"\ntimeline {figures['timeline']} (open it at https://ui.perfetto.dev)"
    )


def _short(place: str) -> str:
    return "…/" + "/".join(place.split("/")[-3:])


def _say(text: str) -> None:
    print(text, flush=True)


def _say_nothing(text: str) -> None:
    pass
