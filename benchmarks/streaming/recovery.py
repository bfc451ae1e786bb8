"""A worker is killed while state has 160,000 keys: until all work again. `python -m benchmarks.streaming.recovery TEXT`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections import Counter

from benchmarks.streaming.answer import digest, hand_in

KILLS = 5
COPIES = 4


def main() -> None:
    import skate
    from skate.streaming import Stream
    from skate.streaming.run import wait_until

    skate.init(num_cpus=2)
    with tempfile.TemporaryDirectory() as snapshots:
        paths = [f"{snapshots}-{copy}.txt" for copy in range(COPIES)]
        for path in paths:
            os.symlink(sys.argv[1], path)
        running = (
            Stream.from_text(paths, split_bytes=1 << 30).flat_map(str.split).count_by().to_list().start(snapshots, interval_s=0.5)
        )
        took = []
        for kill in range(KILLS):
            taken = running.snapshots
            running.wait_for_snapshot(taken + 2)
            pids = running.worker_pids()
            started = time.perf_counter()
            os.kill(pids[kill % 2, kill % 2], signal.SIGKILL)
            wait_until(
                lambda pids=pids: len(now := running.worker_pids()) == len(pids) and not {*now.values()} & {*pids.values()}
            )
            took.append(time.perf_counter() - started)
        answer = running.wait()
        for path in paths:
            os.unlink(path)
    with open(sys.argv[1]) as file:
        expected = digest((word, COPIES * count) for word, count in Counter(file.read().split()).items())
    assert digest(answer) == expected, "the answer is not that of an undisturbed run"
    hand_in(
        side="skate", kills=KILLS, recovery_max_s=max(took), recovery_s=took, restarts=running.restarts, answer=digest(answer)
    )
    skate.shutdown()


if __name__ == "__main__":
    main()
