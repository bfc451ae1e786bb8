"""One body, every backend: a test says what a program may rely on, wherever it runs.

An engine lives as long as a test module: 4 CPUs, 2 GPUs (made up), 2 licenses. Tests that need several processes are marked `processes_only`;
those that Ray answers otherwise are listed, with the reason, in `not_on_ray.py`. `pytest tests/conformance --backend=ray` runs all others on a Ray cluster.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import skate
from tests.conformance.not_on_ray import reason_not_on_ray
from tests.ray_cluster import running_cluster


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One cluster and one driver for the whole run: each driver's workers start anew, which takes seconds.

    SKATE_TEST_RAY_ADDRESS names a cluster that runs already: 4 CPUs, 2 GPUs, 2 licenses.
    """
    if importlib.util.find_spec("ray") is None:  # Not imported here: it reads the token's place when it is.
        pytest.skip("Ray is not installed")
    with ExitStack() as stack:
        address = os.environ.get("SKATE_TEST_RAY_ADDRESS")
        if address is None:
            address = stack.enter_context(running_cluster("--num-cpus=4", "--num-gpus=2", '--resources={"license": 2}')).address
        skate.init(address=address, namespace="tests")
        stack.callback(skate.shutdown)
        yield


@pytest.fixture(scope="module", params=["inline", "local", "ray"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the backend that runs."""
    name: str = request.param
    if name == "ray":
        request.getfixturevalue("ray_session")
        yield name
        return
    skate.init(address=name, num_cpus=4, num_gpus=2, resources={"license": 2}, namespace="tests")
    yield name
    skate.shutdown()


@pytest.fixture(autouse=True)
def _not_on_ray(request: pytest.FixtureRequest) -> None:
    parameters = getattr(request.node, "callspec", None)
    if parameters is not None and any(parameters.params.get(name) == "ray" for name in ("backend", "session", "process_session")):
        reason = reason_not_on_ray(request.node.path.stem, re.sub(r"\bray\b-?|-ray\b", "", request.node.name).replace("[]", ""))
        if reason:
            pytest.skip(reason)
