"""A run's page in the web UI."""

from __future__ import annotations

import json
from typing import Any

from skate.train.page import training_page


def _page(**changes: Any) -> dict[str, dict[str, Any]]:
    """Title (or type) → section."""
    values: dict[str, Any] = {
        "state": "RUNNING", "framework": "torch", "workers": [{"rank": 0, "reports": 5, "state": "training"}], "world_sizes": [3, 2],
        "failures": 1, "last_error": "worker 1 died", "metrics": {"loss": 0.5, "name": "x", "timestamp": 1.0},
        "checkpoints": [{"checkpoint": "a", "report": 1}, {"checkpoint": "b", "report": 2}], "path": "/runs/digits",
    }  # fmt: skip
    document = training_page(**{**values, **changes})
    json.dumps(document)
    return {section.get("title", section["type"]): section for section in document["sections"]}


def test_it_says_how_training_goes_and_why_it_started_again() -> None:
    page = _page()
    assert page["stats"]["values"] == {
        "state": "running", "framework": "torch", "workers": "3 → 2", "failures": 1, "results": "/runs/digits",
    }  # fmt: skip
    assert page["Last failure"]["text"] == "worker 1 died"
    assert page["Last report"]["values"] == {"loss": 0.5}
    assert [row["checkpoint"] for row in page["Checkpoints"]["rows"]] == ["b", "a"]


def test_what_there_is_not_has_no_section() -> None:
    assert set(_page(workers=[], last_error="", metrics={}, checkpoints=[], failures=0)) == {"stats"}
