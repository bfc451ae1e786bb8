"""The output is exact whatever dies, and whenever."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.streaming.campaign import run_seed

SEEDS = 240
GROUP = 20


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_output_is_exact_under_faults(first: int) -> None:
    for seed in range(first, first + GROUP):
        run_seed(seed)  # Raises, naming the seed.


def test_campaign_meets_every_kind_of_fault() -> None:
    seen: Counter[str] = Counter()
    deaths = 0
    for seed in range(60):
        simulation = run_seed(seed)
        seen += simulation.faults.seen
        deaths += simulation.deaths
    assert deaths > 60
    assert seen["full disk"]
    for where in ("snapshot", "sink"):
        assert any(where in kind for kind in seen)
