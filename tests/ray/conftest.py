"""A Ray cluster of one node, for all tests of this folder. `pytest tests/ray --backend=ray`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.ray_cluster import running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    with running_cluster("--num-cpus=4", "--num-gpus=2") as running:
        yield running.address
