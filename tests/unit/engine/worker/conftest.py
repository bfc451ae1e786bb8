"""A worker process for each test that asks for one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))  # For `worker_harness`, whatever pytest's import mode.

from worker_harness import Caller, Node


@pytest.fixture
def make_node() -> Iterator[Any]:
    nodes: list[Node] = []

    def make(**options: Any) -> Node:
        nodes.append(Node(**options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def node(make_node: Any) -> Node:
    return make_node()  # type: ignore[no-any-return]


@pytest.fixture
def lease(node: Node) -> Iterator[Caller]:
    caller = node.lease()
    yield caller
    if caller.token_read >= 0:
        caller.close()
