"""Searchers: which configuration is tried next.

    suggest(trial_id) → config or None (no more)        observe(trial_id, value)        for values, higher is better inside

`GridAndRandom` is our own; `OptunaSearch` puts Optuna's samplers (TPE, CMA-ES, GP, QMC, NSGA-II …) behind the same two calls.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from skate.train.options import with_suggestions
from skate.tune import search_space as spaces

SAMPLERS = {
    "tpe": "TPESampler", "cmaes": "CmaEsSampler", "gp": "GPSampler", "qmc": "QMCSampler", "random": "RandomSampler", "nsgaii": "NSGAIISampler",
}  # fmt: skip


class Searcher:
    """Suggests configurations, and hears how they did."""

    def set_up(self, space: Mapping[str, Any], num_samples: int, metric: str | None, mode: str) -> None:
        raise NotImplementedError

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next configuration; None: there are no more."""
        raise NotImplementedError

    def observe(self, trial_id: str, value: float | None) -> None:
        """The last value of the metric; None: the trial failed."""

    def replay(self, trial_id: str, config: Mapping[str, Any], value: float | None) -> None:
        """When a study is resumed: a trial of before, in the order of their suggestion."""
        self.suggest(trial_id)
        self.observe(trial_id, value)

    def total(self) -> int:
        """How many trials there will be."""
        raise NotImplementedError


class GridAndRandom(Searcher):
    """All combinations of the grids, `num_samples` times, with everything else drawn anew each time.

    Args:
        seed: Of the dice. The n-th suggestion depends on seed and n only, so that a resumed study goes on as it would have.
        points_to_evaluate: Configurations (path → value) that come first.
    """

    def __init__(self, seed: int | None = None, points_to_evaluate: Sequence[Mapping[str, Any]] = ()) -> None:
        self._seed = random.randrange(1 << 30) if seed is None else seed
        self._first = list(points_to_evaluate)
        self._next = 0

    def set_up(self, space: Mapping[str, Any], num_samples: int, metric: str | None, mode: str) -> None:
        self._space, self._grid, self._samples = space, spaces.grid_points(space), num_samples

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        number = self._next
        if number >= self.total():
            return None
        self._next += 1
        dice = random.Random(f"{self._seed}/{number}")
        fixed = self._first[number] if number < len(self._first) else self._grid[number % len(self._grid)]
        return spaces.draw(self._space, dice, fixed)

    def total(self) -> int:
        return self._samples * len(self._grid)


@with_suggestions
class OptunaSearch(Searcher):
    """Optuna suggests.

    Args:
        sampler: "tpe" (default), "cmaes", "gp", "qmc", "random", or a sampler object of Optuna.
        seed: Of a sampler that is given by its name.
        metric, mode: Default: those of TuneConfig.
        points_to_evaluate: Configurations (path → value) that come first.
    """

    def __init__(
        self,
        space: Any = None,
        *,
        metric: str | None = None,
        mode: str | None = None,
        sampler: Any = "tpe",
        seed: int | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        if isinstance(sampler, str) and sampler.lower() not in SAMPLERS:
            raise ValueError(
                f"OptunaSearch: sampler={sampler!r} must be one of {', '.join(map(repr, SAMPLERS))}, or a sampler of Optuna"
            )
        self._own_space, self._metric, self._mode = space, metric, mode
        self._sampler, self._seed, self._first = sampler, seed, points_to_evaluate
        self._trials: dict[str, Any] = {}

    def set_up(self, space: Mapping[str, Any], num_samples: int, metric: str | None, mode: str) -> None:
        try:
            import optuna
        except ImportError as error:
            raise ImportError("OptunaSearch needs Optuna: pip install 'skate[tune]'") from error
        if (self._metric or metric) is None:
            raise ValueError("OptunaSearch: say what is to be optimised: TuneConfig(metric=…, mode=…)")
        self._space, self._samples = self._own_space or space, num_samples
        for path, leaf in spaces.walk(self._space):
            if isinstance(leaf, spaces.Grid | spaces.Normal):
                raise ValueError(
                    f"OptunaSearch: {path!r} is a {type(leaf).__name__}; use choice, uniform, loguniform, randint, … or the default search"
                )
        sampler = self._sampler
        if isinstance(sampler, str):
            name = sampler.lower()
            if name == "cmaes":
                _need("cmaes")
            sampler = getattr(optuna.samplers, SAMPLERS[name])(seed=self._seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize" if (self._mode or mode) == "max" else "minimize", sampler=sampler)
        for point in self._first:
            self._study.enqueue_trial(dict(point))

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if len(self._trials) >= self._samples:
            return None
        trial = self._trials[trial_id] = self._study.ask()
        config: dict[str, Any] = {}
        for path, leaf in spaces.walk(self._space):
            spaces.place(config, path, _ask(trial, path, leaf))
        return config

    def observe(self, trial_id: str, value: float | None) -> None:
        import optuna

        trial = self._trials.get(trial_id)
        if trial is None or isinstance(trial, str):
            return
        self._trials[trial_id] = "told"
        if value is None or value != value:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, value)

    def replay(self, trial_id: str, config: Mapping[str, Any], value: float | None) -> None:
        import optuna

        self._trials[trial_id] = "told"
        if value is None or value != value:
            return
        parameters, distributions = {}, {}
        leaves = dict(spaces.walk(self._space))
        for path, chosen in spaces.walk(config):
            distribution = _distribution(leaves.get(path))
            if distribution is not None:
                parameters[path], distributions[path] = chosen, distribution
        self._study.add_trial(optuna.trial.create_trial(params=parameters, distributions=distributions, value=value))

    def total(self) -> int:
        return self._samples


def _distribution(leaf: Any) -> Any:
    import optuna

    kinds = optuna.distributions
    match leaf:
        case spaces.Float():
            return kinds.FloatDistribution(leaf.lower, leaf.upper, log=leaf.log, step=None if leaf.log else leaf.q)
        case spaces.Integer():
            return kinds.IntDistribution(leaf.lower, leaf.upper - 1, log=leaf.log, step=1 if leaf.log else leaf.q)
        case spaces.Choice():
            return kinds.CategoricalDistribution(list(leaf.categories))
    return None


def _ask(trial: Any, path: str, leaf: Any) -> Any:
    match leaf:
        case spaces.Float():
            return trial.suggest_float(path, leaf.lower, leaf.upper, log=leaf.log, step=None if leaf.log else leaf.q)
        case spaces.Integer():
            return trial.suggest_int(path, leaf.lower, leaf.upper - 1, log=leaf.log, step=1 if leaf.log else leaf.q)
        case spaces.Choice():
            return trial.suggest_categorical(path, list(leaf.categories))
        case spaces.Computed():
            return leaf.function()
    return leaf


def _need(module: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ImportError(f"this sampler needs the package {module}: pip install 'skate[tune]'")
