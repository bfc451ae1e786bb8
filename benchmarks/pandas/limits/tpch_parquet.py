"""TPC-H in Polars over Parquet files that are scanned lazily."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.pandas.limits.tpch import QUERIES
from benchmarks.pandas.programs.tpch import tables_of


def load(pl: Any, directory: Path) -> dict[str, Any]:
    return {"directory": str(directory)}


def _from_files(query: Callable[..., Any]) -> Callable[[Any, dict[str, Any]], Any]:
    names = tables_of(query)
    return lambda pl, t: query(pl, *(pl.scan_parquet(f"{t['directory']}/{name}.parquet") for name in names))


CASES = {name: _from_files(query) for name, query in QUERIES.items()}
