"""The same program on workers, in the program's own process, and on the inline backend."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import skate
from skate.streaming import Stream, Tumbling

# Polars opens descriptors for its engine once, and keeps them: before the check for leaks looks.
pl.LazyFrame({"a": [1]}).select(pl.col("a").sum()).collect(engine="streaming")

TEXT = "".join(f"w{i % 97} w{i % 31} line{i % 7}\n" for i in range(3000))


def program(path: Path) -> list[Any]:
    lines = Stream.from_text(path, split_bytes=8192)
    counts = lines.flat_map(str.split).count_by().to_list().run()
    numbered = Stream.from_list(range(1000)).event_time(lambda n: n).key_by(lambda n: n % 3).window(Tumbling(100)).sum()
    columnar = Stream.from_text(path, blocks=True, split_bytes=8192).count_words().to_list().run()
    assert sorted(columnar) == sorted(counts)
    return [sorted(counts), sorted(numbered.iterate())]


@pytest.mark.parametrize("backend", ["local", "inline"])
def test_results_are_the_same(tmp_path: Path, backend: str) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    skate.init(backend, num_cpus=2)
    try:
        counts, sums = program(tmp_path / "a.txt")
    finally:
        skate.shutdown()
    assert counts == sorted(Counter(TEXT.split()).items())
    assert sum(window.value for window in sums) == sum(range(1000))
    assert len(sums) == 30
