"""What the tests of `skate.pandas` share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import skate.pandas as spd
from skate.pandas import ledger


@pytest.fixture
def planned_from_a_hundred_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Frames of tests are large enough to be planned, and the report holds one test's entries."""
    monkeypatch.setattr(spd.settings, "rows_min", 100)
    ledger.entries.clear()
    yield
    ledger.entries.clear()
