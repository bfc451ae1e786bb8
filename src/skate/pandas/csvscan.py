"""read_csv of a file that pandas could not hold: a scan that reads the columns and keeps the rows that are needed.

pandas decides dtypes by all values of a column. A scan decides by the first rows (pandas' own reader says what they are) and then proves,
before the first result, that no later row would have changed pandas' mind: every value of an integer column is an integer, no value of a text
column looks like a number, no blank line, NUL or stray carriage return. Where the proof fails the plan is left to pandas.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Any

import pandas as pd
import polars as pl

from skate.pandas import costs, kinds, lazy, ledger, memory
from skate.pandas.nodes import FileScan
from skate.pandas.plan import Column, Plan, RowNumbers, named_column
from skate.pandas.settings import settings
from skate.pandas.warning_lines import counts_as_pandas

_real_read_csv = pd.read_csv
_SNIFF_ROWS = 2000
_SHARE_OF_MEMORY = 0.2  # pandas needs a few times the size of a file; below this share its own reader is the fastest.
_BLOCK_BYTES = 16 << 20
# What pandas takes for a missing value (pandas.read_csv, `na_values`).
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a",
    "nan", "null",
)  # fmt: skip
_PLANNED_OPTIONS = {"sep", "delimiter", "usecols"}
_DTYPES = {kinds.INT64: pl.Int64, kinds.FLOAT64: pl.Float64, kinds.STR: pl.String}
_COMPRESSED = (".gz", ".bz2", ".zip", ".xz", ".zst", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz")


def read_csv(filepath_or_buffer: Any, *args: Any, **kwargs: Any) -> Any:
    files = several(filepath_or_buffer)
    if files is not None:
        frames = [read_csv(name, *args, **kwargs) for name in files]
        return lazy.adopt(pd.concat(frames, ignore_index=kwargs.get("index_col") is None))
    if not args and kwargs.keys() <= _PLANNED_OPTIONS:
        try:
            made = _scan(filepath_or_buffer, kwargs)
        except Exception:
            made = None  # The file is broken or strange: pandas says so in its own words.
        if made is not None:
            return made
    from skate.pandas.namespace import adopt_reader

    return adopt_reader(_real_read_csv(filepath_or_buffer, *args, **kwargs))


counts_as_pandas(read_csv)
read_csv.__doc__ = pd.read_csv.__doc__
read_csv.__wrapped__ = pd.read_csv  # type: ignore[attr-defined]


def several(source: Any) -> list[str] | None:
    """The files of a list of names, or of a pattern such as "part-*.csv" that is not itself a file; None for anything else."""
    if isinstance(source, (list, tuple)) and source and all(isinstance(one, (str, os.PathLike)) for one in source):
        return [os.fspath(one) for one in source]
    if isinstance(source, (str, os.PathLike)):
        name = os.path.expanduser(os.fspath(source))
        if isinstance(name, str) and "://" not in name and glob.has_magic(name) and not os.path.exists(name):
            return sorted(glob.glob(name, recursive=True)) or None
    return None


def _scan(source: Any, options: dict[str, Any]) -> Any:
    if not isinstance(source, (str, os.PathLike)):
        return None
    name = os.path.abspath(os.path.expanduser(os.fspath(source)))
    if not os.path.isfile(name) or name.lower().endswith(_COMPRESSED):
        return None
    size = os.path.getsize(name)
    if size < settings.file_bytes_min or not (costs.is_forced() or size > _SHARE_OF_MEMORY * memory.available()):
        return None
    separator = options.get("sep", options.get("delimiter", ","))
    wanted = options.get("usecols")
    if separator not in (",", ";", "\t", "|") or len(options.keys() & {"sep", "delimiter"}) > 1:
        return None
    if wanted is not None and not (isinstance(wanted, list) and wanted and all(isinstance(one, str) for one in wanted)):
        return None
    with open(name, "rb") as file:
        head = file.read(1 << 16)
    if head.startswith(b"\xef\xbb\xbf") or head[:1] in b"\r\n \t":
        return None
    sample = _real_read_csv(name, sep=separator, nrows=_SNIFF_ROWS)
    if not isinstance(sample.index, pd.RangeIndex) or len(sample) < _SNIFF_ROWS or sample.shape[1] < 2:
        return None
    if not all(isinstance(label, str) for label in sample.columns) or any(label.startswith("__") for label in sample.columns):
        return None
    if wanted is not None and not (set(wanted) <= set(sample.columns) and len(set(wanted)) == len(wanted)):
        return None
    columns = {
        label: named_column(label, dtype)
        for label, dtype in sample.dtypes.items()
        if dtype in _DTYPES and sample[label].notna().any()
    }
    labels = [label for label in sample.columns if wanted is None or label in wanted]
    if not all(label in columns for label in labels):
        return None
    columns = {
        label: Column(pl.col(label), column.dtype, may_nan=kinds.is_float(column.dtype), name=label)
        for label, column in columns.items()
    }
    node = CsvScan(name, separator, list(sample.columns), columns, has_returns=b"\r" in head)

    def replay() -> Any:
        return _real_read_csv(name, **options)

    plan = Plan(
        node,
        {label: columns[label] for label in labels},
        RowNumbers(),
        replay,
        f"read_csv({os.path.basename(name)!r})",
        ledger.user_line(),
        is_whole_scan=True,
    )
    return lazy.new_frame(plan)


class CsvScan(FileScan):
    """A CSV file whose columns have the dtypes of its first rows, which is proved before rows are given out."""

    label = "read_csv"

    def __init__(self, path: str, separator: str, header: list[str], columns: dict[str, Column], *, has_returns: bool) -> None:
        super().__init__(path, columns)
        self._separator, self._header, self._has_returns = separator, header, has_returns
        self._odd_values: dict[str, int] | None = None  # Known once somebody needs rows.

    def build(self, inputs: Sequence[pl.LazyFrame], needed: frozenset[str], ordered: bool) -> pl.LazyFrame:
        self.opened()
        self.prove(needed)
        return self._lines({name: _DTYPES[self.columns[name].dtype] for name in self.columns})

    def _lines(self, types: dict[str, Any]) -> pl.LazyFrame:
        schema = {name: types.get(name, pl.String) for name in self._header}
        return pl.scan_csv(
            f"/proc/self/fd/{self._file}", separator=self._separator, schema=schema, null_values=list(MISSING), glob=False, encoding="utf8",
        )  # fmt: skip

    def prove(self, names: frozenset[str]) -> None:
        """That pandas would give these columns the dtypes that the first rows have.

        Raises:
            polars.exceptions.ComputeError: It would not, or it can't be said.
        """
        if self._odd_values is None:
            self._look_at_lines()
            self._odd_values = self._count_odd_values()
        for name in names:
            if self._odd_values.get(name):
                raise pl.exceptions.ComputeError(f"{self._odd_values[name]:,} values of {name!r} are not what its first rows are")

    def _count_odd_values(self) -> dict[str, int]:
        """By column, how many values would have changed pandas' mind. All columns in one pass: a line with too many fields, which is an error,
        is only found where all of it is parsed."""
        counts = []
        for name in self._header:
            text = pl.col(name)
            dtype = self.columns[name].dtype if name in self.columns else None
            if dtype is None:
                bad = text.is_null()  # It is not planned.
            elif kinds.is_str(dtype):
                # A part of the file with nothing but numbers would make pandas' column mixed.
                word = text.str.strip_chars()
                bad = word.cast(pl.Float64, strict=False).is_not_null() | word.str.to_lowercase().is_in(["true", "false"])
            else:
                bad = text.cast(_DTYPES[dtype], strict=False).is_null()
                if kinds.is_float(dtype):
                    bad = bad & text.is_not_null()
            counts.append(bad.sum().alias(name))
        found = self._lines({}).select(counts).collect(engine="streaming")
        return {name: int(found[name][0]) for name in self.columns}

    def _look_at_lines(self) -> None:
        """Whether there is what pandas' parser and Polars' read differently: blank lines, lines that begin with a space, NULs."""
        odd = [b"\n\n", b"\n\r\n", b"\n ", b"\n\t", b"\0"]
        if not self._has_returns:
            odd.append(b"\r")
        tail, place = b"", 0
        while block := os.pread(self._file, _BLOCK_BYTES, place):
            place += len(block)
            text = tail + block
            for one in odd:
                if one in text:
                    raise pl.exceptions.ComputeError(f"the file has {one!r}, which is pandas' to read")
            tail = text[-2:]

    def never_missing(self, name: str) -> bool:
        return False

    def describe(self) -> str:
        return f"read_csv {self.path}"
