"""One body, every backend that can be started here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import skate


@pytest.fixture(params=["inline", "local"])
def session(request: pytest.FixtureRequest) -> Iterator[str]:
    backend: str = request.param
    skate.init(address=backend, num_cpus=2)
    yield backend
    skate.shutdown()


@pytest.fixture
def local_session() -> Iterator[None]:
    """For what needs processes that run at the same time."""
    skate.init(address="local", num_cpus=2)
    yield
    skate.shutdown()
