"""Row-exact shards: N workers read one dataset, each row once per epoch, whatever N is; resumable in the middle of an epoch.

    rows 0 … n-1 ──order(seed, epoch)──► global order ──cut into global batches──► rank r takes its slice of each

The order depends on seed and epoch only, not on the number of workers: step k of an epoch sees the same rows with one worker of batch 64, or with
four of 16. A position is a number of rows, so an epoch can be resumed with another number of workers. The last batch of an epoch may be
smaller; all ranks have the same number of batches, because collectives need it.

In-memory tables lie in the object store, and workers map them. Parquet files larger than `IN_MEMORY_BYTES` are read by row group when their
rows are due; then the order is shuffled in windows of some row groups (each of them shuffled, and the rows within).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import skate

IN_MEMORY_BYTES = 512 << 20
WINDOW_GROUPS = 4

Columns = dict[str, Any]  # name → array; axis 0 is the row


# ---------------------------------------------------------------- the order of rows


def epoch_order(num_rows: int, seed: int, epoch: int) -> np.ndarray[Any, Any]:
    """The rows of an epoch in their order: a permutation of 0 … num_rows-1."""
    return np.random.default_rng((seed, epoch)).permutation(num_rows)


def windowed_order(group_rows: Sequence[int], seed: int, epoch: int, window: int) -> np.ndarray[Any, Any]:
    """A permutation in which only `window` groups (of the file) are needed at a time.

    Args:
        group_rows: Rows of each group, in file order.
    """
    dice = np.random.default_rng((seed, epoch))
    starts = np.concatenate([[0], np.cumsum(group_rows)])
    groups = dice.permutation(len(group_rows))
    parts = []
    for first in range(0, len(groups), window):
        rows = np.concatenate([np.arange(starts[g], starts[g + 1]) for g in groups[first : first + window]])
        parts.append(dice.permutation(rows))
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def batch_bounds(num_rows: int, position: int, global_batch: int, world_size: int, *, drop_last: bool) -> list[tuple[int, int]]:
    """The global batches from `position` on, as ranges of the order.

    A rest of fewer rows than workers joins the batch before it: no rank may have an empty batch.
    """
    bounds = []
    while position < num_rows:
        end = min(position + global_batch, num_rows)
        if end - position < global_batch and drop_last:
            break
        if 0 < num_rows - end < world_size and not drop_last:
            end = num_rows
        bounds.append((position, end))
        position = end
    return bounds


def rank_slice(start: int, end: int, rank: int, world_size: int) -> tuple[int, int]:
    """The part of a global batch that is `rank`'s: as even as can be."""
    rows = end - start
    return start + rows * rank // world_size, start + rows * (rank + 1) // world_size


# ---------------------------------------------------------------- sources


class Source:
    """Where rows come from."""

    num_rows: int

    def order(self, seed: int, epoch: int) -> np.ndarray[Any, Any]:
        return epoch_order(self.num_rows, seed, epoch)

    def take(self, rows: np.ndarray[Any, Any]) -> Columns:
        raise NotImplementedError


class TableSource(Source):
    """Columns in the object store: put once, mapped by each worker."""

    def __init__(self, columns: Columns) -> None:
        self.num_rows = len(next(iter(columns.values())))
        self._ref = skate.put(columns)
        self._columns: Columns | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"num_rows": self.num_rows, "_ref": self._ref, "_columns": None}

    def take(self, rows: np.ndarray[Any, Any]) -> Columns:
        if self._columns is None:
            self._columns = skate.get(self._ref)
        return {name: column[rows] for name, column in self._columns.items()}


