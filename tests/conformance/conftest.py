"""One body, every backend: a test says what a program may rely on, wherever it runs.

An engine lives as long as a test module: 4 CPUs, 2 GPUs (made up), 2 licenses. Tests of what only our own processes can do are marked `local_only`;
those that Ray answers otherwise are listed, with the reason, in `not_on_ray.py`. `pytest tests/conformance --backend=ray` runs all others on a Ray cluster.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

import skate
from tests.conformance.not_on_ray import reason_not_on_ray
from tests.ray_cluster import running_cluster


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    if importlib.util.find_spec("ray") is None:  # Not imported here: it reads the token's place when it is.
        pytest.skip("Ray is not installed")
    with running_cluster("--num-cpus=4", "--num-gpus=2", '--resources={"license": 2}') as address:
        yield address


@pytest.fixture(scope="module", params=["inline", "local", "ray"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the backend that runs."""
    name: str = request.param
    if name == "ray":
        skate.init(address=request.getfixturevalue("ray_address"), namespace="tests")
    else:
        skate.init(address=name, num_cpus=4, num_gpus=2, resources={"license": 2}, namespace="tests")
    yield name
    skate.shutdown()


@pytest.fixture(autouse=True)
def _not_on_ray(request: pytest.FixtureRequest) -> None:
    if "backend" in request.fixturenames and request.getfixturevalue("backend") == "ray":
        reason = reason_not_on_ray(request.node.path.stem, request.node.name.replace("[ray-", "[").removesuffix("[ray]"))
        if reason:
            pytest.skip(reason)
