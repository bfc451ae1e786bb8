"""TPC-H and db-benchmark in plain pandas code: each planned operation is checked against pandas, and nothing is left to pandas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import skate.pandas as spd
from benchmarks.pandas.programs import groupby, join, tpch
from skate.pandas import ledger

ROWS = 2_000


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything is planned, however small, and compared with pandas."""
    monkeypatch.setattr(spd.settings, "check", True)
    monkeypatch.setattr(spd.settings, "rows_min", 0)
    monkeypatch.setattr(spd.settings, "fallback_is_error", True)
    ledger.entries.clear()
    yield
    ledger.entries.clear()


def _tables() -> dict[str, pd.DataFrame]:
    """Tables of TPC-H's shape in which each query finds something."""
    dice = np.random.default_rng(22)

    def pick(words: list[str], count: int) -> list[str]:
        return [words[i] for i in dice.integers(0, len(words), count)]

    def days(first: str, last: str, count: int) -> np.ndarray:
        low, high = (int(np.datetime64(day, "D").astype(int)) for day in (first, last))
        return dice.integers(low, high, count).astype("datetime64[D]").astype("datetime64[ns]")

    def money(count: int) -> np.ndarray:
        return np.round(dice.uniform(-900, 10_000, count), 2)

    nations = ["FRANCE", "GERMANY", "BRAZIL", "CANADA", "SAUDI ARABIA", "JAPAN", "CHINA", "PERU"]
    regions = ["EUROPE", "ASIA", "AMERICA"]
    customers, suppliers, parts, orders, lines = 150, 20, 60, 700, ROWS
    types = ["ECONOMY ANODIZED STEEL", "PROMO PLATED BRASS", "MEDIUM POLISHED TIN", "LARGE BRUSHED BRASS"]
    shipped = days("1992-01-01", "1998-10-01", lines)
    order_days = days("1992-01-01", "1998-08-02", orders)
    tables = {
        "region": {"r_regionkey": np.arange(3), "r_name": regions, "r_comment": regions},
        "nation": {"n_nationkey": np.arange(8), "n_name": nations, "n_regionkey": [0, 0, 2, 2, 1, 1, 1, 2], "n_comment": nations},
        "supplier": {
            "s_suppkey": np.arange(1, suppliers + 1), "s_name": [f"Supplier#{i}" for i in range(suppliers)],
            "s_address": [f"a{i}" for i in range(suppliers)], "s_nationkey": np.arange(suppliers) % 8,
            "s_phone": [f"p{i}" for i in range(suppliers)], "s_acctbal": money(suppliers),
            "s_comment": pick(["good", "a Customer with Complaints"], suppliers),
        },
        "customer": {
            "c_custkey": np.arange(1, customers + 1), "c_name": [f"Customer#{i}" for i in range(customers)],
            "c_address": [f"b{i}" for i in range(customers)], "c_nationkey": dice.integers(0, 8, customers),
            "c_phone": [f"{n}-{i}" for i, n in enumerate(dice.integers(10, 34, customers))], "c_acctbal": money(customers),
            "c_mktsegment": pick(["BUILDING", "MACHINERY"], customers), "c_comment": [f"c{i}" for i in range(customers)],
        },
        "part": {
            "p_partkey": np.arange(1, parts + 1), "p_name": pick(["forest green", "green red", "forest blue", "blue"], parts),
            "p_mfgr": pick(["M1", "M2"], parts), "p_brand": pick(["Brand#12", "Brand#23", "Brand#34", "Brand#45"], parts),
            "p_type": pick(types, parts), "p_size": dice.choice([15, 3, 9, 14], parts).astype("int32"),
            "p_container": pick(["SM BOX", "MED BOX", "LG BOX"], parts), "p_retailprice": money(parts), "p_comment": ["x"] * parts,
        },
        "partsupp": {
            "ps_partkey": np.repeat(np.arange(1, parts + 1), 4), "ps_suppkey": (np.arange(parts * 4) * 7) % suppliers + 1,
            "ps_availqty": dice.integers(1, 10_000, parts * 4).astype("int32"), "ps_supplycost": money(parts * 4) + 1000,
            "ps_comment": ["y"] * (parts * 4),
        },
        "orders": {
            "o_orderkey": dice.permutation(orders) * 4 + 1, "o_custkey": dice.integers(1, customers * 2 // 3, orders),
            "o_orderstatus": pick(["F", "O"], orders), "o_totalprice": np.round(dice.uniform(900, 5e5, orders), 2),
            "o_orderdate": order_days, "o_orderpriority": pick(["1-URGENT", "2-HIGH", "3-MEDIUM"], orders),
            "o_clerk": ["z"] * orders, "o_shippriority": np.zeros(orders, "int32"),
            "o_comment": pick(["special odd requests", "usual"], orders),
        },
        "lineitem": {
            "l_orderkey": np.sort(dice.integers(0, orders, lines)) * 4 + 1, "l_partkey": dice.integers(1, parts + 1, lines),
            "l_suppkey": dice.integers(1, suppliers + 1, lines), "l_linenumber": dice.integers(1, 8, lines).astype("int32"),
            "l_quantity": dice.integers(1, 120, lines).astype("float64"), "l_extendedprice": np.round(dice.uniform(900, 1e5, lines), 2),
            "l_discount": dice.integers(0, 11, lines) / 100, "l_tax": dice.integers(0, 9, lines) / 100,
            "l_returnflag": pick(["R", "A", "N"], lines), "l_linestatus": pick(["O", "F"], lines), "l_shipdate": shipped,
            "l_commitdate": shipped + dice.integers(-30, 60, lines).astype("timedelta64[D]"),
            "l_receiptdate": shipped + dice.integers(1, 40, lines).astype("timedelta64[D]"),
            "l_shipinstruct": pick(["DELIVER IN PERSON", "NONE"], lines), "l_shipmode": pick(["AIR", "MAIL", "SHIP", "RAIL"], lines),
            "l_comment": ["w"] * lines,
        },
    }  # fmt: skip
    return {name: pd.DataFrame(table) for name, table in tables.items()}


TABLES = _tables()


def _equal(result: Any, expected: Any) -> None:
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(spd.DataFrame.to_pandas(result), expected)
    else:
        assert result == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", tpch.QUERIES)
def test_tpch_is_planned_and_equal(name: str) -> None:
    query = tpch.QUERIES[name]
    expected = query(pd, *(TABLES[table] for table in tpch.tables_of(query)))
    assert not isinstance(expected, pd.DataFrame) or len(expected) > 0, "the data don't try this query"

    result = query(spd, *(spd.from_pandas(TABLES[table]) for table in tpch.tables_of(query)))

    _equal(result, expected)
    assert {entry.engine for entry in ledger.entries.values()} == {"polars"}


def _groups() -> pd.DataFrame:
    dice = np.random.default_rng(108)
    return pd.DataFrame({
        "id1": [f"id{i:03d}" for i in dice.integers(0, 5, ROWS)], "id2": [f"id{i:03d}" for i in dice.integers(0, 5, ROWS)],
        "id3": [f"id{i:010d}" for i in dice.integers(0, 90, ROWS)], "id4": dice.integers(0, 5, ROWS), "id5": dice.integers(0, 5, ROWS),
        "id6": dice.integers(0, 90, ROWS), "v1": dice.integers(1, 6, ROWS), "v2": dice.integers(1, 16, ROWS),
        "v3": np.where(dice.random(ROWS) < 0.05, np.nan, np.round(dice.uniform(0, 100, ROWS), 6)),
    })  # fmt: skip


GROUPS = _groups()


@pytest.mark.parametrize("name", groupby.CASES)
def test_db_benchmark_groupby_is_equal(name: str) -> None:
    settings_of_questions = {"q9"}  # Its last step, a power of a small frame, is pandas' own.
    spd.settings.fallback_is_error = name not in settings_of_questions
    expected = groupby.CASES[name](pd, {"x": GROUPS})

    result = groupby.CASES[name](spd, {"x": spd.from_pandas(GROUPS)})

    _equal(result, expected)


def _sides() -> dict[str, pd.DataFrame]:
    dice = np.random.default_rng(109)

    def table(rows: int, value: str) -> pd.DataFrame:
        ids = {f"id{i}": dice.integers(0, 60, rows) for i in (1, 2, 3)}
        text = {f"id{i + 3}": [f"id{key}" for key in ids[f"id{i}"]] for i in (1, 2, 3)}
        return pd.DataFrame({**ids, **text, value: dice.random(rows)})

    return {"x": table(500, "v1"), "small": table(5, "v2"), "medium": table(40, "v2"), "big": table(500, "v2")}


@pytest.mark.parametrize("name", join.CASES)
def test_db_benchmark_join_is_planned_and_equal_in_order(name: str) -> None:
    sides = _sides()
    expected = join.CASES[name](pd, sides)

    result = join.CASES[name](spd, {side: spd.from_pandas(table) for side, table in sides.items()})

    _equal(result, expected)
    assert {entry.engine for entry in ledger.entries.values()} == {"polars"}


def test_the_largest_of_sums_is_found_again() -> None:
    """Sums over threads end in other digits each time they are made: the groups of a reduction are kept."""
    frame = spd.from_pandas(pd.DataFrame({"k": np.arange(3000) % 300, "v": np.random.default_rng(0).random(3000)}))

    sums = frame.groupby("k", as_index=False).agg(total=("v", "sum"))
    top = sums[sums.total == sums.total.max()]

    assert len(top) == 1


def test_isin_of_a_plan_is_a_semi_join_also_with_missing_values() -> None:
    left = pd.DataFrame({"a": [1.0, 2.0, np.nan, 4.0], "b": ["x", "y", "z", None]})
    right = pd.DataFrame({"a": [np.nan, 1.0, 9.0], "b": [None, "x", "q"], "keep": [True, True, True]})
    mine, theirs = spd.from_pandas(left), spd.from_pandas(right)
    chosen, plain = theirs[theirs.keep], right[right.keep]
    for column in ("a", "b"):
        for mask, expected in (
            (mine[column].isin(chosen[column]), left[column].isin(plain[column])),
            (~mine[column].isin(chosen[column]), ~left[column].isin(plain[column])),
            (mine[column].isin(chosen[column]) & (mine.a > 1), left[column].isin(plain[column]) & (left.a > 1)),
            (~(mine[column].isin(chosen[column]) & (mine.a > 1)), ~(left[column].isin(plain[column]) & (left.a > 1))),
        ):
            assert "join" in spd.explain(mine[mask]).lower() or expected is not None
            _equal(mine[mask], left[expected])
            pd.testing.assert_series_equal(mask.to_pandas(), expected)


def test_a_frame_of_one_column_is_joined() -> None:
    left, right = pd.DataFrame({"a": [1, 2, 3, 2]}), pd.DataFrame({"a": [2, 3]})

    _equal(spd.from_pandas(left).merge(spd.from_pandas(right), on="a"), left.merge(right, on="a"))


def test_the_first_of_a_sort_are_those_of_pandas() -> None:
    dice = np.random.default_rng(5)
    frame = pd.DataFrame({"a": dice.integers(0, 5, 200), "b": np.where(dice.random(200) < 0.9, np.nan, dice.random(200))})
    mine = spd.from_pandas(frame)
    for by in (["a"], ["b"], ["b", "a"], ["a", "b"]):
        for ascending in (True, False):
            for na_position in ("first", "last"):
                for rows in (0, 3, 50):
                    options: dict[str, Any] = {"ascending": ascending, "na_position": na_position, "kind": "stable"}
                    _equal(mine.sort_values(by, **options).head(rows), frame.sort_values(by, **options).head(rows))


def test_groups_that_are_filtered_and_sorted_come_in_order() -> None:
    dice = np.random.default_rng(6)
    frame = pd.DataFrame(
        {"k": dice.integers(0, 50, 900), "s": [f"s{i}" for i in dice.integers(0, 3, 900)], "v": dice.integers(0, 9, 900)}
    )
    mine = spd.from_pandas(frame)
    for keys in ("k", ["s", "k"]):
        sums, expected = (f.groupby(keys, as_index=False).agg(n=("v", "sum")) for f in (mine, frame))
        _equal(sums[sums.n > 60], expected[expected.n > 60])
        _equal(sums[sums.n > 60].sort_values(["n"], kind="stable"), expected[expected.n > 60].sort_values(["n"], kind="stable"))
        _equal(
            sums.sort_values("n", kind="stable", ascending=False).head(7),
            expected.sort_values("n", kind="stable", ascending=False).head(7),
        )
        _equal(mine.merge(sums, on=keys), frame.merge(expected, on=keys))
