from __future__ import annotations

import pytest

from skate.testing import Simulator


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Simulator:
    """Two CPUs and one driver, with dice of a fixed seed."""
    return Simulator(1, replay=f"pytest {request.node.nodeid}")
