"""From `import` to the first count of a text of 1 MB: `python -m benchmarks.streaming.cold PATH`; BENCH_STARTED_S is when the process was started."""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    started = time.time()
    from skate.streaming import Stream

    counts = Stream.from_text(sys.argv[1]).flat_map(str.split).count_by().iterate()
    word, count = next(counts)
    first_s = time.time() - started
    from benchmarks.streaming.answer import hand_in

    hand_in(
        side="skate",
        import_to_first_count_s=first_s,
        process_to_first_count_s=time.time() - float(os.environ["BENCH_STARTED_S"]),
        first=[word, count],
    )
    counts.close()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
