"""The 22 queries of TPC-H by hand in Polars' lazy API; a query's parameters are the tables it reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime as day
from pathlib import Path
from typing import Any

from benchmarks.pandas.programs.tpch import tables_of


def _revenue(pl: Any) -> Any:
    return pl.col("l_extendedprice") * (1 - pl.col("l_discount"))


def q1(pl: Any, lineitem: Any) -> Any:
    price = _revenue(pl)
    return (
        lineitem.filter(pl.col("l_shipdate") <= day(1998, 9, 2))
        .group_by("l_returnflag", "l_linestatus")
        .agg(
            pl.sum("l_quantity").alias("sum_qty"),
            pl.sum("l_extendedprice").alias("sum_base_price"),
            price.sum().alias("sum_disc_price"),
            (price * (1 + pl.col("l_tax"))).sum().alias("sum_charge"),
            pl.mean("l_quantity").alias("avg_qty"),
            pl.mean("l_extendedprice").alias("avg_price"),
            pl.mean("l_discount").alias("avg_disc"),
            pl.len().alias("count_order"),
        )
        .sort("l_returnflag", "l_linestatus")
    )


def q2(pl: Any, part: Any, supplier: Any, partsupp: Any, nation: Any, region: Any) -> Any:
    offers = (
        part.filter((pl.col("p_size") == 15) & pl.col("p_type").str.ends_with("BRASS"))
        .join(partsupp, left_on="p_partkey", right_on="ps_partkey")
        .join(supplier, left_on="ps_suppkey", right_on="s_suppkey")
        .join(nation, left_on="s_nationkey", right_on="n_nationkey")
        .join(region.filter(pl.col("r_name") == "EUROPE"), left_on="n_regionkey", right_on="r_regionkey")
    )
    return (
        offers.filter(pl.col("ps_supplycost") == pl.col("ps_supplycost").min().over("p_partkey"))
        .select("s_acctbal", "s_name", "n_name", "p_partkey", "p_mfgr", "s_address", "s_phone", "s_comment")
        .sort("s_acctbal", "n_name", "s_name", "p_partkey", descending=[True, False, False, False])
        .head(100)
    )


def q3(pl: Any, customer: Any, orders: Any, lineitem: Any) -> Any:
    return (
        customer.filter(pl.col("c_mktsegment") == "BUILDING")
        .join(orders.filter(pl.col("o_orderdate") < day(1995, 3, 15)), left_on="c_custkey", right_on="o_custkey")
        .join(lineitem.filter(pl.col("l_shipdate") > day(1995, 3, 15)), left_on="o_orderkey", right_on="l_orderkey")
        .group_by("o_orderkey", "o_orderdate", "o_shippriority")
        .agg(_revenue(pl).sum().alias("revenue"))
        .select("o_orderkey", "revenue", "o_orderdate", "o_shippriority")
        .sort("revenue", "o_orderdate", descending=[True, False])
        .head(10)
    )


def q4(pl: Any, orders: Any, lineitem: Any) -> Any:
    return (
        orders.filter(pl.col("o_orderdate").is_between(day(1993, 7, 1), day(1993, 10, 1), closed="left"))
        .join(lineitem.filter(pl.col("l_commitdate") < pl.col("l_receiptdate")), left_on="o_orderkey", right_on="l_orderkey", how="semi")
        .group_by("o_orderpriority")
        .agg(pl.len().alias("order_count"))
        .sort("o_orderpriority")
    )  # fmt: skip


def q5(pl: Any, customer: Any, orders: Any, lineitem: Any, supplier: Any, nation: Any, region: Any) -> Any:
    return (
        region.filter(pl.col("r_name") == "ASIA")
        .join(nation, left_on="r_regionkey", right_on="n_regionkey")
        .join(customer, left_on="n_nationkey", right_on="c_nationkey")
        .join(
            orders.filter(pl.col("o_orderdate").is_between(day(1994, 1, 1), day(1995, 1, 1), closed="left")),
            left_on="c_custkey", right_on="o_custkey",
        )
        .join(lineitem, left_on="o_orderkey", right_on="l_orderkey")
        .join(supplier, left_on=["l_suppkey", "n_nationkey"], right_on=["s_suppkey", "s_nationkey"])
        .group_by("n_name")
        .agg(_revenue(pl).sum().alias("revenue"))
        .sort("revenue", descending=True)
    )  # fmt: skip


def q6(pl: Any, lineitem: Any) -> Any:
    rows = lineitem.filter(
        pl.col("l_shipdate").is_between(day(1994, 1, 1), day(1995, 1, 1), closed="left")
        & pl.col("l_discount").is_between(0.05, 0.07)
        & (pl.col("l_quantity") < 24)
    )
    return _scalar(rows.select((pl.col("l_extendedprice") * pl.col("l_discount")).sum()))


def q7(pl: Any, supplier: Any, lineitem: Any, orders: Any, customer: Any, nation: Any) -> Any:
    two = nation.filter(pl.col("n_name").is_in(["FRANCE", "GERMANY"])).select("n_nationkey", "n_name")
    suppliers = supplier.join(two, left_on="s_nationkey", right_on="n_nationkey").select("s_suppkey", supp_nation="n_name")
    customers = customer.join(two, left_on="c_nationkey", right_on="n_nationkey").select("c_custkey", cust_nation="n_name")
    return (
        lineitem.filter(pl.col("l_shipdate").is_between(day(1995, 1, 1), day(1996, 12, 31)))
        .join(suppliers, left_on="l_suppkey", right_on="s_suppkey")
        .join(orders, left_on="l_orderkey", right_on="o_orderkey")
        .join(customers, left_on="o_custkey", right_on="c_custkey")
        .filter(pl.col("supp_nation") != pl.col("cust_nation"))
        .group_by("supp_nation", "cust_nation", pl.col("l_shipdate").dt.year().alias("l_year"))
        .agg(_revenue(pl).sum().alias("revenue"))
        .sort("supp_nation", "cust_nation", "l_year")
    )


def q8(pl: Any, part: Any, supplier: Any, lineitem: Any, orders: Any, customer: Any, nation: Any, region: Any) -> Any:
    america = nation.join(region.filter(pl.col("r_name") == "AMERICA"), left_on="n_regionkey", right_on="r_regionkey")
    volume = _revenue(pl)
    return (
        part.filter(pl.col("p_type") == "ECONOMY ANODIZED STEEL")
        .join(lineitem, left_on="p_partkey", right_on="l_partkey")
        .join(orders.filter(pl.col("o_orderdate").is_between(day(1995, 1, 1), day(1996, 12, 31))), left_on="l_orderkey", right_on="o_orderkey")
        .join(customer, left_on="o_custkey", right_on="c_custkey")
        .join(america, left_on="c_nationkey", right_on="n_nationkey", how="semi")
        .join(supplier, left_on="l_suppkey", right_on="s_suppkey")
        .join(nation, left_on="s_nationkey", right_on="n_nationkey")
        .group_by(pl.col("o_orderdate").dt.year().alias("o_year"))
        .agg((volume.filter(pl.col("n_name") == "BRAZIL").sum() / volume.sum()).alias("mkt_share"))
        .sort("o_year")
    )  # fmt: skip


def q9(pl: Any, part: Any, supplier: Any, lineitem: Any, partsupp: Any, orders: Any, nation: Any) -> Any:
    return (
        part.filter(pl.col("p_name").str.contains("green", literal=True))
        .join(partsupp, left_on="p_partkey", right_on="ps_partkey")
        .join(lineitem, left_on=["p_partkey", "ps_suppkey"], right_on=["l_partkey", "l_suppkey"])
        .join(supplier, left_on="ps_suppkey", right_on="s_suppkey")
        .join(orders, left_on="l_orderkey", right_on="o_orderkey")
        .join(nation, left_on="s_nationkey", right_on="n_nationkey")
        .group_by("n_name", pl.col("o_orderdate").dt.year().alias("o_year"))
        .agg((_revenue(pl) - pl.col("ps_supplycost") * pl.col("l_quantity")).sum().alias("sum_profit"))
        .sort("n_name", "o_year", descending=[False, True])
    )


def q10(pl: Any, customer: Any, orders: Any, lineitem: Any, nation: Any) -> Any:
    return (
        customer.join(
            orders.filter(pl.col("o_orderdate").is_between(day(1993, 10, 1), day(1994, 1, 1), closed="left")),
            left_on="c_custkey", right_on="o_custkey",
        )
        .join(lineitem.filter(pl.col("l_returnflag") == "R"), left_on="o_orderkey", right_on="l_orderkey")
        .join(nation, left_on="c_nationkey", right_on="n_nationkey")
        .group_by("c_custkey", "c_name", "c_acctbal", "c_phone", "n_name", "c_address", "c_comment")
        .agg(_revenue(pl).sum().alias("revenue"))
        .select("c_custkey", "c_name", "revenue", "c_acctbal", "n_name", "c_address", "c_phone", "c_comment")
        .sort("revenue", descending=True)
        .head(20)
    )  # fmt: skip


def q11(pl: Any, partsupp: Any, supplier: Any, nation: Any) -> Any:
    rows = partsupp.join(supplier, left_on="ps_suppkey", right_on="s_suppkey").join(
        nation.filter(pl.col("n_name") == "GERMANY"), left_on="s_nationkey", right_on="n_nationkey"
    )
    parts = rows.group_by("ps_partkey").agg((pl.col("ps_supplycost") * pl.col("ps_availqty")).sum().alias("value"))
    return parts.filter(pl.col("value") > pl.col("value").sum() * 0.0001).sort("value", descending=True)


def q12(pl: Any, orders: Any, lineitem: Any) -> Any:
    late = lineitem.filter(
        pl.col("l_shipmode").is_in(["MAIL", "SHIP"])
        & (pl.col("l_commitdate") < pl.col("l_receiptdate"))
        & (pl.col("l_shipdate") < pl.col("l_commitdate"))
        & pl.col("l_receiptdate").is_between(day(1994, 1, 1), day(1995, 1, 1), closed="left")
    )
    is_urgent = pl.col("o_orderpriority").is_in(["1-URGENT", "2-HIGH"])
    return (
        orders.join(late, left_on="o_orderkey", right_on="l_orderkey")
        .group_by("l_shipmode")
        .agg(is_urgent.sum().alias("high_line_count"), (~is_urgent).sum().alias("low_line_count"))
        .sort("l_shipmode")
    )


def q13(pl: Any, customer: Any, orders: Any) -> Any:
    usual = orders.filter(~pl.col("o_comment").str.contains("special.*requests"))
    return (
        customer.join(usual, left_on="c_custkey", right_on="o_custkey", how="left")
        .group_by("c_custkey")
        .agg(pl.count("o_orderkey").alias("c_count"))
        .group_by("c_count")
        .agg(pl.len().alias("custdist"))
        .sort("custdist", "c_count", descending=[True, True])
    )


def q14(pl: Any, lineitem: Any, part: Any) -> Any:
    rows = lineitem.filter(pl.col("l_shipdate").is_between(day(1995, 9, 1), day(1995, 10, 1), closed="left")).join(
        part, left_on="l_partkey", right_on="p_partkey"
    )
    promo = _revenue(pl).filter(pl.col("p_type").str.starts_with("PROMO"))
    return _scalar(rows.select(100.0 * promo.sum() / _revenue(pl).sum()))


def q15(pl: Any, lineitem: Any, supplier: Any) -> Any:
    revenue = (
        lineitem.filter(pl.col("l_shipdate").is_between(day(1996, 1, 1), day(1996, 4, 1), closed="left"))
        .group_by("l_suppkey")
        .agg(_revenue(pl).sum().alias("total_revenue"))
        .filter(pl.col("total_revenue") == pl.col("total_revenue").max())
    )
    return (
        supplier.join(revenue, left_on="s_suppkey", right_on="l_suppkey")
        .select("s_suppkey", "s_name", "s_address", "s_phone", "total_revenue")
        .sort("s_suppkey")
    )


def q16(pl: Any, partsupp: Any, part: Any, supplier: Any) -> Any:
    bad = supplier.filter(pl.col("s_comment").str.contains("Customer.*Complaints"))
    parts = part.filter(
        (pl.col("p_brand") != "Brand#45")
        & ~pl.col("p_type").str.starts_with("MEDIUM POLISHED")
        & pl.col("p_size").is_in([49, 14, 23, 45, 19, 3, 36, 9])
    )
    return (
        parts.join(partsupp, left_on="p_partkey", right_on="ps_partkey")
        .join(bad, left_on="ps_suppkey", right_on="s_suppkey", how="anti")
        .group_by("p_brand", "p_type", "p_size")
        .agg(pl.n_unique("ps_suppkey").alias("supplier_cnt"))
        .sort("supplier_cnt", "p_brand", "p_type", "p_size", descending=[True, False, False, False])
    )


def q17(pl: Any, lineitem: Any, part: Any) -> Any:
    boxes = part.filter((pl.col("p_brand") == "Brand#23") & (pl.col("p_container") == "MED BOX"))
    rows = lineitem.join(boxes, left_on="l_partkey", right_on="p_partkey")
    usual = rows.group_by("l_partkey").agg((0.2 * pl.mean("l_quantity")).alias("limit"))
    small = rows.join(usual, on="l_partkey").filter(pl.col("l_quantity") < pl.col("limit"))
    return _scalar(small.select(pl.sum("l_extendedprice") / 7.0))


def q18(pl: Any, customer: Any, orders: Any, lineitem: Any) -> Any:
    large = lineitem.group_by("l_orderkey").agg(pl.sum("l_quantity").alias("sum_quantity")).filter(pl.col("sum_quantity") > 300)
    return (
        orders.join(large, left_on="o_orderkey", right_on="l_orderkey")
        .join(customer, left_on="o_custkey", right_on="c_custkey")
        .select("c_name", pl.col("o_custkey").alias("c_custkey"), "o_orderkey", "o_orderdate", "o_totalprice", "sum_quantity")
        .sort("o_totalprice", "o_orderdate", descending=[True, False])
        .head(100)
    )


def q19(pl: Any, lineitem: Any, part: Any) -> Any:
    def kind(brand: str, containers: list[str], low: int, high: int, size: int) -> Any:
        return (
            (pl.col("p_brand") == brand)
            & pl.col("p_container").is_in(containers)
            & pl.col("l_quantity").is_between(low, high)
            & pl.col("p_size").is_between(1, size)
        )

    rows = (
        lineitem.filter(pl.col("l_shipmode").is_in(["AIR", "AIR REG"]) & (pl.col("l_shipinstruct") == "DELIVER IN PERSON"))
        .join(part, left_on="l_partkey", right_on="p_partkey")
        .filter(
            kind("Brand#12", ["SM CASE", "SM BOX", "SM PACK", "SM PKG"], 1, 11, 5)
            | kind("Brand#23", ["MED BAG", "MED BOX", "MED PKG", "MED PACK"], 10, 20, 10)
            | kind("Brand#34", ["LG CASE", "LG BOX", "LG PACK", "LG PKG"], 20, 30, 15)
        )
    )
    return _scalar(rows.select(_revenue(pl).sum()))


def q20(pl: Any, supplier: Any, nation: Any, partsupp: Any, part: Any, lineitem: Any) -> Any:
    forest = part.filter(pl.col("p_name").str.starts_with("forest"))
    offers = partsupp.join(forest, left_on="ps_partkey", right_on="p_partkey", how="semi")
    shipped = (
        lineitem.filter(pl.col("l_shipdate").is_between(day(1994, 1, 1), day(1995, 1, 1), closed="left"))
        .group_by("l_partkey", "l_suppkey")
        .agg((0.5 * pl.sum("l_quantity")).alias("half"))
    )
    rows = offers.join(shipped, left_on=["ps_partkey", "ps_suppkey"], right_on=["l_partkey", "l_suppkey"])
    rows = rows.filter(pl.col("ps_availqty") > pl.col("half"))
    canada = supplier.join(nation.filter(pl.col("n_name") == "CANADA"), left_on="s_nationkey", right_on="n_nationkey")
    return canada.join(rows, left_on="s_suppkey", right_on="ps_suppkey", how="semi").select("s_name", "s_address").sort("s_name")


def q21(pl: Any, supplier: Any, lineitem: Any, orders: Any, nation: Any) -> Any:
    late = lineitem.filter(pl.col("l_receiptdate") > pl.col("l_commitdate"))
    several = lineitem.group_by("l_orderkey").agg(pl.n_unique("l_suppkey").alias("n")).filter(pl.col("n") > 1)
    only_one = late.group_by("l_orderkey").agg(pl.n_unique("l_suppkey").alias("n")).filter(pl.col("n") == 1)
    return (
        late.join(several, on="l_orderkey", how="semi")
        .join(only_one, on="l_orderkey", how="semi")
        .join(supplier, left_on="l_suppkey", right_on="s_suppkey")
        .join(nation.filter(pl.col("n_name") == "SAUDI ARABIA"), left_on="s_nationkey", right_on="n_nationkey")
        .join(orders.filter(pl.col("o_orderstatus") == "F"), left_on="l_orderkey", right_on="o_orderkey")
        .group_by("s_name")
        .agg(pl.len().alias("numwait"))
        .sort("numwait", "s_name", descending=[True, False])
        .head(100)
    )


def q22(pl: Any, customer: Any, orders: Any) -> Any:
    customers = customer.with_columns(pl.col("c_phone").str.slice(0, 2).alias("cntrycode")).filter(
        pl.col("cntrycode").is_in(["13", "31", "23", "29", "30", "18", "17"])
    )
    average = customers.filter(pl.col("c_acctbal") > 0).select(pl.mean("c_acctbal").alias("average"))
    return (
        customers.join(average, how="cross")
        .filter(pl.col("c_acctbal") > pl.col("average"))
        .join(orders, left_on="c_custkey", right_on="o_custkey", how="anti")
        .group_by("cntrycode")
        .agg(pl.len().alias("numcust"), pl.sum("c_acctbal").alias("totacctbal"))
        .sort("cntrycode")
    )


def _scalar(frame: Any) -> float:
    return float(frame.collect().item())


QUERIES: dict[str, Callable[..., Any]] = {
    query.__name__: query
    for query in (q1, q2, q3, q4, q5, q6, q7, q8, q9, q10, q11, q12, q13, q14, q15, q16, q17, q18, q19, q20, q21, q22)
}


def load(pl: Any, directory: Path) -> dict[str, Any]:
    names = sorted({name for query in QUERIES.values() for name in tables_of(query)})
    return {name: pl.read_parquet(directory / f"{name}.parquet") for name in names}


def _in_memory(query: Callable[..., Any]) -> Callable[[Any, dict[str, Any]], Any]:
    names = tables_of(query)
    return lambda pl, t: query(pl, *(t[name].lazy() for name in names))


CASES = {name: _in_memory(query) for name, query in QUERIES.items()}
