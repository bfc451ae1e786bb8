"""The brief's program: read a CSV of events, keep one keyword's, and the questions that come after. Each step alone, and the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(pd: Any, directory: Path) -> dict[str, Any]:
    return {
        "path": str(directory),
        "events": pd.read_csv(directory / "events.csv"),
        "users": pd.read_csv(directory / "users.csv"),
    }


def program(pd: Any, path: str) -> dict[str, Any]:
    """As a user writes it, top to bottom. What it would print is what it returns."""
    df = pd.read_csv(f"{path}/events.csv")
    users = pd.read_csv(f"{path}/users.csv")
    found = df[df.keyword == "word1"]
    by_keyword = df.groupby("keyword").score.mean().sort_values(ascending=False).head(10)
    good = found[found.score > 60].merge(users, on="user")
    by_country = good.groupby("country").agg(clicks=("clicks", "sum"), score=("score", "mean"), users=("user", "nunique"))
    return {"found": len(found), "by_keyword": by_keyword, "by_country": by_country}


def whole(pd: Any, t: dict[str, Any]) -> Any:
    return program(pd, t["path"])


def read_csv(pd: Any, t: dict[str, Any]) -> Any:
    return pd.read_csv(f"{t['path']}/events.csv")


def read_csv_filter(pd: Any, t: dict[str, Any]) -> Any:
    df = pd.read_csv(f"{t['path']}/events.csv")
    return df[df.keyword == "word1"]


def read_csv_groupby(pd: Any, t: dict[str, Any]) -> Any:
    return pd.read_csv(f"{t['path']}/events.csv").groupby("keyword")["score"].mean()


def filter_string(pd: Any, t: dict[str, Any]) -> Any:
    df = t["events"]
    return df[df.keyword == "word1"]


def groupby_mean(pd: Any, t: dict[str, Any]) -> Any:
    return t["events"].groupby("keyword")["score"].mean()


def merge(pd: Any, t: dict[str, Any]) -> Any:
    return t["events"].merge(t["users"], on="user")


def merge_groupby(pd: Any, t: dict[str, Any]) -> Any:
    return t["events"].merge(t["users"], on="user").groupby("country")["clicks"].sum()


CASES = {
    "whole": whole, "read_csv": read_csv, "read_csv_filter": read_csv_filter, "read_csv_groupby": read_csv_groupby,
    "filter": filter_string, "groupby_mean": groupby_mean, "merge": merge, "merge_groupby": merge_groupby,
}  # fmt: skip
