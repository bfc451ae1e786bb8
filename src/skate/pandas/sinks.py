"""`to_csv` and `to_parquet` of a planned frame that does not fit into memory.

CSV: rows are made in batches, and pandas' own writer writes each, so that the text is the same to the byte. Parquet: Polars writes the file,
with pandas' notes in it, so that pandas reads the same frame from it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from skate.pandas import execute, interrupts, kinds, lazy, ledger, memory
from skate.pandas.plan import Levels, Plan, RowNumbers

BATCH_CELLS = 1_000_000
_CSV_OPTIONS = frozenset({"sep", "na_rep", "float_format", "header", "index", "quoting", "quotechar", "lineterminator", "doublequote", "escapechar", "decimal"})  # fmt: skip


def to_csv(frame: Any, path: Any, options: dict[str, Any]) -> bool:
    """Write it in batches, if it is planned and large; False leaves it to pandas."""
    plan = _large(frame, path)
    if plan is None or not options.keys() <= _CSV_OPTIONS or not isinstance(options.get("header", True), bool):
        return False
    if any(kinds.is_time(column.dtype) for column in plan.all_columns()):
        return False  # pandas leaves out the time of day where a part of a column has none.
    if os.path.splitext(path)[1] in (".gz", ".bz2", ".zip", ".xz", ".zst", ".tar"):
        return False

    def write() -> int:
        rows = 0
        with open(path, "w", encoding="utf-8", newline="") as file:

            def take(batch: Any) -> None:
                nonlocal rows
                batch.to_csv(file, **{**options, "header": options.get("header", True) and rows == 0})
                rows += len(batch)

            _each_batch(plan, take)
        return rows or -1

    return _write(plan, write, "to_csv", path)


def to_parquet(frame: Any, path: Any, options: dict[str, Any]) -> bool:
    """Write it with Polars, if it is planned and large; False leaves it to pandas. pandas' notes about dtypes and index are in the file."""
    plan = _large(frame, path)
    if plan is None or not options.keys() <= {"compression", "engine"} or options.get("engine", "auto") == "fastparquet":
        return False
    compression: Any = options.get("compression", "snappy") or "uncompressed"
    if compression not in ("snappy", "gzip", "brotli", "lz4", "zstd", "uncompressed") or plan.column_names is not None:
        return False
    for column in plan.all_columns():
        if kinds.is_time(column.dtype) and np.datetime_data(column.dtype)[0] == "s":
            return False
    names = {f"{place}": label for place, label in enumerate(plan.columns)}
    if isinstance(plan.index, Levels):
        for place, name in enumerate(plan.index.names):
            names[f"i{place}"] = f"__index_level_{place}__" if name is None else name
    if not all(isinstance(name, str) for name in names.values()) or len(set(names.values())) != len(names):
        return False

    def write() -> int:
        import pyarrow.parquet as pq

        query = execute.stream(plan)
        rows = (
            execute.collect(plan.base, {"rows": pl.len()}, ordered=False)["rows"][0] if isinstance(plan.index, RowNumbers) else 0
        )
        notes = _notes(plan, query, rows)
        query = query.select(pl.col(key).alias(name) for key, name in names.items())
        schema = query.collect_schema().to_frame().to_arrow().schema.with_metadata(notes)
        with interrupts.once(), memory.frugal():
            query.sink_parquet(os.fspath(path), compression=compression, arrow_schema=schema, engine="streaming")
        return int(pq.read_metadata(path).num_rows)

    return _write(plan, write, "to_parquet", path)


def _notes(plan: Plan, query: pl.LazyFrame, rows: int) -> dict[str, str]:
    """What pandas writes into a Parquet file about a frame of so many rows."""
    import json

    import pyarrow as pa

    empty = execute.to_pandas(plan, query.collect_schema().to_frame())
    document = json.loads(pa.Table.from_pandas(empty).schema.metadata[b"pandas"])
    if isinstance(plan.index, RowNumbers):
        start, step = plan.index.start, plan.index.step
        document["index_columns"] = [
            {"kind": "range", "name": plan.index.name, "start": start, "stop": start + rows * step, "step": step}
        ]
    return {"pandas": json.dumps(document)}


def _large(frame: Any, path: Any) -> Plan | None:
    plan = lazy.planned(frame)
    if plan is None or plan.is_series or plan.result is not None or not plan.columns or not isinstance(path, (str, os.PathLike)):
        return None
    if "://" in os.fspath(path) or not plan.is_complete or not execute.is_tight(plan.base):
        return None
    return plan


def _write(plan: Plan, write: Any, what: str, path: Any) -> bool:
    started = ledger.now()
    line = ledger.user_line()
    try:
        rows = write()
    except (execute.Unlowered, pl.exceptions.PolarsError):
        rows = -1
    if rows < 0:  # Also where there are no rows: pandas writes the header.
        return False
    ledger.add(line, f"{what}({os.path.basename(os.fspath(path))!r})", "polars", ledger.now() - started, rows, "")
    return True


def _each_batch(plan: Plan, take: Callable[[Any], None]) -> None:
    """Give the frame to `take` as plain frames of some rows each, in order."""
    offset = 0
    failures: list[BaseException] = []
    must_stop = threading.Event()

    def receive(table: pl.DataFrame) -> bool:
        # Called by one of Polars' threads, which must not see an exception.
        nonlocal offset
        try:
            if table.height and not must_stop.is_set():
                batch = execute.to_pandas(plan, table)
                if isinstance(plan.index, RowNumbers):
                    step = plan.index.step
                    start = plan.index.start + offset * step
                    batch.index = pd.RangeIndex(start, start + len(batch) * step, step, name=plan.index.name)
                offset += len(batch)
                take(batch)
        except BaseException as error:
            failures.append(error)
            must_stop.set()
        return must_stop.is_set()

    query = execute.stream(plan)
    with interrupts.once(), memory.frugal():
        query.sink_batches(receive, chunk_size=max(1, BATCH_CELLS // len(plan.columns)), maintain_order=True, engine="streaming")
    if failures:
        raise failures[0]
