"""Which suites there are: their data, their programs, how often a case is timed, and the goal against pandas. Imports the standard library only."""

from __future__ import annotations

from dataclasses import dataclass

PEERS = ("pandas", "skate", "modin", "fireducks", "bodo", "polars")


@dataclass(frozen=True)
class Suite:
    """`goal` is a ratio over pandas: of the geometric mean, or (`is_goal_each`) of every case."""

    name: str
    title: str
    data: str
    program: str
    goal: float | None = None
    is_goal_each: bool = False
    load: str = "load"
    is_cold: bool = False  # A whole process from its start to its end, the import of the library included.
    repeats: int = 3
    calls: int = 1  # Calls a timing: above 1 for operations too short to time alone.
    timeout_s: float = 120.0  # A case.


SUITES = {
    suite.name: suite
    for suite in (
        Suite("brief", "the brief's program, 2M rows", "brief", "brief"),
        Suite("brief-cold", "the brief's program in a cold process", "brief", "brief", goal=2.0, is_cold=True),
        Suite("groupby", "db-benchmark group-by, 5M rows", "groupby", "groupby", goal=2.6),
        Suite("join", "db-benchmark join, 5M rows", "join", "join", goal=3.0),
        Suite("tpch", "TPC-H, scale factor 1, in memory", "tpch", "tpch", goal=8.0),
        Suite("tpch-parquet", "TPC-H, scale factor 1, from Parquet", "tpch", "tpch_parquet", goal=11.0),
        Suite("flights", "nycflights13", "flights", "flights"),
        Suite("flights-cold", "nycflights13 in a cold process", "flights", "flights", is_cold=True),
        Suite("operations", "single operations, 2M rows", "brief", "operations", goal=0.95, is_goal_each=True),
        Suite("overhead", "the same operations on 10 rows", "brief", "operations", load="load_ten", calls=50),
        Suite("udf", "Python functions", "brief", "udf", goal=1.8),
    )
}