class ParquetSource(Source):
    """Row groups of Parquet files, read when they are due; the latest few are kept."""

    def __init__(self, paths: Sequence[str], columns: Sequence[str] | None = None) -> None:
        pq = _pyarrow("parquet")
        self._groups: list[tuple[str, int]] = []
        self._columns = list(columns) if columns else None
        rows: list[int] = []
        for path in paths:
            metadata = pq.ParquetFile(path).metadata
            for group in range(metadata.num_row_groups):
                self._groups.append((path, group))
                rows.append(metadata.row_group(group).num_rows)
        self._rows = rows
        self._starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self.num_rows = int(self._starts[-1])
        self._kept: dict[int, Columns] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    def order(self, seed: int, epoch: int) -> np.ndarray[Any, Any]:
        return windowed_order(self._rows, seed, epoch, WINDOW_GROUPS)

    def take(self, rows: np.ndarray[Any, Any]) -> Columns:
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        pieces: list[tuple[np.ndarray[Any, Any], Columns]] = []
        for group in np.unique(groups):
            at = np.flatnonzero(groups == group)
            data = self._group(int(group))
            pieces.append((at, {name: column[rows[at] - self._starts[group]] for name, column in data.items()}))
        names = list(pieces[0][1]) if pieces else []
        found: Columns = {}
        for name in names:
            first = pieces[0][1][name]
            column = np.empty((len(rows), *first.shape[1:]), first.dtype)
            for at, data in pieces:
                column[at] = data[name]
            found[name] = column
        return found

    def _group(self, index: int) -> Columns:
        if index not in self._kept:
            path, group = self._groups[index]
            while len(self._kept) >= 2 * WINDOW_GROUPS:  # Two windows: a batch may lie across their border.
                self._kept.pop(next(iter(self._kept)))
            self._kept[index] = arrow_columns(_pyarrow("parquet").ParquetFile(path).read_row_group(group, columns=self._columns))
        return self._kept[index]


# ---------------------------------------------------------------- the dataset and its shards


class ShardedData:
    """A dataset that workers share out among themselves.

    Args:
        source: Where rows come from.
        shuffle: A new order in each epoch; False: the rows' own order.
        seed: Of the shuffling.
    """

    def __init__(self, source: Source, *, shuffle: bool = True, seed: int = 0) -> None:
        self.source, self.shuffle, self.seed = source, shuffle, seed

    @property
    def num_rows(self) -> int:
        return self.source.num_rows

    def shard(self, rank: int, world_size: int) -> Shard:
        return Shard(self.source, rank, world_size, shuffle=self.shuffle, seed=self.seed)

    def __repr__(self) -> str:
        return f"ShardedData({self.num_rows:,} rows, {type(self.source).__name__}, shuffle={self.shuffle})"


