"""For all tests: a runtime directory of this run's own, the choice of backends, and the check that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.leaks import Traces, wait_for_none

# The suite tries the same examples each time, so that a run judges the change it was made for. To look for new ones: HYPOTHESIS_PROFILE=explore.
settings.register_profile("suite", derandomize=True, database=None)
settings.register_profile("explore", derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

BACKENDS = ("inline", "local", "ray")
_NAMES_A_BACKEND = ("backend", "session", "process_session", "address")  # Parameters of tests and fixtures.

_RUNTIME_DIR = pytest.StashKey[Path]()
_FORKS = str(Path(__file__).parent / "unit" / "engine")
_STARTS_PROCESSES = ("integration", "conformance")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        action="append",
        choices=BACKENDS,
        help="run the conformance suite on this backend only; may be given more than once (default: inline and local)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Sessions of this run stand in a directory of its own: the user's other sessions are not joined, and what is left is ours.
    # Short, for a socket's path has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="skate-test-"))
    config.stash[_RUNTIME_DIR] = directory
    os.environ["XDG_RUNTIME_DIR"] = str(directory)
    os.environ["SKATE_RUNS_DIR"] = str(directory / "runs")
    for name in ("RAY_ADDRESS", "SKATE_ADDRESS"):
        os.environ.pop(name, None)
    # A shell starts its background jobs with Ctrl-C ignored, and every program started here would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    directory = config.stash.get(_RUNTIME_DIR, None)
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for by --backend."""
    chosen = config.getoption("--backend") or ["inline", "local"]
    if "ray" in chosen and len(chosen) > 1:
        raise pytest.UsageError(
            "--backend=ray: Ray leaves threads and sockets in a process, so its tests run in one of their own"
        )
    kept, left_out = [], []
    for item in items:
        parameters = getattr(item, "callspec", None)
        backends = (
            [value for name, value in parameters.params.items() if name in _NAMES_A_BACKEND and value in BACKENDS]
            if parameters is not None
            else []
        )
        is_for_conformance = "conformance" in item.path.parts
        if is_for_conformance and "ray" in backends:
            item.add_marker(pytest.mark.timeout(240))  # An actor is a process that takes 1–4 s to start, on a busy machine more.
        # In a run on Ray one session lasts for all tests: those that are about no backend in particular run with the others.
        is_elsewhere = backends[0] not in chosen if backends else chosen == ["ray"]
        (left_out if is_for_conformance and is_elsewhere else kept).append(item)
    # Its harness forks workers from this very process (the engine's come from a node process that has one thread): first, before Arrow, Torch and
    # others have started threads here, whose locks a child would find held.
    kept.sort(key=lambda item: not str(item.path).startswith(_FORKS))
    items[:] = kept
    if left_out:
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def runtime_dir(pytestconfig: pytest.Config) -> Path:
    """Where the sessions of this run have their directories."""
    return pytestconfig.stash[_RUNTIME_DIR]


@pytest.fixture(scope="module", autouse=True)
def no_leaks_of_module(request: pytest.FixtureRequest, runtime_dir: Path) -> Iterator[None]:
    """A module whose engine lives as long as the module: looked at when it has been shut down."""
    if not _starts_processes(request.path) or _on_ray(request):
        yield
        return
    before = Traces.of_this_process(runtime_dir)
    yield
    assert not _is_initialized(), f"{request.path.name} left the engine running: end with skate.shutdown()"
    left = wait_for_none(before, runtime_dir)
    assert not left, f"{request.path.name} left behind:\n  " + "\n  ".join(left)


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, runtime_dir: Path, no_leaks_of_module: None) -> Iterator[None]:
    """A test that starts and ends an engine by itself leaves nothing."""
    is_excused = request.node.get_closest_marker("leaks_ok") is not None
    if is_excused or not _starts_processes(request.path) or _is_initialized() or _on_ray(request):
        yield
        return
    before = Traces.of_this_process(runtime_dir)
    yield
    if _is_initialized():
        return  # The module's engine: `no_leaks_of_module` looks at what it leaves.
    left = wait_for_none(before, runtime_dir)
    assert not left, "left behind:\n  " + "\n  ".join(left)


def _starts_processes(path: Path) -> bool:
    return any(part in _STARTS_PROCESSES for part in path.parts)


def _on_ray(request: pytest.FixtureRequest) -> bool:
    """What Ray leaves in a process (threads, sockets) is Ray's."""
    return request.config.getoption("--backend") == ["ray"]


def _is_initialized() -> bool:
    """Without importing skate for tests that do not."""
    skate = sys.modules.get("skate")
    return skate is not None and bool(skate.is_initialized())
