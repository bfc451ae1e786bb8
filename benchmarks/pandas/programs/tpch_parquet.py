"""TPC-H, each query reading its tables from Parquet files first, whole, as a pandas program does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.pandas.programs.tpch import QUERIES, tables_of


def load(pd: Any, directory: Path) -> dict[str, Any]:
    return {"directory": str(directory)}


def _from_files(query: Callable[..., Any]) -> Callable[[Any, dict[str, Any]], Any]:
    names = tables_of(query)
    return lambda pd, t: query(pd, *(pd.read_parquet(f"{t['directory']}/{name}.parquet") for name in names))


CASES = {name: _from_files(query) for name, query in QUERIES.items()}
