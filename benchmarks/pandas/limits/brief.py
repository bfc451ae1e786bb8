"""The brief's program in Polars, lazily from the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(pl: Any, directory: Path) -> dict[str, Any]:
    return {
        "path": str(directory),
        "events": pl.read_csv(directory / "events.csv"),
        "users": pl.read_csv(directory / "users.csv"),
    }


def program(pl: Any, path: str) -> dict[str, Any]:
    df, users = pl.scan_csv(f"{path}/events.csv"), pl.scan_csv(f"{path}/users.csv")
    found = df.filter(pl.col("keyword") == "word1")
    by_keyword = df.group_by("keyword").agg(pl.mean("score")).sort("score", descending=True).head(10)
    good = found.filter(pl.col("score") > 60).join(users, on="user")
    by_country = good.group_by("country").agg(
        clicks=pl.sum("clicks"), score=pl.mean("score"), users=pl.n_unique("user")
    )  # fmt: skip
    counted, keywords, countries = pl.collect_all([found.select(pl.len()), by_keyword, by_country])
    return {"found": counted.item(), "by_keyword": keywords, "by_country": countries}


CASES = {
    "whole": lambda pl, t: program(pl, t["path"]),
    "read_csv": lambda pl, t: pl.read_csv(f"{t['path']}/events.csv"),
    "read_csv_filter": lambda pl, t: pl.scan_csv(f"{t['path']}/events.csv").filter(pl.col("keyword") == "word1"),
    "read_csv_groupby": lambda pl, t: pl.scan_csv(f"{t['path']}/events.csv").group_by("keyword").agg(pl.mean("score")),
    "filter": lambda pl, t: t["events"].filter(pl.col("keyword") == "word1"),
    "groupby_mean": lambda pl, t: t["events"].group_by("keyword").agg(pl.mean("score")),
    "merge": lambda pl, t: t["events"].join(t["users"], on="user"),
    "merge_groupby": lambda pl, t: (
        t["events"].lazy().join(t["users"].lazy(), on="user").group_by("country").agg(pl.sum("clicks"))
    ),
}
