"""db-benchmark's group-by questions in Polars."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(pl: Any, directory: Path) -> dict[str, Any]:
    return {"x": pl.read_parquet(directory / "x.parquet")}


CASES = {
    "q1": lambda pl, t: t["x"].group_by("id1").agg(pl.sum("v1")),
    "q2": lambda pl, t: t["x"].group_by("id1", "id2").agg(pl.sum("v1")),
    "q3": lambda pl, t: t["x"].group_by("id3").agg(pl.sum("v1"), pl.mean("v3")),
    "q4": lambda pl, t: t["x"].group_by("id4").agg(pl.mean("v1"), pl.mean("v2"), pl.mean("v3")),
    "q5": lambda pl, t: t["x"].group_by("id6").agg(pl.sum("v1"), pl.sum("v2"), pl.sum("v3")),
    "q6": lambda pl, t: t["x"].group_by("id4", "id5").agg(pl.median("v3").alias("median"), pl.std("v3").alias("std")),
    "q7": lambda pl, t: t["x"].group_by("id3").agg((pl.max("v1") - pl.min("v2")).alias("range_v1_v2")),
    "q8": lambda pl, t: t["x"].drop_nulls("v3").group_by("id6").agg(pl.col("v3").top_k(2)).explode("v3"),
    "q9": lambda pl, t: t["x"].group_by("id2", "id4").agg((pl.corr("v1", "v2") ** 2).alias("r2")),
    "q10": lambda pl, t: t["x"].group_by("id1", "id2", "id3", "id4", "id5", "id6").agg(pl.sum("v3"), pl.len().alias("v1")),
}