class Shard:
    """One worker's rows. Each `iter_batches` is one epoch, or the rest of the one that was left."""

    def __init__(self, source: Source, rank: int, world_size: int, *, shuffle: bool, seed: int) -> None:
        self._source, self._rank, self._world_size = source, rank, world_size
        self._shuffle, self._seed = shuffle, seed
        self.epoch = 0
        self.position = 0  # Rows of this epoch that all workers together have been given.

    def iter_batches(
        self,
        *,
        batch_size: int | None = None,
        global_batch_size: int | None = None,
        drop_last: bool = False,
        prefetch_batches: int = 1,
    ) -> Iterator[Columns]:
        """The batches of an epoch: dicts of column → NumPy array.

        Args:
            batch_size: Rows for each worker (default 256); or
            global_batch_size: rows for all workers together, so that the number of workers does not matter.
            drop_last: Leave out the last rows of an epoch when they do not fill a batch.
            prefetch_batches: So many are made ready in another thread; 0: none.

        Raises:
            ValueError: A batch would be empty for some worker.
        """
        if batch_size is not None and global_batch_size is not None:
            raise ValueError(
                "iter_batches: give batch_size (rows for each worker) or global_batch_size (rows for all of them), not both"
            )
        total = (
            global_batch_size
            if global_batch_size is not None
            else (batch_size if batch_size is not None else 256) * self._world_size
        )
        if total < self._world_size:
            raise ValueError(
                f"iter_batches: {total} rows can't be shared out among {self._world_size} workers: some would have an empty batch"
            )
        rows = self._source.num_rows
        order = self._source.order(self._seed, self.epoch) if self._shuffle else np.arange(rows)
        bounds = batch_bounds(rows, self.position, total, self._world_size, drop_last=drop_last)

        def make(bound: tuple[int, int]) -> Columns:
            low, high = rank_slice(*bound, self._rank, self._world_size)
            return self._source.take(order[low:high])

        for bound, batch in zip(bounds, _prefetched(make, bounds, prefetch_batches), strict=True):
            # Counted when it is given out: a loop that saves its state after training on a batch resumes with the next one.
            self.position = bound[1]
            yield batch
        self.epoch += 1
        self.position = 0

    def iter_torch_batches(self, *, dtypes: Any = None, device: Any = None, **options: Any) -> Iterator[dict[str, Any]]:
        """The same as tensors.

        Args:
            dtypes: A torch dtype, or column → dtype.
            device: Where to; None: as they are, on the CPU.
        """
        import torch

        for batch in self.iter_batches(**options):
            tensors = {}
            for name, column in batch.items():
                tensor = torch.from_numpy(np.ascontiguousarray(column))
                dtype = dtypes.get(name) if isinstance(dtypes, Mapping) else dtypes
                tensors[name] = tensor.to(device=device, dtype=dtype) if dtype is not None or device is not None else tensor
            yield tensors

    def to_tf(self, feature_columns: Any, label_columns: Any = None, **options: Any) -> Any:
        """A tf.data.Dataset of one epoch; iterate it again for the next."""
        import tensorflow as tf

        def pick(batch: Columns, names: Any) -> Any:
            return batch[names] if isinstance(names, str) else {name: batch[name] for name in names}

        def epochs() -> Iterator[Any]:
            for batch in self.iter_batches(**options):
                yield (
                    pick(batch, feature_columns)
                    if label_columns is None
                    else (pick(batch, feature_columns), pick(batch, label_columns))
                )

        sample = self._source.take(np.arange(1))

        def spec(names: Any) -> Any:
            def one(name: str) -> Any:
                return tf.TensorSpec((None, *sample[name].shape[1:]), sample[name].dtype)

            return one(names) if isinstance(names, str) else {name: one(name) for name in names}

        signature = spec(feature_columns) if label_columns is None else (spec(feature_columns), spec(label_columns))
        return tf.data.Dataset.from_generator(epochs, output_signature=signature)

    def state_dict(self) -> dict[str, int]:
        """Where this epoch stands; the same on every worker. Save it in a checkpoint."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from there; the number of workers may have changed."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def count(self) -> int:
        """Rows of the whole dataset."""
        return self._source.num_rows

    def __repr__(self) -> str:
        return (
            f"Shard({self._rank} of {self._world_size}, epoch {self.epoch}, position {self.position} of {self._source.num_rows})"
        )


def _prefetched(make: Any, bounds: Sequence[Any], depth: int) -> Iterator[Any]:
    """make(bound) for each, some ahead in another thread, which ends with the iterator."""
    if depth <= 0:
        yield from map(make, bounds)
        return
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=depth)
    is_over = threading.Event()

    def run() -> None:
        for bound in bounds:
            try:
                item: tuple[Any, BaseException | None] = (make(bound), None)
            except BaseException as error:
                item = (None, error)
            while not is_over.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if is_over.is_set() or item[1] is not None:
                return

    thread = threading.Thread(target=run, name="skate-prefetch", daemon=True)
    thread.start()
    try:
        for _ in bounds:
            value, error = ready.get()
            if error is not None:
                raise error
            yield value
    finally:
        is_over.set()


# ---------------------------------------------------------------- readers


def read_parquet(paths: Any, *, columns: Sequence[str] | None = None, shuffle: bool = True, seed: int = 0) -> ShardedData:
    """Rows of Parquet files: a path, several, or a directory. Small ones are kept in memory, large ones are read as they are needed."""
    files = _files(paths, ".parquet")
    if sum(Path(file).stat().st_size for file in files) > IN_MEMORY_BYTES:
        return ShardedData(ParquetSource(files, columns), shuffle=shuffle, seed=seed)
    parquet, arrow = _pyarrow("parquet"), _pyarrow()
    tables = [parquet.read_table(file, columns=list(columns) if columns else None) for file in files]
    return from_columns(arrow_columns(arrow.concat_tables(tables)), shuffle=shuffle, seed=seed)


def read_csv(paths: Any, *, shuffle: bool = True, seed: int = 0) -> ShardedData:
    """Rows of CSV files with a header; they are kept in memory (the object store spills to disk)."""
    tables = [_pyarrow("csv").read_csv(file) for file in _files(paths, ".csv")]
    return from_columns(arrow_columns(_pyarrow().concat_tables(tables)), shuffle=shuffle, seed=seed)


def from_columns(columns: Columns, *, shuffle: bool = True, seed: int = 0) -> ShardedData:
    """Rows of arrays that are equally long.

    Raises:
        ValueError: They are not, or there are none.
    """
    if not columns:
        raise ValueError("the dataset has no columns")
    arrays = {str(name): np.asarray(column) for name, column in columns.items()}
    lengths = {name: len(array) if array.ndim else -1 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "the dataset's columns have different numbers of rows: " + ", ".join(f"{name} {n}" for name, n in lengths.items())
        )
    return ShardedData(TableSource(arrays), shuffle=shuffle, seed=seed)


def as_sharded(name: str, data: Any, *, least_rows: int = 1) -> Any:
    """What a user may give as a dataset, as `ShardedData`. Things of their own with a method `shard(rank, world_size)` are left as they are.

    Args:
        least_rows: The number of workers.

    Raises:
        TypeError, ValueError: It is not a dataset, or has too few rows; the message names it.
    """
    if hasattr(data, "shard") and not isinstance(data, ShardedData) and callable(data.shard):
        return data
    try:
        sharded = data if isinstance(data, ShardedData) else _convert(data)
    except (TypeError, ValueError) as error:
        raise type(error)(f"dataset {name!r}: {error}") from error
    if sharded.num_rows < least_rows:
        raise ValueError(f"dataset {name!r} has {sharded.num_rows} rows for {least_rows} workers: each needs at least one")
    return sharded


def _convert(data: Any) -> ShardedData:
    if isinstance(data, Mapping):
        return from_columns(dict(data))
    if isinstance(data, str | Path):
        return read_csv(data) if str(data).endswith(".csv") else read_parquet(data)
    if isinstance(data, np.ndarray):
        return from_columns({"data": data})
    if hasattr(data, "column_names") and hasattr(data, "to_pandas"):  # An Arrow table.
        return from_columns(arrow_columns(data))
    if hasattr(data, "to_arrow"):
        return from_columns(arrow_columns(data.to_arrow()))
    if hasattr(data, "_to_pandas"):
        data = data._to_pandas()
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return from_columns({column: data[column].to_numpy() for column in data.columns})
    raise TypeError(
        f"{type(data).__name__} is not a dataset: give an Arrow table, a pandas frame, a dict of arrays, a path of Parquet or CSV files, or what "
        "skate.blocks.shards reads"
    )


def arrow_columns(table: Any) -> Columns:
    """A table's columns as arrays; lists of equal length become a second axis."""
    arrow = _pyarrow()
    columns: Columns = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if arrow.types.is_fixed_size_list(column.type):
            columns[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
        elif arrow.types.is_list(column.type) or arrow.types.is_large_list(column.type):
            rows = column.to_pylist()
            columns[name] = np.array(rows) if len({len(row or ()) for row in rows}) == 1 else np.array(rows, dtype=object)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns


def _files(paths: Any, ending: str) -> list[str]:
    found: list[str] = []
    for path in [paths] if isinstance(paths, str | Path) else list(paths):
        one = Path(path)
        if one.is_dir():
            found += sorted(str(file) for file in one.rglob(f"*{ending}"))
        elif any(sign in str(path) for sign in "*?["):
            found += sorted(str(file) for file in one.parent.glob(one.name))
        elif one.exists():
            found.append(str(one))
        else:
            raise ValueError(f"there is no file {str(path)!r}")
    if not found:
        raise ValueError(f"there are no {ending} files in {paths!r}")
    return found


def _pyarrow(module: str = "") -> Any:
    from importlib import import_module

    try:
        return import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError as error:
        raise ImportError("Arrow, Parquet and CSV need pyarrow: pip install 'skate[train]'") from error
