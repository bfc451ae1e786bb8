"""`request_resources`, accepted so that a program written for a cluster runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["request_resources"]


def request_resources(num_cpus: int | None = None, bundles: Sequence[Mapping[str, float]] | None = None) -> None:
    """Ask the autoscaler for room. One machine has none to add: nothing happens."""
    if num_cpus is not None and (isinstance(num_cpus, bool) or not isinstance(num_cpus, int)):
        raise TypeError(f"request_resources: num_cpus={num_cpus!r} must be an int")
    if bundles is not None and not all(isinstance(bundle, Mapping) for bundle in bundles):
        raise TypeError(f"request_resources: bundles={bundles!r} must be a list of dicts")
