"""An analysis of nycflights13 (336,776 flights) as a data scientist writes it: what a real notebook does."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(pd: Any, directory: Path) -> dict[str, Any]:
    tables = {name: pd.read_csv(directory / f"{name}.csv") for name in ("flights", "airlines", "airports", "planes", "weather")}
    return {"path": str(directory), **tables}


def delays_by_carrier(pd: Any, t: dict[str, Any]) -> Any:
    late = t["flights"].groupby("carrier").agg(flights=("flight", "size"), mean=("dep_delay", "mean"), worst=("dep_delay", "max"))
    return late.reset_index().merge(t["airlines"], on="carrier").sort_values("mean", ascending=False)


def busiest_routes(pd: Any, t: dict[str, Any]) -> Any:
    routes = t["flights"].groupby(["origin", "dest"]).size().reset_index(name="flights")
    routes = routes.merge(t["airports"][["faa", "name"]], left_on="dest", right_on="faa", how="left").drop(columns="faa")
    return routes.sort_values(["flights", "dest"], ascending=[False, True]).head(20)


def delay_and_weather(pd: Any, t: dict[str, Any]) -> Any:
    both = t["flights"].merge(t["weather"], on=["origin", "year", "month", "day", "hour"])
    both = both[both.dep_delay.notna() & (both.wind_speed < 1000)]
    both["windy"] = both.wind_speed > 15
    both["rain"] = both.precip > 0
    return both.groupby(["windy", "rain"])["dep_delay"].agg(["mean", "median", "count"])


def hours(pd: Any, t: dict[str, Any]) -> Any:
    flights = t["flights"].dropna(subset=["dep_delay"])
    return flights.pivot_table(index="hour", columns="origin", values="dep_delay", aggfunc="mean")


def daily(pd: Any, t: dict[str, Any]) -> Any:
    flights = t["flights"].assign(date=lambda d: pd.to_datetime(d[["year", "month", "day"]]))
    return flights.groupby("date")["arr_delay"].mean().rolling(7).mean()


def caught_up(pd: Any, t: dict[str, Any]) -> Any:
    flights = t["flights"].assign(gain=lambda d: d.dep_delay - d.arr_delay, speed=lambda d: d.distance / d.air_time * 60)
    flights = flights[(flights.dep_delay > 30) & (flights.gain > 0)]
    return flights.groupby("dest").agg(gain=("gain", "mean"), speed=("speed", "median"), n=("gain", "size")).query("n > 50")


def old_planes(pd: Any, t: dict[str, Any]) -> Any:
    both = t["flights"].merge(t["planes"], on="tailnum", suffixes=("", "_plane"))
    both = both[both.manufacturer.str.contains("BOEING", na=False)]
    both["age"] = 2013 - both.year_plane
    return both.groupby("age")["arr_delay"].agg(["mean", "count"])


def worst_days(pd: Any, t: dict[str, Any]) -> Any:
    f = t["flights"]
    return (
        f.sort_values("dep_delay", ascending=False)
        .drop_duplicates(["month", "day"])
        .head(30)[["month", "day", "carrier", "dep_delay"]]
    )


def program(pd: Any, path: str) -> dict[str, Any]:
    """The whole notebook, from the files on."""
    t = load(pd, Path(path))
    return {name: case(pd, t) for name, case in CASES.items() if name != "whole"}


def whole(pd: Any, t: dict[str, Any]) -> Any:
    return program(pd, t["path"])


CASES = {
    "whole": whole, "delays_by_carrier": delays_by_carrier, "busiest_routes": busiest_routes, "delay_and_weather": delay_and_weather,
    "hours": hours, "daily": daily, "caught_up": caught_up, "old_planes": old_planes, "worst_days": worst_days,
}  # fmt: skip
