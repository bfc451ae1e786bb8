"""The rows for Skate and for Ray: one body each, with `ray` being the one or the other.

Those of Ray's own microbenchmark stand in `skate/cli/microbenchmark_rows.py`, for `skate microbenchmark` shows them too. Here is what
Ray's does not look at: start, size, faults, idleness, fairness.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.engine import processes
from benchmarks.engine.timing import CPUS, Effort, MicrobenchmarkRows, Result, seconds


class Rows(MicrobenchmarkRows):
    """All rows. `start` and `stop` are called around each, unless it is in WITHOUT_ENGINE."""

    WITHOUT_ENGINE = ("import_time", "cold_start")

    # ------------------------------------------------------------ start

    def import_time(self, effort: Effort) -> Result:
        return _program(effort, f"import {self.ray.__name__}")

    def cold_start(self, effort: Effort) -> Result:
        arguments = "num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR'"
        return _program(
            effort,
            f"import {self.ray.__name__} as ray\n"
            f"ray.init({arguments})\n"
            "@ray.remote\n"
            "def square(x): return x * x\n"
            "print(ray.get(square.remote(7)), flush=True)\n",
        )

    # ------------------------------------------------------------ size

    def big_argument(self, effort: Effort) -> Result:
        import numpy as np

        self.restart(2)
        array = np.ones(effort.count(100_000_000, 10_000_000), dtype=np.uint8)

        @self.ray.remote
        def total(array: Any) -> int:
            return int(array[0]) + int(array[-1]) + len(array)

        def run() -> list[int]:
            ref = self.ray.put(array)
            return list(self.ray.get([total.remote(ref) for _ in range(10)]))

        answer = run()
        return seconds(effort, run, answer=answer)

    def queued_1k(self, effort: Effort) -> Result:
        return self._queued(effort, 1_000)

    def queued_10k(self, effort: Effort) -> Result:
        return self._queued(effort, 10_000)

    def queued_100k(self, effort: Effort) -> Result:
        return self._queued(effort, 100_000)

    def queued_1m(self, effort: Effort) -> Result:
        return self._queued(effort, 1_000_000)

    def queued_flat(self, effort: Effort) -> Result:
        """The rate with a million tasks queued in percent of that with a thousand, in one session."""
        few = statistics.median(self._queued(effort, 1_000).value for _ in range(20))
        many = self._queued(effort, 1_000_000).value
        return Result(100 * many / few, note=f"{many:,.0f}/s of 10⁶ queued, {few:,.0f}/s of 10³")

    def _queued(self, effort: Effort, count: int) -> Result:
        """All submitted before the first is asked for; the rate from the first submission to the last result."""
        count = effort.count(count, 1000)

        @self.ray.remote
        def same(x: int) -> int:
            return x

        self.ray.get([same.remote(i) for i in range(100)])
        start = time.perf_counter()
        refs = [same.remote(i) for i in range(count)]
        total = 0
        for at in range(0, count, 10_000):
            total += sum(self.ray.get(refs[at : at + 10_000]))
        return Result(count / (time.perf_counter() - start), answer=total)

    def queued_memory(self, effort: Effort) -> Result:
        """Proportional memory of all processes for each task that waits, in kB."""
        count = effort.count(100_000, 5000)
        ray = self.ray

        @ray.remote
        def hold(path: str) -> None:
            while not os.path.exists(path):
                time.sleep(0.01)

        @ray.remote
        def same(x: int) -> int:
            return x

        ray.get([same.remote(i) for i in range(1000)])
        gate = f"/tmp/skate-bench-gate-{os.getpid()}"
        holders = [hold.remote(gate) for _ in range(CPUS)]
        time.sleep(1)
        pids = processes.family(os.getpid())
        before = processes.proportional_bytes(pids)
        refs = [same.remote(i) for i in range(count)]
        time.sleep(1)
        after = processes.proportional_bytes(processes.family(os.getpid()))
        with open(gate, "w"):
            pass
        try:
            ray.get(holders)
            total = sum(ray.get(refs))
        finally:
            os.unlink(gate)
        return Result((after - before) / count / 1000, answer=total)

    def actors_created(self, effort: Effort) -> Result:
        """Actors created and called, per second: 1,000 of Skate's, 10 of Ray's (which takes 14 s for them)."""
        count = effort.count(1000, 20) if self.is_skate else 10

        class Small:
            def __init__(self, number: int) -> None:
                self.number = number

            def get(self) -> int:
                return self.number

        small = self.ray.remote(num_cpus=0)(Small)
        start = time.perf_counter()
        actors = [small.remote(i) for i in range(count)]
        answers = self.ray.get([actor.get.remote() for actor in actors])
        took = time.perf_counter() - start
        assert answers == list(range(count)), answers
        return Result(count / took, note=f"{count} actors in {took:.2f} s")

    def nested(self, effort: Effort) -> Result:
        """Tasks that wait for a task that waits for a task …, on 2 CPUs: levels per second (100 of Skate's, 8 of Ray's)."""
        self.restart(2)
        depth = 100 if self.is_skate else 8
        ray = self.ray

        @ray.remote
        def down(level: int) -> int:
            return 1 + (ray.get(down.remote(level - 1)) if level > 1 else 0)

        ray.get(down.remote(1))
        start = time.perf_counter()
        answer = ray.get(down.remote(depth))
        took = time.perf_counter() - start
        assert answer == depth
        return Result(depth / took, note=f"{depth} deep in {took:.2f} s")

    # ------------------------------------------------------------ faults

    def actor_restart(self, effort: Effort) -> Result:
        """From SIGKILL of an actor's process to the next answer, in seconds."""

        class Durable:
            def pid(self) -> int:
                return os.getpid()

        actor = self.ray.remote(max_restarts=-1, max_task_retries=-1)(Durable).remote()
        times = []
        for _ in range(effort.repeats):
            pid = self.ray.get(actor.pid.remote())
            os.kill(pid, signal.SIGKILL)
            start = time.perf_counter()
            while self.ray.get(actor.pid.remote()) == pid:
                pass
            times.append(time.perf_counter() - start)
        return Result(statistics.median(times), statistics.pstdev(times))

    def task_retry(self, effort: Effort) -> Result:
        """From SIGKILL of a worker that runs a task to the answer of the task's second attempt, in seconds."""
        import tempfile

        @self.ray.remote(max_retries=3)
        def second_time(directory: str) -> int:
            attempts = len(os.listdir(directory))
            open(f"{directory}/{attempts}-{os.getpid()}", "w").close()
            if attempts == 0:
                time.sleep(600)
            return attempts

        times = []
        for _ in range(effort.repeats):
            with tempfile.TemporaryDirectory() as directory:
                ref = second_time.remote(directory)
                while not os.listdir(directory):
                    time.sleep(0.005)
                os.kill(int(os.listdir(directory)[0].split("-")[1]), signal.SIGKILL)
                start = time.perf_counter()
                assert self.ray.get(ref) == 1
                times.append(time.perf_counter() - start)
        return Result(statistics.median(times), statistics.pstdev(times))

    # ------------------------------------------------------------ idle, fair

    def idle_memory(self, effort: Effort) -> Result:
        """Proportional memory of driver, engine and two workers that have nothing to do, in MB."""
        pids = self._idle_family()
        return Result(processes.proportional_bytes(pids) / 1e6, note=f"{len(pids)} processes")

    def idle_cpu(self, effort: Effort) -> Result:
        """Percent of one core that an idle engine takes."""
        self._idle_family()
        pids = processes.family(os.getpid())
        before, start = processes.cpu_seconds(pids), time.perf_counter()
        time.sleep(0.5 + 5 * effort.period_s)
        return Result(100 * (processes.cpu_seconds(pids) - before) / (time.perf_counter() - start))

    def _idle_family(self) -> list[int]:
        self.restart(2)

        @self.ray.remote
        def nap() -> None:
            time.sleep(0.2)

        self.ray.get([nap.remote(), nap.remote()])
        time.sleep(1)
        return processes.family(os.getpid())

    def spinning_driver(self, effort: Effort) -> Result:
        """Rate of tasks started by a worker while the driver's interpreter is busy, in percent of the rate while it is not."""
        ray = self.ray

        @ray.remote(num_cpus=0)
        def nested_rate(period_s: float) -> float:
            @ray.remote
            def nothing() -> None:
                return None

            ray.get([nothing.remote() for _ in range(100)])
            count, start = 0, time.perf_counter()
            while time.perf_counter() - start < period_s:
                ray.get([nothing.remote() for _ in range(20)])
                count += 20
            return count / (time.perf_counter() - start)

        ray.get(nested_rate.remote(0.2))
        calm = ray.get(nested_rate.remote(effort.period_s))
        ref = nested_rate.remote(effort.period_s)
        until = time.perf_counter() + effort.period_s + 1
        number = 0
        while time.perf_counter() < until:
            number += 1
        busy = ray.get(ref)
        return Result(100 * busy / calm, note=f"{busy:,.0f}/s beside a spinning driver, {calm:,.0f}/s without")

    def beside_long_task(self, effort: Effort) -> Result:
        """By how much the last of 1,000 empty tasks is later when a 10 s task runs beside, on 2 workers: milliseconds."""
        self.restart(2)
        ray = self.ray

        @ray.remote
        def long(period_s: float) -> None:
            time.sleep(period_s)

        @ray.remote
        def nothing() -> None:
            return None

        def last_of_1000() -> float:
            start = time.perf_counter()
            ray.get([nothing.remote() for _ in range(1000)])
            return 1000 * (time.perf_counter() - start)

        period_s = 10.0 if effort.scale == 1 else 2.0
        last_of_1000()
        alone = min(last_of_1000() for _ in range(3))
        pending = long.remote(period_s)
        beside = last_of_1000()
        ray.get(pending)
        return Result(max(0.0, beside - alone), note=f"{beside:.0f} ms beside it, {alone:.0f} ms alone on both workers")


def _program(effort: Effort, source: str) -> Result:
    """Seconds from the start of a Python program to its first line of output, or to its end if it prints nothing."""
    times = []
    answer = ""
    for _ in range(effort.repeats + 1):
        start = time.perf_counter()
        program = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert program.stdout is not None
        answer = program.stdout.readline().strip()
        if answer:
            times.append(time.perf_counter() - start)
            program.stdout.read()
        if program.wait() != 0:
            raise RuntimeError(f"exit status {program.returncode}")
        if not answer:
            times.append(time.perf_counter() - start)
    timed = times[1:] or times  # The first reads the files into the page cache.
    return Result(statistics.median(timed), statistics.pstdev(timed), answer or None)


program = _program
