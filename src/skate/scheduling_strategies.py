"""Where a task or actor should run: values for the option `scheduling_strategy`, besides "DEFAULT" and "SPREAD"."""

from __future__ import annotations

from typing import Any

__all__ = [
    "DoesNotExist", "Exists", "In", "NodeAffinitySchedulingStrategy", "NodeLabelSchedulingStrategy", "NotIn",
    "PlacementGroupSchedulingStrategy", "SchedulingStrategyT",
]  # fmt: skip


class _Value:
    """Compares and prints by its attributes."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class PlacementGroupSchedulingStrategy(_Value):
    """In the reserved bundles of a placement group."""

    def __init__(
        self,
        placement_group: Any,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        """
        Args:
            placement_group: None: outside of any group, also when the running task captures its children.
            placement_group_bundle_index: -1: whichever bundle has room.
            placement_group_capture_child_tasks: Tasks started from there go into the same group, unless they say otherwise.
        """
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


class NodeAffinitySchedulingStrategy(_Value):
    """On one node."""

    def __init__(self, node_id: str, soft: bool, _spill_on_unavailable: bool = False, _fail_on_unavailable: bool = False) -> None:
        """
        Args:
            node_id: In hex, as in `skate.nodes()`.
            soft: Elsewhere when that node is gone; otherwise the task fails.
        """
        if not isinstance(soft, bool):
            raise TypeError(f"soft must be True or False, not {soft!r}")
        self.node_id = node_id if isinstance(node_id, str) else node_id.hex()
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable


class In(_Value):
    """The label has one of these values."""

    def __init__(self, *values: str) -> None:
        _check_values("In", values)
        self.values = list(values)


class NotIn(_Value):
    """The label has none of these values."""

    def __init__(self, *values: str) -> None:
        _check_values("NotIn", values)
        self.values = list(values)


class Exists(_Value):
    """The node has the label."""


class DoesNotExist(_Value):
    """The node lacks the label."""


class NodeLabelSchedulingStrategy(_Value):
    """On a node whose labels match."""

    def __init__(self, hard: dict[str, Any] | None = None, *, soft: dict[str, Any] | None = None) -> None:
        """
        Args:
            hard: Label → In(…), NotIn(…), Exists() or DoesNotExist(); all must match.
            soft: The same; preferred.
        """
        self.hard = _check_expressions("hard", hard)
        self.soft = _check_expressions("soft", soft)
        if not self.hard and not self.soft:
            raise ValueError("NodeLabelSchedulingStrategy needs hard={…} or soft={…}")


SchedulingStrategyT = (
    str | PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy | NodeLabelSchedulingStrategy | None
)  # fmt: skip


def _check_values(name: str, values: tuple[str, ...]) -> None:
    if not values:
        raise ValueError(f"{name}() needs at least one value: {name}('a', 'b')")
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{name}(): label values are strings, not {type(value).__name__} ({value!r})")


def _check_expressions(name: str, expressions: dict[str, Any] | None) -> dict[str, Any]:
    if expressions is None:
        return {}
    if not isinstance(expressions, dict):
        raise TypeError(f"NodeLabelSchedulingStrategy: {name} must be a dict of label → In(…), not {type(expressions).__name__}")
    for label, expression in expressions.items():
        if not isinstance(label, str):
            raise TypeError(f"NodeLabelSchedulingStrategy: labels are strings, not {label!r}")
        if not isinstance(expression, In | NotIn | Exists | DoesNotExist):
            raise TypeError(
                f"NodeLabelSchedulingStrategy: {label!r} needs In(…), NotIn(…), Exists() or DoesNotExist(), not {expression!r}"
            )
    return expressions
