"""Search spaces, searchers and schedulers: no process is started."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given, strategies as st

from skate import tune
from skate.tune import schedulers, search_space as spaces
from skate.tune.search import GridAndRandom, OptunaSearch


@given(st.integers(0, 10**6))
def test_what_is_drawn_lies_in_its_domain(seed: int) -> None:
    dice = random.Random(seed)
    assert 1e-4 <= tune.loguniform(1e-4, 1e-1).sample(dice) <= 1e-1
    assert 2 <= tune.uniform(2, 3).sample(dice) <= 3
    assert tune.quniform(0, 1, 0.25).sample(dice) in (0, 0.25, 0.5, 0.75, 1)
    assert tune.randint(3, 5).sample(dice) in (3, 4)
    assert 1 <= tune.lograndint(1, 100).sample(dice) < 100
    assert tune.choice(["a", "b"]).sample(dice) in ("a", "b")


def test_grids_are_combined_and_the_rest_is_drawn_each_time() -> None:
    searcher = GridAndRandom(seed=1)
    space = {"a": tune.grid_search([1, 2]), "deep": {"b": tune.grid_search(["x", "y"]), "c": tune.uniform(0, 1)}, "d": 7}
    searcher.set_up(space, 2, None, "min")
    configs = [searcher.suggest(str(n)) for n in range(9)]
    assert configs[8] is None
    assert sorted((one["a"], one["deep"]["b"]) for one in configs[:8] if one) == sorted(
        [(a, b) for a in (1, 2) for b in "xy"] * 2
    )
    assert len({one["deep"]["c"] for one in configs[:8] if one}) == 8
    assert all(one["d"] == 7 for one in configs[:8] if one)


def test_the_same_seed_suggests_the_same() -> None:
    def first() -> object:
        searcher = GridAndRandom(seed=5)
        searcher.set_up({"x": tune.uniform(0, 1)}, 1, None, "min")
        return searcher.suggest("0")

    assert first() == first()


def test_a_value_may_be_computed_from_the_others() -> None:
    space = {"a": tune.choice([3]), "b": tune.sample_from(lambda spec: spec.config.a * 2)}
    assert spaces.draw(space, random.Random(0), {}) == {"a": 3, "b": 6}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_optuna_finds_more_than_its_first_suggestions(sampler: str) -> None:
    searcher = OptunaSearch(sampler=sampler, seed=0)
    searcher.set_up({"x": tune.uniform(-10, 10), "kind": tune.choice(["a", "b"])}, 40, "loss", "min")
    losses = []
    for number in range(40):
        config = searcher.suggest(str(number))
        assert config is not None
        losses.append((config["x"] - 2) ** 2 + (config["kind"] == "a"))
        searcher.observe(str(number), losses[-1])
    assert searcher.suggest("40") is None
    assert min(losses) < 1.5


def test_cma_es_goes_downhill() -> None:
    """By the package `cmaes`: the mean of its last suggestions is nearer to the valley than that of its first."""
    searcher = OptunaSearch(sampler="cmaes", seed=1)
    searcher.set_up({"x": tune.uniform(-10, 10), "nested": {"y": tune.uniform(-10, 10)}}, 80, "loss", "min")
    losses = []
    for number in range(80):
        config = searcher.suggest(str(number))
        assert config is not None
        losses.append((config["x"] - 2) ** 2 + (config["nested"]["y"] + 3) ** 2)
        searcher.observe(str(number), losses[-1])
    assert sum(losses[-10:]) < sum(losses[:10]) / 20


def test_a_missing_package_of_a_sampler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "cmaes" else find(name))
    with pytest.raises(ImportError, match=r"needs the package cmaes: pip install 'skate\[tune\]'"):
        OptunaSearch(sampler="cmaes").set_up({"x": tune.uniform(0, 1)}, 1, "loss", "min")


def test_optuna_goes_on_where_it_was() -> None:
    searcher = OptunaSearch(seed=0)
    searcher.set_up({"x": tune.loguniform(1e-3, 1)}, 5, "loss", "min")
    for number in range(4):
        searcher.replay(str(number), {"x": 0.1}, 1.0)
    assert searcher.suggest("4") is not None
    assert searcher.suggest("5") is None


def test_hyperbands_brackets_are_those_of_the_paper() -> None:
    assert tune.HyperBandScheduler(max_t=81).sizes() == [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]


def test_at_a_rung_a_trial_waits_for_its_bracket() -> None:
    scheduler = tune.HyperBandScheduler(max_t=9)
    scheduler.set_up("score", "max", {})

    def at(step: int, trial: int) -> schedulers.Decision | schedulers.Exploit:
        return scheduler.on_result(str(trial), {"training_iteration": step, "score": trial})

    for trial in range(9):
        scheduler.on_start(str(trial), {})
    assert [at(1, trial) for trial in range(8)] == [schedulers.Decision.PAUSE] * 8
    assert scheduler.released() == {}
    assert at(1, 8) is schedulers.CONTINUE, "the last to come is the best: it is not paused at all"
    released = scheduler.released()
    assert {trial for trial, decision in released.items() if decision is schedulers.CONTINUE} == {"6", "7"}
    assert len(released) == 8

    scheduler.on_complete("8")  # It failed: the others do not wait for it.
    assert at(3, 6) is schedulers.Decision.PAUSE
    assert at(3, 7) is schedulers.CONTINUE
    assert scheduler.released() == {"6": schedulers.STOP}


def test_a_bracket_that_the_trials_do_not_fill_is_halved_as_it_is() -> None:
    scheduler = tune.HyperBandScheduler(max_t=9)
    scheduler.set_up("score", "max", {})
    for trial in range(4):
        scheduler.on_start(str(trial), {})
        assert scheduler.on_result(str(trial), {"training_iteration": 1, "score": trial}) is schedulers.Decision.PAUSE
    scheduler.close()
    assert scheduler.released()["3"] is schedulers.CONTINUE


def _curve(scheduler: schedulers.Scheduler, values: dict[str, float], steps: int) -> dict[str, int]:
    """Trials in step, each with a constant value; returns how far each came."""
    scheduler.set_up("score", "max", {})
    ended: dict[str, int] = {}
    for step in range(1, steps + 1):
        for trial, value in values.items():
            if trial not in ended and scheduler.on_result(trial, {"score": value, "training_iteration": step}) is schedulers.STOP:
                ended[trial] = step
    return {trial: ended.get(trial, steps) for trial in values}


def test_asha_ends_the_worse_ones_at_its_rungs() -> None:
    values = {
        f"t{n}": float(n) for n in range(16, 0, -1)
    }  # The best comes first: later ones have to be among the best of those before.
    came = _curve(tune.ASHAScheduler(max_t=16, grace_period=1, reduction_factor=4), values, 16)
    assert came["t16"] == 16
    assert came["t1"] == 1
    assert sum(steps == 16 for steps in came.values()) <= 2


def test_hyperband_has_brackets_that_leave_trials_alone_at_first() -> None:
    came = _curve(tune.HyperBandScheduler(max_t=9, reduction_factor=3), {f"t{n:02}": float(30 - n) for n in range(30)}, 9)
    assert set(came.values()) >= {1, 3, 9}


def test_median_stopping_ends_what_is_worse_than_most() -> None:
    came = _curve(tune.MedianStoppingRule(grace_period=2, min_samples_required=3), {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}, 5)
    assert came == {"a": 2, "b": 2, "c": 5, "d": 5} or (came["a"] == 2 and came["d"] == 5)


def test_pbt_lets_the_worst_go_on_from_the_best() -> None:
    scheduler = tune.PopulationBasedTraining(perturbation_interval=2, hyperparam_mutations={"lr": [0.1, 0.2, 0.4]}, seed=1)
    scheduler.set_up("score", "max", {})
    for number in range(4):
        scheduler.on_start(f"t{number}", {"lr": 0.2, "depth": 3})
    for number in (1, 2, 3):
        assert scheduler.on_result(f"t{number}", {"score": number, "training_iteration": 2}) is schedulers.CONTINUE
    decision = scheduler.on_result("t0", {"score": 0, "training_iteration": 2})
    assert isinstance(decision, schedulers.Exploit)
    assert decision.donor == "t3"
    assert decision.config["depth"] == 3
    assert decision.config["lr"] in (0.1, 0.2, 0.4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tune.uniform(2, 1), "lower < upper"),
        (lambda: tune.loguniform(0, 1), "above 0"),
        (lambda: tune.grid_search([]), "nothing to search"),
        (lambda: tune.TuneConfig(mode="best"), "mode='best'"),
        (lambda: tune.TuneConfig(search_alg="bayes"), "search_alg='bayes'"),
        (lambda: tune.TuneConfig(num_samples=0), "num_samples=0"),
        (lambda: tune.ASHAScheduler(grace_period=5, max_t=2), "grace_period=5"),
        (lambda: tune.ASHAScheduler().set_up(None, None, {}), "TuneConfig(metric="),
        (lambda: tune.PopulationBasedTraining(), "hyperparam_mutations"),
        (lambda: tune.Tuner(3), "must be a function"),
        (lambda: tune.report({"a": 1}), "inside a trial only"),
        (lambda: tune.OptunaSearch(sampler="x"), "sampler='x'"),
    ],
)
def test_a_wrong_setting_is_told_where_it_is_written(make: object, words: str) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
        make()  # type: ignore[operator]
    assert words in str(caught.value)


def test_the_table_shows_trials_and_the_metric_first() -> None:
    from rich.console import Console

    from skate.tune.study import TrialState
    from skate.tune.table import render

    trials = [
        TrialState("t0", {"lr": 0.1}, "RUNNING", {"loss": 0.5, "training_iteration": 3}),
        TrialState("t1", {"lr": 0.2}, "TERMINATED", {"loss": 0.25}),
    ]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render(trials, 10, 3.0, "loss", "min"))
    text = console.export_text()
    assert "2 of 10 trials: 1 running, 1 terminated" in text
    assert "0.25" in text
    assert "t0" in text
