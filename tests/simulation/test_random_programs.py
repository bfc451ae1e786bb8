"""Random programs under random faults: what must hold is checked after every event (see `skate.testing.random_program`)."""

from __future__ import annotations

import pytest

from skate.engine.scheduler.workers import WorkerPool
from skate.testing import SimulationError
from skate.testing.random_program import main, run_random_program


@pytest.mark.parametrize("seed", range(25))
def test_everything_comes_to_rest(seed: int) -> None:
    run_random_program(seed, actions=120)


def test_a_long_program_comes_to_rest() -> None:
    run_random_program(1000, actions=400)


def test_one_seed_is_one_run() -> None:
    first, second = run_random_program(7, actions=100), run_random_program(7, actions=100)

    assert list(first.history) == list(second.history)
    assert first.events_handled == second.events_handled


def test_a_broken_scheduler_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocked workers that lend nothing: nested tasks hang."""
    monkeypatch.setattr(WorkerPool, "lend_cpu", lambda self, worker: None)

    with pytest.raises(SimulationError, match="seed "):
        for seed in range(10):
            run_random_program(seed, actions=120)


def test_the_replay_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--actions", "20"]) == 0
    assert "seed 3:" in capsys.readouterr().out
