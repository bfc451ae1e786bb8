"""Inputs that are the same everywhere: text whose words follow Zipf's law, and keyed events in the order of their time."""

from __future__ import annotations

import random
from pathlib import Path

TEXT_MB = 64
VOCABULARY = 200_000
EVENTS = 5_000_000
KEYS = 10_000
WINDOW_S = 60


def write_text(path: Path, size_mb: int = TEXT_MB) -> None:
    """Lines of 8 to 16 words; the word of rank r with a frequency of 1/(r + 2.7)."""
    import numpy as np

    dice = np.random.default_rng(2018)
    letters = "etaoinshrdlucmfwypvbgk"
    names = random.Random(1)
    words = np.array(sorted({"".join(names.choices(letters, k=names.randint(2, 10))) for _ in range(VOCABULARY)}), dtype=object)
    dice.shuffle(words)
    weights = 1.0 / (np.arange(len(words)) + 2.7)
    weights /= weights.sum()
    written = 0
    with path.open("w") as file:
        while written < size_mb * 1_000_000:
            chosen = words[dice.choice(len(words), size=1_200_000, p=weights)]
            lengths = dice.integers(8, 17, size=100_000)
            start = 0
            lines = []
            for length in lengths:
                lines.append(" ".join(chosen[start : start + length]))
                start += length
            text = "\n".join(lines) + "\n"
            file.write(text[: text.rfind("\n", 0, size_mb * 1_000_000 - written) + 1])
            written += len(text)


def write_events(path: Path, count: int = EVENTS) -> None:
    """Parquet: time (seconds), key (of 10,000), value; 20,000 events a second of event time, at most 2 s out of order."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    dice = np.random.default_rng(2018)
    times = np.arange(count) / 20_000 + dice.uniform(0, 2, count)
    keys = (dice.pareto(1.0, count) * 10).astype(np.int64) % KEYS
    table = pa.table({"time": times, "key": keys, "value": dice.integers(0, 1000, count)})
    pq.write_table(table, path, row_group_size=100_000)


def inputs(directory: Path) -> tuple[Path, Path]:
    """The two files, made if they are not there."""
    directory.mkdir(parents=True, exist_ok=True)
    text, events = directory / f"text-{TEXT_MB}.txt", directory / "events.parquet"
    if not text.exists():
        write_text(text)
    if not events.exists():
        write_events(events)
    return text, events
