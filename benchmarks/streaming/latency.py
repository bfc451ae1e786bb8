"""From an event to the function that gets its result, at half of the peak rate: `python -m benchmarks.streaming.latency`.

iterator → key_by → count (updates) → callback, two workers a stage; each result carries the moment its event was made.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.streaming.answer import hand_in

Event = tuple[int, float]
PEAK_EVENTS = 600_000
SECONDS = 10.0
WARM_S = 3.0


def paced(rate: float) -> Iterator[Event]:
    """Events at a steady rate, each with the moment it was due."""
    started = time.time()
    number = 0
    while True:
        due = started + number / rate
        if due > started + SECONDS:
            return
        if (left := due - time.time()) > 0:
            time.sleep(left)
        yield number, due
        number += 1


class Note:
    """Writes the delays of its worker when the last of them are known."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.file: Any = None

    def __call__(self, update: tuple[int, tuple[int, float]]) -> None:
        if self.file is None:
            import os

            self.file = open(f"{self.directory}/{os.getpid()}", "w", buffering=1 << 16)  # noqa: SIM115
        now = time.time()
        self.file.write(f"{update[1][1]} {now - update[1][1]}\n")

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "file": None}

    def __deepcopy__(self, memo: Any) -> Note:
        return Note(self.directory)


def newest(a: Event, b: Event) -> Event:
    return b


def run(make: Any, directory: str) -> float:
    from skate.streaming import Stream

    started = time.perf_counter()
    Stream.from_iterator(make).key_by(lambda event: event[0] % 1000).reduce(newest, emit="updates").to_callback(
        Note(directory)
    ).run()
    return time.perf_counter() - started


def main() -> None:
    import skate

    skate.init(num_cpus=2)
    with tempfile.TemporaryDirectory() as directory:
        peak = PEAK_EVENTS / run(lambda: ((number, 0.0) for number in range(PEAK_EVENTS)), directory)
    for share in (0.1, 0.5):
        with tempfile.TemporaryDirectory() as directory:
            run(lambda share=share: paced(peak * share), directory)
            rows = [
                tuple(map(float, line.split())) for path in Path(directory).iterdir() for line in path.read_text().splitlines()
            ]
        begin = min(due for due, _ in rows) + WARM_S
        delays = sorted(delay for due, delay in rows if due > begin)
        hand_in(
            side="skate", peak_events_per_s=peak, share_of_peak=share, results=len(delays),
            p50_ms=1000 * delays[len(delays) // 2], p99_ms=1000 * delays[len(delays) * 99 // 100], max_ms=1000 * delays[-1],
        )  # fmt: skip
    skate.shutdown()


if __name__ == "__main__":
    main()
