"""Schedulers: which trials go on, which end early, which change course. Pure: they hear of results and answer.

    on_result(trial_id, result) → CONTINUE | STOP | PAUSE | Exploit(donor, config)          on_complete(trial_id)          released() → paused ones

Inside, values are "higher is better" (`_score` turns "min" around).
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from skate.train.options import with_suggestions
from skate.tune import search_space as spaces


class Decision(Enum):
    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"  # Ends for now; `released` says later whether it goes on from its checkpoint.


CONTINUE, STOP = Decision.CONTINUE, Decision.STOP


@dataclass(frozen=True)
class Exploit:
    """The trial goes on from the checkpoint of a better one, with another configuration."""

    donor: str
    config: dict[str, Any]


class Scheduler:
    """Lets every trial run to its end."""

    needs_checkpoints = False
    asks = False  # Whether trials wait for an answer at each report.

    def __init__(self, time_attr: str = "training_iteration", metric: str | None = None, mode: str | None = None) -> None:
        if mode not in (None, "min", "max"):
            raise ValueError(f"{type(self).__name__}: mode={mode!r} must be 'min' or 'max'")
        self.time_attr, self.metric, self.mode = time_attr, metric, mode

    def set_up(self, metric: str | None, mode: str | None, space: Mapping[str, Any]) -> None:
        self.metric, self.mode = self.metric or metric, self.mode or mode
        if self.asks and (self.metric is None or self.mode is None):
            raise ValueError(f"{type(self).__name__}: say which trial is better: TuneConfig(metric=…, mode='min' or 'max')")

    def on_start(self, trial_id: str, config: Mapping[str, Any]) -> None:
        pass

    def on_result(self, trial_id: str, result: Mapping[str, Any]) -> Decision | Exploit:
        return CONTINUE

    def on_complete(self, trial_id: str) -> None:
        pass

    def released(self) -> dict[str, Decision]:
        """Paused trials that now go on or end. Asked after each event."""
        return {}

    def close(self) -> None:
        """No more trials will start, and those that live are paused."""

    def _score(self, result: Mapping[str, Any]) -> float:
        assert self.metric is not None
        if self.metric not in result:
            raise ValueError(
                f"{type(self).__name__}: a trial reported no {self.metric!r}, which decides between trials; it reported {', '.join(sorted(result))}"
            )
        value = float(result[self.metric])
        if math.isnan(value):
            return -math.inf
        return value if self.mode == "max" else -value

    def _time(self, result: Mapping[str, Any]) -> float:
        return float(result.get(self.time_attr, result.get("training_iteration", 0)))


class FIFOScheduler(Scheduler):
    """The default."""


class _Bracket:
    """Rungs of successive halving: at each only the best 1/eta go on."""

    def __init__(self, grace: float, most: float, eta: float, skipped: int) -> None:
        self.eta = eta
        self.rungs: list[tuple[float, dict[str, float]]] = []
        at = grace * eta**skipped
        while at < most:
            self.rungs.append((at, {}))
            at *= eta

    def decide(self, trial_id: str, time: float, score: float) -> Decision:
        decision = CONTINUE
        for at, scores in reversed(self.rungs):  # The highest rung that was reached counts.
            if time < at or trial_id in scores:
                continue
            scores[trial_id] = score
            kept = sorted(scores.values(), reverse=True)[: max(1, int(len(scores) / self.eta))]
            if score < kept[-1]:
                decision = STOP
            break
        return decision


@with_suggestions
class ASHAScheduler(Scheduler):
    """Asynchronous successive halving (Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2): a trial that comes to a
    rung goes on when it is among the best 1/reduction_factor of those that have come there so far.

    Args:
        max_t: The time at which a trial ends in any case.
        grace_period: No trial ends before.
        brackets: Each begins its rungs later by one factor; trials are dealt out in turn.
    """

    asks = True

    def __init__(
        self, time_attr: str = "training_iteration", metric: str | None = None, mode: str | None = None, max_t: float = 100, grace_period: float = 1,
        reduction_factor: float = 4, brackets: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(time_attr, metric, mode)
        if not 0 < grace_period <= max_t:
            raise ValueError(f"ASHAScheduler: grace_period={grace_period!r} must be above 0 and at most max_t={max_t!r}")
        if not reduction_factor > 1:
            raise ValueError(f"ASHAScheduler: reduction_factor={reduction_factor!r} must be above 1")
        self._max_t = max_t
        self._brackets = [_Bracket(grace_period, max_t, reduction_factor, number) for number in range(brackets)]
        self._of: dict[str, _Bracket] = {}

    def on_result(self, trial_id: str, result: Mapping[str, Any]) -> Decision | Exploit:
        if self._time(result) >= self._max_t:
            return STOP
        bracket = self._of.setdefault(trial_id, self._brackets[len(self._of) % len(self._brackets)])
        return bracket.decide(trial_id, self._time(result), self._score(result))


AsyncHyperBandScheduler = ASHAScheduler


class _FullBracket:
    """One bracket of HyperBand: its trials meet at each rung, and only the best 1/eta of them go on."""

    def __init__(self, first_at: float, most: float, eta: float, size: int) -> None:
        self.eta, self.most, self.size = eta, most, size
        self.at = first_at  # The rung that the living are on their way to.
        self.living: set[str] = set()
        self.arrived: dict[str, float] = {}  # Trial → its score at this rung.
        self.joined = 0
        self.is_closed = False  # No more trials will join.

    def join(self, trial_id: str) -> None:
        self.living.add(trial_id)
        self.joined += 1
        self.is_closed = self.joined >= self.size

    def leave(self, trial_id: str) -> None:
        self.living.discard(trial_id)
        self.arrived.pop(trial_id, None)

    def halve(self) -> dict[str, Decision]:
        """When all have arrived: who goes on to the next rung, and who ends. Empty while some are under way."""
        if not self.is_closed or not self.arrived or set(self.arrived) != self.living:
            return {}
        best_first = sorted(self.arrived, key=lambda trial_id: (-self.arrived[trial_id], trial_id))
        kept = set(best_first[: max(1, int(len(best_first) / self.eta))])
        self.living, self.arrived = kept, {}
        self.at = min(self.at * self.eta, self.most)
        return {trial_id: CONTINUE if trial_id in kept else STOP for trial_id in best_first}


@with_suggestions
class HyperBandScheduler(Scheduler):
    """HyperBand (Li et al. 2016, algorithm 1): brackets from "many trials, halved early" to "few trials, left alone".

    Synchronous: at a rung a trial waits for the others of its bracket: it is paused, and goes on from its checkpoint, so it needs some. Brackets are
    filled one after the other, and begin anew when all are full. One that the trials do not fill is halved as it is. Without checkpoints, or where
    workers must not wait for the slowest trial: `ASHAScheduler(brackets=…)`.

    Args:
        max_t: The time at which a trial ends in any case: R of the paper.
        reduction_factor: Only the best 1/reduction_factor go on: η.
    """

    needs_checkpoints = True
    asks = True

    def __init__(
        self, time_attr: str = "training_iteration", metric: str | None = None, mode: str | None = None, max_t: float = 81, reduction_factor: float = 3,
    ) -> None:  # fmt: skip
        super().__init__(time_attr, metric, mode)
        if not reduction_factor > 1:
            raise ValueError(f"HyperBandScheduler: reduction_factor={reduction_factor!r} must be above 1")
        if not max_t >= 1:
            raise ValueError(f"HyperBandScheduler: max_t={max_t!r} must be at least 1")
        self._max_t, self._eta = max_t, reduction_factor
        self._brackets: list[_FullBracket] = []
        self._of: dict[str, _FullBracket] = {}
        self._verdicts: dict[str, Decision] = {}

    def sizes(self) -> list[tuple[int, float]]:
        """(trials, first rung) of each bracket."""
        most = 0
        while self._eta ** (most + 1) <= self._max_t:
            most += 1
        return [
            (math.ceil((most + 1) / (skipped + 1) * self._eta**skipped), self._max_t / self._eta**skipped)
            for skipped in range(most, -1, -1)
        ]

    def on_start(self, trial_id: str, config: Mapping[str, Any]) -> None:
        if trial_id in self._of:
            return
        if not self._brackets or self._brackets[-1].is_closed:
            size, first_at = self.sizes()[len(self._brackets) % len(self.sizes())]
            self._brackets.append(_FullBracket(first_at, self._max_t, self._eta, size))
        self._of[trial_id] = self._brackets[-1]
        self._brackets[-1].join(trial_id)

    def on_result(self, trial_id: str, result: Mapping[str, Any]) -> Decision | Exploit:
        self.on_start(trial_id, {})
        time, bracket = self._time(result), self._of[trial_id]
        if time >= self._max_t:
            return STOP
        if time < bracket.at or trial_id not in bracket.living:
            return CONTINUE
        bracket.arrived[trial_id] = self._score(result)
        verdicts = bracket.halve()
        own = verdicts.pop(trial_id, Decision.PAUSE)  # The last one to come need not be paused.
        self._verdicts |= verdicts
        return own

    def on_complete(self, trial_id: str) -> None:
        bracket = self._of.get(trial_id)
        if bracket is not None and trial_id in bracket.living:
            bracket.leave(trial_id)
            self._verdicts |= bracket.halve()

    def released(self) -> dict[str, Decision]:
        verdicts, self._verdicts = self._verdicts, {}
        return verdicts

    def close(self) -> None:
        for bracket in self._brackets:
            bracket.is_closed = True
            self._verdicts |= bracket.halve()


@with_suggestions
class MedianStoppingRule(Scheduler):
    """A trial whose best value so far is worse than the median of the others' averages up to the same time ends (Golovin et al. 2017, section 3.2.1).

    Args:
        grace_period: No trial ends before.
        min_samples_required: Nor with fewer others.
    """

    asks = True

    def __init__(
        self, time_attr: str = "training_iteration", metric: str | None = None, mode: str | None = None, grace_period: float = 5,
        min_samples_required: int = 3, hard_stop: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(time_attr, metric, mode)
        self._grace, self._least = grace_period, min_samples_required
        self._curves: dict[str, list[tuple[float, float]]] = {}

    def on_result(self, trial_id: str, result: Mapping[str, Any]) -> Decision | Exploit:
        time, score = self._time(result), self._score(result)
        self._curves.setdefault(trial_id, []).append((time, score))
        if time < self._grace:
            return CONTINUE
        averages = []
        for other, curve in self._curves.items():
            scores = [value for at, value in curve if at <= time]
            if other != trial_id and scores:
                averages.append(sum(scores) / len(scores))
        if len(averages) < self._least:
            return CONTINUE
        best = max(value for _, value in self._curves[trial_id])
        return STOP if best < statistics.median(averages) else CONTINUE


@with_suggestions
class PopulationBasedTraining(Scheduler):
    """Population based training (Jaderberg et al. 2017): every `perturbation_interval` a trial of the worst quantile takes over checkpoint and configuration
    of one of the best, and changes the configuration a little.

    Args:
        hyperparam_mutations: path → a domain, a list of values, or a function without arguments. A number is multiplied by 0.8 or 1.2; a value of a
            list moves to a neighbour; with `resample_probability` it is drawn anew.
    """

    needs_checkpoints = True
    asks = True

    def __init__(
        self, time_attr: str = "training_iteration", metric: str | None = None, mode: str | None = None, perturbation_interval: float = 5,
        hyperparam_mutations: Mapping[str, Any] | None = None, quantile_fraction: float = 0.25, resample_probability: float = 0.25,
        burn_in_period: float = 0, seed: int = 0, custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(time_attr, metric, mode)
        if not hyperparam_mutations and custom_explore_fn is None:
            raise ValueError(
                "PopulationBasedTraining: hyperparam_mutations says what may change: {'lr': tune.loguniform(1e-4, 1e-1)}"
            )
        if not 0 < quantile_fraction <= 0.5:
            raise ValueError(f"PopulationBasedTraining: quantile_fraction={quantile_fraction!r} must be above 0 and at most 0.5")
        self._interval, self._quantile, self._resample = perturbation_interval, quantile_fraction, resample_probability
        self._mutations, self._burn_in, self._explore_more = dict(hyperparam_mutations or {}), burn_in_period, custom_explore_fn
        self._dice = random.Random(seed)
        self._scores: dict[str, float] = {}
        self._configs: dict[str, dict[str, Any]] = {}
        self._perturbed: dict[str, float] = {}

    def on_start(self, trial_id: str, config: Mapping[str, Any]) -> None:
        self._configs[trial_id] = dict(config)

    def on_result(self, trial_id: str, result: Mapping[str, Any]) -> Decision | Exploit:
        self._scores[trial_id] = self._score(result)
        time = self._time(result)
        if time < self._burn_in or time - self._perturbed.get(trial_id, 0) < self._interval:
            return CONTINUE
        self._perturbed[trial_id] = time
        ranked = sorted(self._scores, key=lambda one: (self._scores[one], one))
        count = min(math.ceil(len(ranked) * self._quantile), len(ranked) // 2)
        if trial_id not in ranked[:count]:
            return CONTINUE
        donor = self._dice.choice(ranked[-count:])
        config = self._explore(self._configs[donor])
        self._configs[trial_id] = config
        return Exploit(donor, config)

    def _explore(self, config: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(spaces.walk(config))
        changed: dict[str, Any] = {}
        for path, value in values.items():
            mutation = self._mutations.get(path)
            spaces.place(changed, path, value if mutation is None else self._mutate(value, mutation))
        return self._explore_more(changed) if self._explore_more is not None else changed

    def _mutate(self, value: Any, mutation: Any) -> Any:
        is_new = self._dice.random() < self._resample
        if isinstance(mutation, spaces.Choice):
            mutation = list(mutation.categories)
        if isinstance(mutation, list | tuple):
            if is_new or value not in mutation:
                return self._dice.choice(list(mutation))
            at = list(mutation).index(value) + self._dice.choice((-1, 1))
            return mutation[min(max(at, 0), len(mutation) - 1)]
        if is_new:
            return mutation.sample(self._dice) if isinstance(mutation, spaces.Domain) else mutation()
        changed = value * self._dice.choice((0.8, 1.2))
        if isinstance(mutation, spaces.Float | spaces.Integer):
            changed = min(max(changed, mutation.lower), mutation.upper)
        return int(changed) if isinstance(value, int) else changed
