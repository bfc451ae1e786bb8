"""Streams on a Ray cluster, unchanged."""

from __future__ import annotations

from pathlib import Path

from tests.ray.test_programs import run


def test_a_stream_runs_unchanged_and_goes_on_when_a_worker_is_killed(cluster: str, tmp_path: Path) -> None:
    out = run(
        """
        import os, signal, time
        import skate
        from skate.streaming import Stream

        skate.init(address=<address>)

        def slow_numbers():
            for number in range(4000):
                time.sleep(0.0005)
                yield number

        print(sorted(Stream.from_list(["a b", "b"]).flat_map(str.split).count_by().to_list().run(parallelism=2)))
        stream = Stream.from_iterator(slow_numbers).rebalance(1).map(lambda number: (number, os.getpid()))
        seen, pids = [], set()
        for number, pid in stream.iterate(interval_s=0.2):
            seen.append(number)
            if not pids:
                os.kill(pid, signal.SIGKILL)
            pids.add(pid)
        print(seen == list(range(4000)), len(pids))
        """,
        tmp_path,
        cluster,
    )
    # Ray says on standard output, too, that a worker was killed.
    assert [line for line in out.splitlines() if "(raylet)" not in line] == ["[('a', 1), ('b', 2)]", "True 2"]
