"""Ctrl-C in a planned operation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

PROGRAM = """
import os, signal, sys, threading, time
import skate.pandas as pd
df = pd.read_parquet(sys.argv[1])
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
begun = time.monotonic()
try:
    while time.monotonic() < begun + 30:
        sorted_ = df[df.a > -1].sort_values(["word", "b"]).drop_duplicates("c")
        len(sorted_.a.to_numpy())
    print("not interrupted")
except KeyboardInterrupt:
    for _ in range(100_000):
        pass  # A second one would come here.
    print("interrupted")
print(int(df[df.a > 0].c.count()), int((df.a > 0).sum()))
"""


def test_an_interrupt_comes_once_and_the_frame_is_as_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 1_000_000
    path = tmp_path / "data.parquet"
    pd.DataFrame(
        {
            "a": rng.normal(size=rows),
            "b": rng.normal(size=rows),
            "c": rng.integers(0, 10**9, rows),
            "word": rng.choice(["x", "y", "z"], rows),
        }
    ).to_parquet(path)
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert lines[0] == "interrupted", done.stderr
    one, other = lines[1].split()
    assert one == other
