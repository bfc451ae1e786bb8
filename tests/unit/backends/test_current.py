"""The backend of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from skate.backends import current
from skate.backends.base import InitOptions

INLINE = InitOptions(address="inline", num_cpus=1)


@pytest.fixture(autouse=True)
def nothing_runs() -> Iterator[None]:
    assert current.peek() is None
    yield
    current.stop()


def test_there_is_one_at_a_time() -> None:
    backend = current.start(INLINE)
    assert current.peek() is current.active() is backend
    with pytest.raises(RuntimeError, match=r"skate\.shutdown"):
        current.start(INLINE)
    assert current.start(INLINE, reuse=True) is backend
    current.stop()
    assert current.peek() is None
    current.stop()


def test_the_first_call_starts_one_by_the_environments_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKATE_ADDRESS", "inline")
    assert current.active().name == "inline"


def test_threads_that_come_at_once_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKATE_ADDRESS", "inline")
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(current.active())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(backend) for backend in found}) == 1


def test_a_failed_start_leaves_nothing() -> None:
    with pytest.raises(ConnectionError):
        current.start(InitOptions(address="nowhere-at-all"))
    assert current.peek() is None


def test_other_systems_have_the_inline_backend_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(RuntimeError, match="Linux"):
        current.start(InitOptions(address="local"))
    assert current.start(INLINE).name == "inline"
