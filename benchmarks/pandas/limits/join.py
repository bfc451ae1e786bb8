"""db-benchmark's join questions in Polars, which need not keep the order of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(pl: Any, directory: Path) -> dict[str, Any]:
    return {name: pl.read_parquet(directory / f"{name}.parquet") for name in ("x", "small", "medium", "big")}


CASES = {
    "q1": lambda pl, t: t["x"].join(t["small"], on="id1"),
    "q2": lambda pl, t: t["x"].join(t["medium"], on="id2"),
    "q3": lambda pl, t: t["x"].join(t["medium"], how="left", on="id2"),
    "q4": lambda pl, t: t["x"].join(t["medium"], on="id5"),
    "q5": lambda pl, t: t["x"].join(t["big"], on="id3"),
}
