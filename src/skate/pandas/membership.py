"""`a.isin(b)` where `b` is another plan's series: a filter by it becomes a semi join (or, negated, an anti join).

A mask of such tests and plain conditions, all of which must hold, stays a `Mask` as long as a filter may use it; any other use of it
computes the values of `b` and tests against them.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass

import polars as pl

from skate.pandas import execute, kinds
from skate.pandas.plan import Column, Node


@dataclass(frozen=True, slots=True)
class Membership:
    """Rows whose `tested` is (or, if negated, is not) among the `values`, which are over the rows of `base`."""

    tested: Column
    base: Node
    values: Column
    is_negated: bool = False


class Mask(Column):
    """A boolean column: every membership and, if there is one, the plain condition holds."""

    __slots__ = ("condition", "memberships")
    condition: Column | None
    memberships: tuple[Membership, ...]

    def __init__(self, memberships: tuple[Membership, ...], condition: Column | None = None) -> None:
        for name, value in {
            "memberships": memberships, "condition": condition, "dtype": kinds.BOOL, "may_nan": False, "is_heavy": True, "name": None,
            "form": None,
        }.items():  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def expr(self) -> pl.Expr:  # type: ignore[override]
        """For uses that are not a filter.

        Raises:
            Unlowered: The values can't be computed.
        """
        tests = [_test(membership) for membership in self.memberships]
        if self.condition is not None:
            tests.append(self.condition.expr)
        return functools.reduce(operator.and_, tests)


def _test(membership: Membership) -> pl.Expr:
    values = execute.collect(membership.base, {"values": membership.values.clean.unique()}, ordered=False)["values"]
    found = membership.tested.clean.is_in(values.implode(), nulls_equal=True)
    return ~found if membership.is_negated else found


def negated(mask: Mask) -> Mask | None:
    """None unless it is a single membership: all that don't fulfil several conditions are more than a semi join finds."""
    if mask.condition is not None or len(mask.memberships) != 1:
        return None
    (one,) = mask.memberships
    return Mask((Membership(one.tested, one.base, one.values, not one.is_negated),))


def both(left: Column, right: Column) -> Mask | None:
    """`left & right` if a membership is among them."""
    if not (isinstance(left, Mask) or isinstance(right, Mask)):
        return None
    memberships: tuple[Membership, ...] = ()
    conditions: list[Column] = []
    for side in (left, right):
        if isinstance(side, Mask):
            memberships += side.memberships
            conditions += [side.condition] if side.condition is not None else []
        else:
            conditions.append(side)
    if not conditions:
        return Mask(memberships)
    expr = functools.reduce(operator.and_, (condition.expr for condition in conditions))
    return Mask(memberships, Column(expr, kinds.BOOL))
