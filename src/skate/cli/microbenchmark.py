"""`skate microbenchmark`: the rows of Ray's microbenchmark on this machine. `make bench`, in a checkout, has more, beside the peers."""

from __future__ import annotations

import argparse
import time
from typing import Any

from skate.cli import output
from skate.cli.failure import CommandError
from skate.cli.microbenchmark_rows import FULL, QUICK, MicrobenchmarkRows

ROWS = {  # name → (title, unit)
    "get_calls": ("single client get calls", "/s"),
    "put_calls": ("single client put calls", "/s"),
    "put_calls_multi": ("multi client put calls", "/s"),
    "put_gigabytes": ("single client put gigabytes", "GB/s"),
    "put_gigabytes_multi": ("multi client put gigabytes", "GB/s"),
    "tasks_and_get_batch": ("single client tasks and get batch", "/s"),
    "get_10k_refs": ("single client get object containing 10k refs", "/s"),
    "wait_1k_refs": ("single client wait 1k refs", "/s"),
    "tasks_sync": ("single client tasks sync", "/s"),
    "tasks_async": ("single client tasks async", "/s"),
    "tasks_multi": ("multi client tasks async", "/s"),
    "actor_sync": ("1:1 actor calls sync", "/s"),
    "actor_async": ("1:1 actor calls async", "/s"),
    "actor_concurrent": ("1:1 actor calls concurrent", "/s"),
    "actor_1_n": ("1:n actor calls async", "/s"),
    "actor_n_n": ("n:n actor calls async", "/s"),
    "actor_n_n_arg": ("n:n actor calls with arg async", "/s"),
    "async_actor_sync": ("1:1 async-actor calls sync", "/s"),
    "async_actor_async": ("1:1 async-actor calls async", "/s"),
    "async_actor_args": ("1:1 async-actor calls with args async", "/s"),
    "async_actor_1_n": ("1:n async-actor calls async", "/s"),
    "async_actor_n_n": ("n:n async-actor calls async", "/s"),
    "placement_groups": ("placement group create/removal", "/s"),
}


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these: " + ", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="a fraction of a second for each row, on smaller data")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(arguments: argparse.Namespace) -> int:
    import skate

    unknown = [name for name in arguments.rows if name not in ROWS]
    if unknown:
        raise CommandError(f"there is no row {unknown[0]!r}; see skate microbenchmark --help", 2)
    effort = QUICK if arguments.quick else FULL
    started = time.perf_counter()
    results: list[dict[str, Any]] = []
    for name in arguments.rows or ROWS:
        title, unit = ROWS[name]
        if name.startswith("put_gigabytes") and not _has_numpy():
            if not arguments.json:
                print(f"{title}: needs numpy", flush=True)
            continue
        rows = MicrobenchmarkRows(skate, "skate")
        rows.start()
        try:
            result = getattr(rows, name)(effort)
        finally:
            rows.stop()
        results.append({"row": name, "title": title, "unit": unit, "value": result.value, "spread": result.spread})
        if not arguments.json:
            spread = f" ± {result.spread:,.2f}" if result.spread else ""  # Of a single round there is none.
            print(f"{title:<46} {result.value:>12,.2f}{spread} {unit}", flush=True)
    if arguments.json:
        output.print_json(results)
    else:
        print(f"in {output.duration(time.perf_counter() - started)}")
    return 0


def _has_numpy() -> bool:
    import importlib.util

    return importlib.util.find_spec("numpy") is not None
