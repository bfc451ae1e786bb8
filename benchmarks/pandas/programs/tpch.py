"""The 22 queries of TPC-H in plain pandas, as its users write them; a query's parameters are the tables it reads.

The questions: https://www.tpc.org/tpch, section 2.4. Dates are datetime64, decimals float64. No column is dropped by hand to help a library.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any


def q1(pd: Any, lineitem: Any) -> Any:
    shipped = lineitem[lineitem.l_shipdate <= pd.Timestamp("1998-09-02")].copy()
    shipped["disc_price"] = shipped.l_extendedprice * (1 - shipped.l_discount)
    shipped["charge"] = shipped.disc_price * (1 + shipped.l_tax)
    summary = shipped.groupby(["l_returnflag", "l_linestatus"], as_index=False).agg(
        sum_qty=("l_quantity", "sum"),
        sum_base_price=("l_extendedprice", "sum"),
        sum_disc_price=("disc_price", "sum"),
        sum_charge=("charge", "sum"),
        avg_qty=("l_quantity", "mean"),
        avg_price=("l_extendedprice", "mean"),
        avg_disc=("l_discount", "mean"),
        count_order=("l_orderkey", "count"),
    )
    return summary.sort_values(["l_returnflag", "l_linestatus"])


def q2(pd: Any, part: Any, supplier: Any, partsupp: Any, nation: Any, region: Any) -> Any:
    europe = nation.merge(region[region.r_name == "EUROPE"], left_on="n_regionkey", right_on="r_regionkey")
    suppliers = supplier.merge(europe, left_on="s_nationkey", right_on="n_nationkey")
    brass = part[(part.p_size == 15) & part.p_type.str.endswith("BRASS")]
    offers = partsupp.merge(brass, left_on="ps_partkey", right_on="p_partkey")
    offers = offers.merge(suppliers, left_on="ps_suppkey", right_on="s_suppkey")
    lowest = offers.groupby("p_partkey", as_index=False).agg(lowest=("ps_supplycost", "min"))
    best = offers.merge(lowest, on="p_partkey")
    best = best[best.ps_supplycost == best.lowest]
    best = best[["s_acctbal", "s_name", "n_name", "p_partkey", "p_mfgr", "s_address", "s_phone", "s_comment"]]
    return best.sort_values(["s_acctbal", "n_name", "s_name", "p_partkey"], ascending=[False, True, True, True]).head(100)


def q3(pd: Any, customer: Any, orders: Any, lineitem: Any) -> Any:
    day = pd.Timestamp("1995-03-15")
    building = customer[customer.c_mktsegment == "BUILDING"]
    rows = building.merge(orders[orders.o_orderdate < day], left_on="c_custkey", right_on="o_custkey")
    rows = rows.merge(lineitem[lineitem.l_shipdate > day], left_on="o_orderkey", right_on="l_orderkey")
    rows["revenue"] = rows.l_extendedprice * (1 - rows.l_discount)
    revenue = rows.groupby(["l_orderkey", "o_orderdate", "o_shippriority"], as_index=False)["revenue"].sum()
    revenue = revenue[["l_orderkey", "revenue", "o_orderdate", "o_shippriority"]]
    return revenue.sort_values(["revenue", "o_orderdate"], ascending=[False, True]).head(10)


def q4(pd: Any, orders: Any, lineitem: Any) -> Any:
    late = lineitem[lineitem.l_commitdate < lineitem.l_receiptdate]
    quarter = orders[(orders.o_orderdate >= pd.Timestamp("1993-07-01")) & (orders.o_orderdate < pd.Timestamp("1993-10-01"))]
    found = quarter[quarter.o_orderkey.isin(late.l_orderkey)]
    return found.groupby("o_orderpriority").size().reset_index(name="order_count").sort_values("o_orderpriority")


def q5(pd: Any, customer: Any, orders: Any, lineitem: Any, supplier: Any, nation: Any, region: Any) -> Any:
    year = orders[(orders.o_orderdate >= pd.Timestamp("1994-01-01")) & (orders.o_orderdate < pd.Timestamp("1995-01-01"))]
    rows = region[region.r_name == "ASIA"].merge(nation, left_on="r_regionkey", right_on="n_regionkey")
    rows = rows.merge(customer, left_on="n_nationkey", right_on="c_nationkey")
    rows = rows.merge(year, left_on="c_custkey", right_on="o_custkey")
    rows = rows.merge(lineitem, left_on="o_orderkey", right_on="l_orderkey")
    rows = rows.merge(supplier, left_on=["l_suppkey", "n_nationkey"], right_on=["s_suppkey", "s_nationkey"])
    rows["revenue"] = rows.l_extendedprice * (1 - rows.l_discount)
    return rows.groupby("n_name", as_index=False)["revenue"].sum().sort_values("revenue", ascending=False)


def q6(pd: Any, lineitem: Any) -> Any:
    rows = lineitem[
        (lineitem.l_shipdate >= pd.Timestamp("1994-01-01"))
        & (lineitem.l_shipdate < pd.Timestamp("1995-01-01"))
        & (lineitem.l_discount >= 0.05)
        & (lineitem.l_discount <= 0.07)
        & (lineitem.l_quantity < 24)
    ]
    return (rows.l_extendedprice * rows.l_discount).sum()


def q7(pd: Any, supplier: Any, lineitem: Any, orders: Any, customer: Any, nation: Any) -> Any:
    two = nation[nation.n_name.isin(["FRANCE", "GERMANY"])]
    suppliers = supplier.merge(two, left_on="s_nationkey", right_on="n_nationkey").rename(columns={"n_name": "supp_nation"})
    customers = customer.merge(two, left_on="c_nationkey", right_on="n_nationkey").rename(columns={"n_name": "cust_nation"})
    shipped = lineitem[lineitem.l_shipdate.between(pd.Timestamp("1995-01-01"), pd.Timestamp("1996-12-31"))]
    rows = shipped.merge(suppliers[["s_suppkey", "supp_nation"]], left_on="l_suppkey", right_on="s_suppkey")
    rows = rows.merge(orders, left_on="l_orderkey", right_on="o_orderkey")
    rows = rows.merge(customers[["c_custkey", "cust_nation"]], left_on="o_custkey", right_on="c_custkey")
    rows = rows[rows.supp_nation != rows.cust_nation]
    rows = rows.assign(l_year=rows.l_shipdate.dt.year, volume=rows.l_extendedprice * (1 - rows.l_discount))
    volume = rows.groupby(["supp_nation", "cust_nation", "l_year"]).agg(revenue=("volume", "sum")).reset_index()
    return volume.sort_values(["supp_nation", "cust_nation", "l_year"])


def q8(pd: Any, part: Any, supplier: Any, lineitem: Any, orders: Any, customer: Any, nation: Any, region: Any) -> Any:
    steel = part[part.p_type == "ECONOMY ANODIZED STEEL"]
    rows = steel.merge(lineitem, left_on="p_partkey", right_on="l_partkey")
    rows = rows.merge(supplier, left_on="l_suppkey", right_on="s_suppkey")
    years = orders[(orders.o_orderdate >= pd.Timestamp("1995-01-01")) & (orders.o_orderdate <= pd.Timestamp("1996-12-31"))]
    rows = rows.merge(years, left_on="l_orderkey", right_on="o_orderkey")
    rows = rows.merge(customer, left_on="o_custkey", right_on="c_custkey")
    america = nation.merge(region[region.r_name == "AMERICA"], left_on="n_regionkey", right_on="r_regionkey")
    rows = rows.merge(america[["n_nationkey"]], left_on="c_nationkey", right_on="n_nationkey")
    rows = rows.merge(nation, left_on="s_nationkey", right_on="n_nationkey", suffixes=("_cust", ""))
    rows["o_year"] = rows.o_orderdate.dt.year
    rows["volume"] = rows.l_extendedprice * (1 - rows.l_discount)
    rows["of_brazil"] = rows.volume.where(rows.n_name == "BRAZIL", 0.0)
    years = rows.groupby("o_year", as_index=False)[["of_brazil", "volume"]].sum()
    years["mkt_share"] = years.of_brazil / years.volume
    return years[["o_year", "mkt_share"]].sort_values("o_year")


def q9(pd: Any, part: Any, supplier: Any, lineitem: Any, partsupp: Any, orders: Any, nation: Any) -> Any:
    green = part[part.p_name.str.contains("green")]
    rows = green.merge(lineitem, left_on="p_partkey", right_on="l_partkey")
    rows = rows.merge(partsupp, left_on=["l_partkey", "l_suppkey"], right_on=["ps_partkey", "ps_suppkey"])
    rows = rows.merge(supplier, left_on="l_suppkey", right_on="s_suppkey")
    rows = rows.merge(orders, left_on="l_orderkey", right_on="o_orderkey")
    rows = rows.merge(nation, left_on="s_nationkey", right_on="n_nationkey")
    rows["amount"] = rows.l_extendedprice * (1 - rows.l_discount) - rows.ps_supplycost * rows.l_quantity
    rows["o_year"] = rows.o_orderdate.dt.year
    profit = rows.groupby(["n_name", "o_year"])["amount"].sum().reset_index(name="sum_profit")
    return profit.sort_values(["n_name", "o_year"], ascending=[True, False])


def q10(pd: Any, customer: Any, orders: Any, lineitem: Any, nation: Any) -> Any:
    quarter = orders[(orders.o_orderdate >= pd.Timestamp("1993-10-01")) & (orders.o_orderdate < pd.Timestamp("1994-01-01"))]
    rows = customer.merge(quarter, left_on="c_custkey", right_on="o_custkey")
    rows = rows.merge(lineitem[lineitem.l_returnflag == "R"], left_on="o_orderkey", right_on="l_orderkey")
    rows = rows.merge(nation, left_on="c_nationkey", right_on="n_nationkey")
    rows["revenue"] = rows.l_extendedprice * (1 - rows.l_discount)
    keys = ["c_custkey", "c_name", "c_acctbal", "c_phone", "n_name", "c_address", "c_comment"]
    lost = rows.groupby(keys, as_index=False).agg(revenue=("revenue", "sum")).sort_values("revenue", ascending=False)
    return lost[["c_custkey", "c_name", "revenue", "c_acctbal", "n_name", "c_address", "c_phone", "c_comment"]].head(20)


def q11(pd: Any, partsupp: Any, supplier: Any, nation: Any) -> Any:
    germany = nation[nation.n_name == "GERMANY"]
    rows = partsupp.merge(supplier, left_on="ps_suppkey", right_on="s_suppkey")
    rows = rows.merge(germany, left_on="s_nationkey", right_on="n_nationkey")
    rows["value"] = rows.ps_supplycost * rows.ps_availqty
    parts = rows.groupby("ps_partkey", as_index=False)["value"].sum()
    return parts[parts.value > rows.value.sum() * 0.0001].sort_values("value", ascending=False)


def q12(pd: Any, orders: Any, lineitem: Any) -> Any:
    late = lineitem[
        lineitem.l_shipmode.isin(["MAIL", "SHIP"])
        & (lineitem.l_commitdate < lineitem.l_receiptdate)
        & (lineitem.l_shipdate < lineitem.l_commitdate)
        & (lineitem.l_receiptdate >= pd.Timestamp("1994-01-01"))
        & (lineitem.l_receiptdate < pd.Timestamp("1995-01-01"))
    ]
    rows = orders.merge(late, left_on="o_orderkey", right_on="l_orderkey")
    is_urgent = rows.o_orderpriority.isin(["1-URGENT", "2-HIGH"])
    rows["high_line_count"] = is_urgent.astype(int)
    rows["low_line_count"] = (~is_urgent).astype(int)
    return rows.groupby("l_shipmode", as_index=False)[["high_line_count", "low_line_count"]].sum().sort_values("l_shipmode")


def q13(pd: Any, customer: Any, orders: Any) -> Any:
    usual = orders[~orders.o_comment.str.contains("special.*requests")]
    rows = customer.merge(usual, how="left", left_on="c_custkey", right_on="o_custkey")
    counts = rows.groupby("c_custkey").agg(c_count=("o_orderkey", "count")).reset_index()
    spread = counts.groupby("c_count").size().reset_index(name="custdist")
    return spread.sort_values(["custdist", "c_count"], ascending=[False, False])


def q14(pd: Any, lineitem: Any, part: Any) -> Any:
    month = lineitem[(lineitem.l_shipdate >= pd.Timestamp("1995-09-01")) & (lineitem.l_shipdate < pd.Timestamp("1995-10-01"))]
    rows = month.merge(part, left_on="l_partkey", right_on="p_partkey")
    revenue = rows.l_extendedprice * (1 - rows.l_discount)
    return 100.0 * revenue[rows.p_type.str.startswith("PROMO")].sum() / revenue.sum()


def q15(pd: Any, lineitem: Any, supplier: Any) -> Any:
    quarter = lineitem[(lineitem.l_shipdate >= pd.Timestamp("1996-01-01")) & (lineitem.l_shipdate < pd.Timestamp("1996-04-01"))]
    quarter = quarter.assign(revenue=quarter.l_extendedprice * (1 - quarter.l_discount))
    revenue = quarter.groupby("l_suppkey", as_index=False).agg(total_revenue=("revenue", "sum"))
    top = revenue[revenue.total_revenue == revenue.total_revenue.max()]
    best = supplier.merge(top, left_on="s_suppkey", right_on="l_suppkey")
    return best[["s_suppkey", "s_name", "s_address", "s_phone", "total_revenue"]].sort_values("s_suppkey")


def q16(pd: Any, partsupp: Any, part: Any, supplier: Any) -> Any:
    parts = part[
        (part.p_brand != "Brand#45")
        & ~part.p_type.str.startswith("MEDIUM POLISHED")
        & part.p_size.isin([49, 14, 23, 45, 19, 3, 36, 9])
    ]
    bad = supplier[supplier.s_comment.str.contains("Customer.*Complaints")]
    rows = partsupp[~partsupp.ps_suppkey.isin(bad.s_suppkey)].merge(parts, left_on="ps_partkey", right_on="p_partkey")
    counts = rows.groupby(["p_brand", "p_type", "p_size"], as_index=False).agg(supplier_cnt=("ps_suppkey", "nunique"))
    return counts.sort_values(["supplier_cnt", "p_brand", "p_type", "p_size"], ascending=[False, True, True, True])


def q17(pd: Any, lineitem: Any, part: Any) -> Any:
    boxes = part[(part.p_brand == "Brand#23") & (part.p_container == "MED BOX")]
    rows = lineitem.merge(boxes, left_on="l_partkey", right_on="p_partkey")
    usual = rows.groupby("l_partkey", as_index=False).agg(avg_quantity=("l_quantity", "mean"))
    rows = rows.merge(usual, on="l_partkey")
    return rows[rows.l_quantity < 0.2 * rows.avg_quantity].l_extendedprice.sum() / 7.0


def q18(pd: Any, customer: Any, orders: Any, lineitem: Any) -> Any:
    quantity = lineitem.groupby("l_orderkey", as_index=False).agg(sum_quantity=("l_quantity", "sum"))
    large = quantity[quantity.sum_quantity > 300]
    rows = orders.merge(large, left_on="o_orderkey", right_on="l_orderkey").merge(
        customer, left_on="o_custkey", right_on="c_custkey"
    )
    rows = rows[["c_name", "c_custkey", "o_orderkey", "o_orderdate", "o_totalprice", "sum_quantity"]]
    return rows.sort_values(["o_totalprice", "o_orderdate"], ascending=[False, True]).head(100)


def q19(pd: Any, lineitem: Any, part: Any) -> Any:
    by_air = lineitem[lineitem.l_shipmode.isin(["AIR", "AIR REG"]) & (lineitem.l_shipinstruct == "DELIVER IN PERSON")]
    r = by_air.merge(part, left_on="l_partkey", right_on="p_partkey")
    small = (
        (r.p_brand == "Brand#12")
        & r.p_container.isin(["SM CASE", "SM BOX", "SM PACK", "SM PKG"])
        & r.l_quantity.between(1, 11)
        & r.p_size.between(1, 5)
    )
    medium = (
        (r.p_brand == "Brand#23")
        & r.p_container.isin(["MED BAG", "MED BOX", "MED PKG", "MED PACK"])
        & r.l_quantity.between(10, 20)
        & r.p_size.between(1, 10)
    )
    large = (
        (r.p_brand == "Brand#34")
        & r.p_container.isin(["LG CASE", "LG BOX", "LG PACK", "LG PKG"])
        & r.l_quantity.between(20, 30)
        & r.p_size.between(1, 15)
    )
    rows = r[small | medium | large]
    return (rows.l_extendedprice * (1 - rows.l_discount)).sum()


def q20(pd: Any, supplier: Any, nation: Any, partsupp: Any, part: Any, lineitem: Any) -> Any:
    forest = part[part.p_name.str.startswith("forest")]
    year = lineitem[(lineitem.l_shipdate >= pd.Timestamp("1994-01-01")) & (lineitem.l_shipdate < pd.Timestamp("1995-01-01"))]
    shipped = year.groupby(["l_partkey", "l_suppkey"], as_index=False)["l_quantity"].sum()
    offers = partsupp[partsupp.ps_partkey.isin(forest.p_partkey)]
    rows = offers.merge(shipped, left_on=["ps_partkey", "ps_suppkey"], right_on=["l_partkey", "l_suppkey"])
    rows = rows[rows.ps_availqty > 0.5 * rows.l_quantity]
    canada = supplier.merge(nation[nation.n_name == "CANADA"], left_on="s_nationkey", right_on="n_nationkey")
    found = canada[canada.s_suppkey.isin(rows.ps_suppkey.unique())]
    return found[["s_name", "s_address"]].sort_values("s_name")


def q21(pd: Any, supplier: Any, lineitem: Any, orders: Any, nation: Any) -> Any:
    late = lineitem[lineitem.l_receiptdate > lineitem.l_commitdate]
    suppliers = lineitem.groupby("l_orderkey")["l_suppkey"].nunique()
    late_suppliers = late.groupby("l_orderkey")["l_suppkey"].nunique()
    several = suppliers[suppliers > 1].reset_index(name="suppliers")
    only_one = late_suppliers[late_suppliers == 1].reset_index(name="late_suppliers")
    rows = late.merge(several, on="l_orderkey").merge(only_one, on="l_orderkey")
    rows = rows.merge(supplier, left_on="l_suppkey", right_on="s_suppkey")
    rows = rows.merge(nation[nation.n_name == "SAUDI ARABIA"], left_on="s_nationkey", right_on="n_nationkey")
    rows = rows.merge(orders[orders.o_orderstatus == "F"], left_on="l_orderkey", right_on="o_orderkey")
    waits = rows.groupby("s_name").size().reset_index(name="numwait")
    return waits.sort_values(["numwait", "s_name"], ascending=[False, True]).head(100)


def q22(pd: Any, customer: Any, orders: Any) -> Any:
    customers = customer.assign(cntrycode=customer.c_phone.str[:2])
    customers = customers[customers.cntrycode.isin(["13", "31", "23", "29", "30", "18", "17"])]
    average = customers[customers.c_acctbal > 0].c_acctbal.mean()
    idle = customers[(customers.c_acctbal > average) & ~customers.c_custkey.isin(orders.o_custkey)]
    codes = idle.groupby("cntrycode", as_index=False).agg(numcust=("c_acctbal", "size"), totacctbal=("c_acctbal", "sum"))
    return codes.sort_values("cntrycode")


QUERIES: dict[str, Callable[..., Any]] = {
    query.__name__: query
    for query in (q1, q2, q3, q4, q5, q6, q7, q8, q9, q10, q11, q12, q13, q14, q15, q16, q17, q18, q19, q20, q21, q22)
}


def tables_of(query: Callable[..., Any]) -> list[str]:
    """The names of the tables that a query reads: its parameters after the library."""
    return list(inspect.signature(query).parameters)[1:]


def load(pd: Any, directory: Path) -> dict[str, Any]:
    names = sorted({name for query in QUERIES.values() for name in tables_of(query)})
    return {name: pd.read_parquet(directory / f"{name}.parquet") for name in names}


def _in_memory(query: Callable[..., Any]) -> Callable[[Any, dict[str, Any]], Any]:
    names = tables_of(query)
    return lambda pd, t: query(pd, *(t[name] for name in names))


CASES = {name: _in_memory(query) for name, query in QUERIES.items()}
