"""One body, every backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import skate


@pytest.fixture(params=["inline", "local", "ray"])
def session(request: pytest.FixtureRequest) -> Iterator[str]:
    yield from _running(request)


@pytest.fixture(params=["local", "ray"])
def process_session(request: pytest.FixtureRequest) -> Iterator[str]:
    """For what needs processes that run at the same time."""
    yield from _running(request)


def _running(request: pytest.FixtureRequest) -> Iterator[str]:
    backend: str = request.param
    if backend == "ray":
        request.getfixturevalue("ray_session")
        yield backend
        return
    skate.init(address=backend, num_cpus=2)
    yield backend
    skate.shutdown()
