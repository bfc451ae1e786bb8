"""The page of the web UI and `pd.report()`: lines, time, where it ran, why, and what to change."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest

import skate
import skate.pandas as spd
from skate.pandas import reports

ROWS = 3_000


pytestmark = pytest.mark.usefixtures("planned_from_a_hundred_rows")


def run() -> None:
    numbers = spd.Series(np.arange(ROWS) + 0.5)
    numbers.map(lambda x: x * 2)
    numbers.map(lambda x: random.random() * x)
    numbers.map(lambda x: round(x, 1))


def test_each_line_says_where_it_ran_and_what_to_change() -> None:
    run()
    by_engine = {one["engine"]: one for one in reports.lines()}
    assert set(by_engine) == {"traced", "pandas", "python"}
    assert by_engine["traced"]["code"] == "numbers.map(lambda x: x * 2)"
    assert by_engine["traced"]["rows"] == ROWS
    assert "side effects" in by_engine["pandas"]["reason"]
    assert "math, re, NumPy" in by_engine["pandas"]["advice"]
    assert "not a column calculation" in by_engine["python"]["reason"]
    text = spd.report()
    assert "test_reports.py:" in text
    assert "→ return values" in text


def test_the_page_is_json_with_sections_that_the_web_ui_draws() -> None:
    run()
    document = json.loads(json.dumps(reports.document()))
    assert [section["type"] for section in document["sections"]] == ["stats", "bars", "table"]
    table = document["sections"][2]["rows"]
    assert {row["where it ran"] for row in table} >= {"column calculation in place of the function", "pandas"}
    assert [row.get("level") for row in table if row["where it ran"] == "pandas"] == ["warning"]
    assert any("numbers.map(lambda x: x * 2)" in item["name"] for item in document["sections"][1]["items"])


def test_the_page_is_kept_up_to_date_while_a_session_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Any] = []
    monkeypatch.setattr(skate, "publish", lambda kind, key, document: published.append((kind, document)))
    monkeypatch.setattr(reports, "_last_s", -1e9)
    monkeypatch.setattr(reports, "PUBLISH_S", 1e6)
    monkeypatch.setattr(skate, "is_initialized", lambda: False)
    run()
    assert published == []  # There is no session to tell.
    monkeypatch.setattr(skate, "is_initialized", lambda: True)
    monkeypatch.setattr(reports, "_is_registered", True)
    run()
    assert len(published) == 1  # Now and then, not for each operation.
    assert published[0][0] == "dataframe"


def test_a_plain_program_is_told_so() -> None:
    pd.Series([1]).map(lambda x: x)
    assert "nothing was planned" in spd.report()
