"""Execute a plan."""

from __future__ import annotations

from typing import Any

from skate.pandas.plan import Plan


def result_of(plan: Plan) -> Any:
    """The plain pandas object that the plan describes."""
    return plan.replay()
