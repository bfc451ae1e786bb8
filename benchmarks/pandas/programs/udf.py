"""Python functions: lambdas that can be traced, and functions that can only be run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def load(pd: Any, directory: Path) -> dict[str, Any]:
    df = pd.read_csv(directory / "events.csv")
    few = df.head(500_000)
    return {"df": df, "few": few, "hundred": df.head(100_000)}


def row_arithmetic(pd: Any, t: dict[str, Any]) -> Any:
    return t["few"].apply(lambda r: r.score * r.clicks + 1, axis=1)


def row_condition(pd: Any, t: dict[str, Any]) -> Any:
    return t["few"].apply(lambda r: r["clicks"] * 2 if r["score"] > 50 else r["clicks"] / 2, axis=1)


def row_text(pd: Any, t: dict[str, Any]) -> Any:
    return t["few"].apply(lambda r: r.keyword.upper() + ": " + r.title, axis=1)


def map_arithmetic(pd: Any, t: dict[str, Any]) -> Any:
    return t["df"].clicks.map(lambda x: x * 2 + 1)


def map_condition(pd: Any, t: dict[str, Any]) -> Any:
    return t["df"].score.apply(lambda x: "high" if x > 60 else "low")


def map_text(pd: Any, t: dict[str, Any]) -> Any:
    return t["df"].keyword.map(lambda s: s.upper())


def _steps(n: int) -> int:
    """Length of Collatz' sequence: a loop that nothing can trace."""
    count = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return count


def _soundex(text: str) -> str:
    """A loop over characters, as users write to clean names."""
    codes = {
        **dict.fromkeys("bfpv", "1"),
        **dict.fromkeys("cgjkqsxz", "2"),
        **dict.fromkeys("dt", "3"),
        "l": "4",
        "m": "5",
        "n": "5",
        "r": "6",
    }
    out, last = [], ""
    for letter in text.lower():
        code = codes.get(letter, "")
        if code and code != last:
            out.append(code)
        last = code
    return (text[:1].upper() + "".join(out) + "000")[:4]


def _distance(row: Any) -> float:
    total = 0.0
    for step in range(1, 6):
        total += math.sin(row["score"] / step) * math.sqrt(row["clicks"] + step)
    return total


def _spread(group: Any) -> float:
    values = sorted(v for v in group["score"].tolist() if v == v)
    return 0.0 if not values else values[len(values) * 9 // 10] - values[len(values) // 10]


def map_python(pd: Any, t: dict[str, Any]) -> Any:
    return t["few"].clicks.map(_steps)


def map_python_text(pd: Any, t: dict[str, Any]) -> Any:
    return t["few"].title.map(_soundex)


def row_python(pd: Any, t: dict[str, Any]) -> Any:
    return t["few"].apply(_distance, axis=1)


def groupby_apply(pd: Any, t: dict[str, Any]) -> Any:
    return t["few"].groupby("user")[["score", "clicks"]].apply(_spread)


def groupby_transform(pd: Any, t: dict[str, Any]) -> Any:
    return t["few"].groupby("user")["score"].transform(lambda s: (s - s.mean()) / (s.std() + 1))


CASES = {
    "row_arithmetic": row_arithmetic, "row_condition": row_condition, "row_text": row_text, "map_arithmetic": map_arithmetic,
    "map_condition": map_condition, "map_text": map_text, "map_python": map_python, "map_python_text": map_python_text,
    "row_python": row_python, "groupby_apply": groupby_apply, "groupby_transform": groupby_transform,
}  # fmt: skip
