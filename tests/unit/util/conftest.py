"""Unit tests of the libraries run on the inline backend: no process is started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import skate


@pytest.fixture
def session() -> Iterator[None]:
    skate.init(address="inline", num_cpus=2)
    yield
    skate.shutdown()
