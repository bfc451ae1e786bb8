from __future__ import annotations

import pytest

from tests.unit.engine.scheduler.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """Two CPUs, no driver yet."""
    rig = Rig()
    rig.node(CPU=2)
    return rig
