"""One body, every backend: a test says what a program may rely on, wherever it runs.

An engine lives as long as a test module: 4 CPUs, 2 GPUs (made up), 2 licenses. Tests of what only processes can do are marked `local_only`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import skate


@pytest.fixture(scope="module", params=["inline", "local"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the backend that runs."""
    address: str = request.param
    skate.init(address=address, num_cpus=4, num_gpus=2, resources={"license": 2}, namespace="tests")
    yield address
    skate.shutdown()
