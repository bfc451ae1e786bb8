"""Placement groups: resources reserved together, before the tasks and actors that use them.

A group is a list of bundles; a bundle is reserved on one node as a whole. All bundles are reserved, or none: `ready` and `wait` tell when.
Work goes into a group by `scheduling_strategy=PlacementGroupSchedulingStrategy(group)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skate._ids import PlacementGroupID
from skate._signature import near
from skate.backends import current
from skate.options import check_amount

if TYPE_CHECKING:
    from skate.object_ref import ObjectRef

__all__ = [
    "PlacementGroup", "get_current_placement_group", "get_placement_group", "placement_group", "placement_group_table",
    "remove_placement_group",
]  # fmt: skip

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


class PlacementGroup:
    """A reservation of resources. Made by `placement_group(…)`; it may travel."""

    __slots__ = ("_bundles", "id")

    def __init__(self, id: PlacementGroupID, bundle_cache: Sequence[Mapping[str, float]] | None = None) -> None:
        self.id = id
        self._bundles = None if bundle_cache is None else [dict(bundle) for bundle in bundle_cache]

    @staticmethod
    def empty() -> PlacementGroup:
        """No group: work with it goes anywhere."""
        return PlacementGroup(PlacementGroupID.nil(), [])

    @property
    def is_empty(self) -> bool:
        return self.id.is_nil()

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        if self._bundles is None:
            row = _find(self.id) or {}
            self._bundles = _bundles_of(row)
        return self._bundles

    @property
    def bundle_count(self) -> int:
        return len(self.bundle_specs)

    def ready(self) -> ObjectRef[Any]:
        """A ref that is ready when all bundles are reserved; its `get` raises when the group was removed."""
        return current.active().placement_group_ready(self.id.binary())

    def wait(self, timeout_seconds: float | None = 30) -> bool:
        """Wait until all bundles are reserved.

        Returns:
            False when they were not in time.
        """
        return current.active().wait_placement_group(self.id.binary(), timeout_seconds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()}, {self._bundles})"

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroup, (self.id, self._bundles)


def placement_group(
    bundles: Sequence[Mapping[str, float]],
    strategy: str = "PACK",
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: Sequence[Mapping[str, str]] | None = None,
) -> PlacementGroup:
    """Reserve bundles of resources. Returns at once; the reservation is made when there is room.

    Args:
        bundles: For instance `[{"CPU": 1}, {"CPU": 1, "GPU": 1}]`.
        strategy: "PACK" (few nodes), "SPREAD" (many), "STRICT_PACK" (one), "STRICT_SPREAD" (one for each bundle).
        name: To find it again by `get_placement_group`.
        lifetime: "detached": it outlives this program.
        bundle_label_selector: One per bundle; a single machine ignores it.

    Raises:
        ValueError, TypeError: Something of this makes no sense.
    """
    if isinstance(bundles, str | Mapping) or not isinstance(bundles, list | tuple):
        raise ValueError(f'placement_group: bundles must be a list of dicts, such as [{{"CPU": 1}}], not {bundles!r}')
    if not bundles:
        raise ValueError('placement_group: no bundles are given; write at least one, such as [{"CPU": 1}]')
    for index, bundle in enumerate(bundles):
        if not isinstance(bundle, Mapping):
            raise ValueError(f'placement_group: bundle {index} must be a dict such as {{"CPU": 1}}, not {bundle!r}')
        if not bundle or not any(bundle.values()):
            raise ValueError(f"placement_group: bundle {index} asks for nothing: {bundle!r}")
        for resource, amount in bundle.items():
            if not isinstance(resource, str):
                raise TypeError(f"placement_group: bundle {index}: names of resources are strings, not {resource!r}")
            check_amount("num_gpus" if resource == "GPU" else f"placement_group: bundle {index}: {resource!r}", amount)
    if strategy not in STRATEGIES:
        raise ValueError(
            f"placement_group: strategy={strategy!r} must be one of {', '.join(STRATEGIES)}{near(str(strategy), STRATEGIES)}"
        )
    if not isinstance(name, str):
        raise TypeError(f"placement_group: name must be a string, not {name!r}")
    if lifetime not in (None, "detached"):
        raise ValueError(f"placement_group: lifetime={lifetime!r} must be None or 'detached'")
    amounts = [{resource: float(amount) for resource, amount in bundle.items() if amount} for bundle in bundles]
    group = current.active().create_placement_group(amounts, strategy, name, detached=lifetime == "detached")
    return PlacementGroup(PlacementGroupID(group), amounts)


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give the resources back. Tasks and actors that run in the group are ended."""
    if not isinstance(placement_group, PlacementGroup):
        raise TypeError(f"remove_placement_group takes a PlacementGroup, not {placement_group!r}")
    current.active().remove_placement_group(placement_group.id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name in this program's namespace.

    Raises:
        ValueError: There is none.
    """
    if not placement_group_name:
        raise ValueError("get_placement_group: give the name the group was made with")
    group, bundles, _strategy = current.active().get_placement_group(placement_group_name)
    return PlacementGroup(PlacementGroupID(group), bundles)


def get_current_placement_group() -> PlacementGroup | None:
    """The group in which the running task or actor is; None for none, and in a driver."""
    group = current.active().runtime_context().get("placement_group_id")
    return PlacementGroup(PlacementGroupID(group)) if group else None


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What is known of one group, or of all by their ids in hex."""
    if placement_group is not None:
        return _entry(_find(placement_group.id) or {})
    rows = current.active().query("placement_groups", {})
    return {row["placement_group_id"]: _entry(row) for row in rows}


def _find(group: PlacementGroupID) -> dict[str, Any] | None:
    wanted = group.hex()
    rows: list[dict[str, Any]] = current.active().query("placement_groups", {})
    return next((row for row in rows if row["placement_group_id"] == wanted), None)


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    if not row:
        return {}
    return {**row, "bundles": dict(enumerate(_bundles_of(row)))}


def _bundles_of(row: Mapping[str, Any]) -> list[dict[str, float]]:
    bundles = row.get("bundles") or []
    if isinstance(bundles, Mapping):
        bundles = list(bundles.values())
    return [dict(bundle.get("unit_resources", bundle)) for bundle in bundles]
