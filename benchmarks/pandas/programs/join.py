"""db-benchmark's five join questions, as its pandas solution puts them; rows come in pandas' order."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(pd: Any, directory: Path) -> dict[str, Any]:
    return {name: pd.read_parquet(directory / f"{name}.parquet") for name in ("x", "small", "medium", "big")}


def q1(pd: Any, t: dict[str, Any]) -> Any:
    return t["x"].merge(t["small"], on="id1")


def q2(pd: Any, t: dict[str, Any]) -> Any:
    return t["x"].merge(t["medium"], on="id2")


def q3(pd: Any, t: dict[str, Any]) -> Any:
    return t["x"].merge(t["medium"], how="left", on="id2")


def q4(pd: Any, t: dict[str, Any]) -> Any:
    return t["x"].merge(t["medium"], on="id5")


def q5(pd: Any, t: dict[str, Any]) -> Any:
    return t["x"].merge(t["big"], on="id3")


CASES = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q5": q5}
