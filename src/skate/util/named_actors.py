"""Which actors have a name."""

from __future__ import annotations

from typing import Any

from skate.backends import current


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """Names of the living named actors of this program's namespace; of all namespaces as `{"name": …, "namespace": …}`."""
    rows = current.active().list_named_actors(all_namespaces=all_namespaces)
    if all_namespaces:
        return [{"name": name, "namespace": namespace} for namespace, name in rows]
    return [name for _namespace, name in rows]
