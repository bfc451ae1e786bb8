"""Search over settings: many trials of a function, a class or a trainer, the bad ones ended early.

    from skate import tune

    def trial(config):
        for step in range(20):
            tune.report({"loss": …})

    results = tune.Tuner(
        trial,
        param_space={"lr": tune.loguniform(1e-4, 1e-1)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=50, scheduler=tune.ASHAScheduler(max_t=20)),
    ).fit()
    print(results.get_best_result().config)

Ray Tune's names, where they mean the same. Explained in docs/tune/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skate.train.checkpoint import Checkpoint as Checkpoint
from skate.train.config import CheckpointConfig as CheckpointConfig, FailureConfig as FailureConfig, RunConfig as RunConfig
from skate.tune.runner import Trainable as Trainable, current_trial
from skate.tune.schedulers import (
    ASHAScheduler as ASHAScheduler,
    AsyncHyperBandScheduler as AsyncHyperBandScheduler,
    FIFOScheduler as FIFOScheduler,
    HyperBandScheduler as HyperBandScheduler,
    MedianStoppingRule as MedianStoppingRule,
    PopulationBasedTraining as PopulationBasedTraining,
    Scheduler as Scheduler,
)
from skate.tune.search import GridAndRandom as GridAndRandom, OptunaSearch as OptunaSearch, Searcher as Searcher
from skate.tune.search_space import (
    choice as choice,
    grid_search as grid_search,
    lograndint as lograndint,
    loguniform as loguniform,
    qloguniform as qloguniform,
    qrandint as qrandint,
    quniform as quniform,
    randint as randint,
    randn as randn,
    sample_from as sample_from,
    uniform as uniform,
)
from skate.tune.tuner import (
    ResultGrid as ResultGrid,
    TuneConfig as TuneConfig,
    TuneError as TuneError,
    Tuner as Tuner,
    run as run,
    with_parameters as with_parameters,
    with_resources as with_resources,
)


def report(metrics: Mapping[str, Any], *, checkpoint: Checkpoint | None = None) -> None:
    """In a trial: tell how it goes. Does not return when the trial is to end."""
    current_trial().report(metrics, checkpoint)


def get_checkpoint() -> Checkpoint | None:
    """In a trial: where to go on from; None: start anew."""
    path = current_trial().checkpoint
    return None if path is None else Checkpoint(path)


def get_trial_id() -> str:
    """In a trial: its name, such as "trial_00003"."""
    return current_trial().assignment.trial_id
