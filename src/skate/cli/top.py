"""`skate top`: a run while it goes on: what each worker does, functions by time, the machine. On a terminal it is drawn again twice a second; into a pipe it

is printed once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict, deque
from typing import Any

from skate.cli import output
from skate.cli.run import add_run_argument, open_run_file

DRAW_S = 0.5
RATE_WINDOW_S = 5.0
_FUNCTIONS_SHOWN = 12
_WORKERS_SHOWN = 16


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("--once", action="store_true", help="print once and exit (as into a pipe)")
    parser.add_argument("--json", action="store_true", help="for scripts: once")
    add_run_argument(parser)


class Board:
    """What is shown, kept up with the rows that come. Constant memory: nothing of a task stays but its counts."""

    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self.counts: dict[str, int] = defaultdict(int)
        self.failed: dict[str, int] = defaultdict(int)
        self.total_us: dict[str, float] = defaultdict(float)
        self.running: dict[int, tuple[str, float]] = {}  # lane → (function, since)
        self.last: dict[int, tuple[str, float]] = {}  # lane → (function, until)
        self.busy_us: dict[int, float] = defaultdict(float)
        self.pids: dict[int, int] = {}
        self.samples: dict[tuple[int, str], float] = {}
        self.reports: dict[str, tuple[int | None, float]] = {}
        self.dropped = 0
        self._recent: deque[tuple[float, int]] = deque()
        self.tasks = 0

    def read(self, rows: Any, now_s: float) -> None:
        from skate import run_format as f

        ended = 0
        for row in rows:
            if row.kind in f.TASK_KINDS:
                name = self._names.get(row.name, "…")
                if row.state == f.RUNNING:
                    self.running[row.lane] = (name, row.time_us)
                    continue
                ended += 1
                self.running.pop(row.lane, None)
                self.last[row.lane] = (name, row.time_us + row.duration_us)
                self.counts[name] += 1
                self.total_us[name] += row.duration_us
                self.busy_us[row.lane] += row.duration_us
                self.failed[name] += row.state == f.FAILED
            elif row.kind == f.SAMPLE:
                self.samples[row.lane, self._names.get(row.name, "")] = row.number
            elif row.kind == f.REPORT:
                self.reports[self._names.get(row.name, "").replace(f.SEPARATOR, " ").strip()] = (
                    None if row.owner == f.NO_STEP else row.owner,
                    row.number,
                )
            elif row.kind == f.LANE:
                if row.state == f.CAME and self._names.get(row.name) == "worker":
                    self.pids[row.lane] = int(row.number)
                elif row.state == f.WENT:
                    self.pids.pop(row.lane, None)
                    self.running.pop(row.lane, None)
            elif row.kind == f.DROPPED:
                self.dropped += int(row.number)
        self.tasks += ended
        self._recent.append((now_s, ended))
        while self._recent and self._recent[0][0] < now_s - RATE_WINDOW_S:
            self._recent.popleft()

    @property
    def rate(self) -> float:
        """Attempts that ended per second, lately."""
        if len(self._recent) < 2:
            return 0.0
        passed_s = self._recent[-1][0] - self._recent[0][0]
        return sum(count for _, count in list(self._recent)[1:]) / passed_s if passed_s > 0 else 0.0

    def lines(self, title: str, now_us: float) -> list[str]:
        from skate.dashboard.history import words

        def sample(name: str) -> float:
            return self.samples.get((0, name), 0.0)

        lines = [
            f"{title}   {self.tasks:,} attempts, {self.rate:,.0f}/s"
            + (f", {self.dropped:,} rows dropped" if self.dropped else "")
        ]
        if self.samples:
            lines.append(
                f"cpu {sample('cpu_percent'):.0f} %   memory {output.size(sample('memory_bytes'))} of {output.size(sample('memory_total_bytes'))}   "
                f"store {output.size(sample('store_bytes'))}   spilled {output.size(sample('spilled_bytes'))}"
            )
        lines += ["", f"{'WORKER':>6} {'PID':>8} {'CPU':>5} {'MEMORY':>8}  RUNS"]
        for lane in sorted(self.pids)[:_WORKERS_SHOWN]:
            if lane in self.running:
                name, since = self.running[lane]
                doing = f"{name} for {words(max(0.0, now_us - since))}"
            elif lane in self.last:
                doing = f"- (last: {self.last[lane][0]})"
            else:
                doing = "-"
            cpu = self.samples.get((lane, "cpu_percent"), 0.0)
            memory = output.size(self.samples.get((lane, "memory_bytes"), 0.0))
            lines.append(f"{lane:>6} {self.pids[lane]:>8} {cpu:>4.0f}% {memory:>8}  {doing}"[:80])
        if len(self.pids) > _WORKERS_SHOWN:
            lines.append(f"       … and {len(self.pids) - _WORKERS_SHOWN} more")
        total = sum(self.total_us.values()) or 1.0
        lines += ["", f"{'FUNCTION':<34} {'COUNT':>10} {'MEAN':>9} {'SHARE':>6} {'FAILED':>7}"]
        for name in sorted(self.total_us, key=lambda name: -self.total_us[name])[:_FUNCTIONS_SHOWN]:
            count = self.counts[name]
            lines.append(
                f"{name[:34]:<34} {count:>10,} {words(self.total_us[name] / count):>9} {self.total_us[name] / total:>6.0%} {self.failed[name] or '':>7}"
            )
        for name, (step, value) in list(self.reports.items())[-6:]:
            lines.append(f"{name[:34]:<34} {value:>10.5g}" + (f"  step {step:,}" if step is not None else ""))
        return lines

    def as_dict(self) -> dict[str, Any]:
        return {
            "tasks": self.tasks, "dropped": self.dropped, "workers": [{"worker": lane, "pid": pid, "runs": self.running.get(lane, ("",))[0]} for lane, pid in self.pids.items()],
            "functions": [{"name": name, "count": self.counts[name], "total_us": self.total_us[name], "failed": self.failed[name]} for name in self.counts],
            "samples": {name: value for (lane, name), value in self.samples.items() if lane == 0},
            "reports": {name: value for name, (_, value) in self.reports.items()},
        }  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    run_file = open_run_file(arguments.run)
    board = Board(run_file.names)

    def read() -> None:
        while delta := run_file.tail(4 * 1024 * 1024):
            board.read(delta, time.monotonic())
        board.read((), time.monotonic())

    read()
    if arguments.json:
        output.print_json(board.as_dict())
        return 0
    if arguments.once or not sys.stdout.isatty():
        print("\n".join(board.lines(f"run {run_file.name}", time.time() * 1e6)))
        return 0
    from rich.live import Live
    from rich.text import Text

    with Live(screen=True, auto_refresh=False) as live:
        while True:
            read()
            run_file.refresh_record()
            state = "" if run_file.is_live else " (over; Ctrl-C leaves)"
            live.update(Text("\n".join(board.lines(f"run {run_file.name}{state}", time.time() * 1e6))), refresh=True)
            time.sleep(DRAW_S)
