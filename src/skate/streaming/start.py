"""Start: an engine for a stream that is the first to need one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import skate
from skate.streaming.graph import Node, modules_of, nodes_of


def start_engine(sinks: Sequence[Node]) -> None:
    """Unless there is one. It imports what the workers need once, before it forks them, while this process imports the rest."""
    if skate.is_initialized():
        return
    if os.environ.get("SKATE_ADDRESS") or os.environ.get("RAY_ADDRESS"):
        skate.init()
        return
    nodes = nodes_of(sinks)
    wanted = ["skate.streaming.worker", *modules_of(nodes)]
    skate.init(_preload=[name for name in wanted if find_spec(name.partition(".")[0]) is not None])
    for source in [node.source for node in nodes if node.source is not None]:
        for name in source.imports:  # Naming the splits takes them, too; a missing one is told there.
            if find_spec(name.partition(".")[0]) is not None:
                import_module(name)
