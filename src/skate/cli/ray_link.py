"""A Ray cluster as commands see it: `skate status --session host:6379`, or with SKATE_ADDRESS set to its address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import skate
from skate.cli.failure import CommandError


class RayLink:
    """Answers what `Link` answers, as far as Ray tells it. What goes wrong is a `CommandError`."""

    def __init__(self, address: str) -> None:
        from skate.backends import current

        try:
            skate.init(address=address, log_to_driver=False)
        except (ConnectionError, ImportError, skate.exceptions.RayError) as error:
            raise CommandError(str(error)) from error
        self._backend = current.active()

    def query(self, what: str, params: Mapping[str, Any] | None = None) -> Any:
        try:
            return self._backend.query(what, params or {})
        except (NotImplementedError, skate.exceptions.RayError) as error:
            raise CommandError(str(error)) from error

    def __enter__(self) -> RayLink:
        return self

    def __exit__(self, *_: object) -> None:
        skate.shutdown()

    def __getattr__(self, name: str) -> Any:
        raise CommandError("a Ray cluster has no such command: use Ray's own (`ray --help`)")
