"""`Tuner`: what the user makes, and calls `fit()` on; and the table of results it returns."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

import skate
from skate.train.checkpoint import Checkpoint, write_json
from skate.train.config import RunConfig
from skate.train.options import with_suggestions
from skate.train.result import Result
from skate.train.worker import takes_config
from skate.tune import search_space as spaces
from skate.tune.runner import Work
from skate.tune.schedulers import FIFOScheduler, Scheduler
from skate.tune.search import SAMPLERS, GridAndRandom, OptunaSearch, Searcher
from skate.tune.study import Study, TrialState


class TuneError(skate.exceptions.RayError):
    """A study can't go on, or has no result that was asked for."""


@with_suggestions
@dataclass
class TuneConfig:
    """How a study searches.

    Attributes:
        metric, mode: What is to be optimised: a reported metric, "min" or "max".
        num_samples: Trials; with grids: how often the whole grid is tried.
        search_alg: None: grid and random; "tpe", "cmaes", …: Optuna; or a searcher.
        scheduler: None: every trial runs to its end.
        max_concurrent_trials: None: as many as there are resources for.
        time_budget_s: No trial starts after so long.
        seed: Of the default search.
    """

    metric: str | None = None
    mode: str | None = None
    num_samples: int = 1
    search_alg: Searcher | str | None = None
    scheduler: Scheduler | None = None
    max_concurrent_trials: int | None = None
    time_budget_s: float | None = None
    reuse_actors: bool = True
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in (None, "min", "max"):
            raise ValueError(f"TuneConfig: mode={self.mode!r} must be 'min' or 'max'")
        if isinstance(self.num_samples, bool) or not isinstance(self.num_samples, int) or self.num_samples < 1:
            raise ValueError(f"TuneConfig: num_samples={self.num_samples!r} must be a positive int")
        if self.max_concurrent_trials is not None and self.max_concurrent_trials < 1:
            raise ValueError(f"TuneConfig: max_concurrent_trials={self.max_concurrent_trials!r} must be positive, or None")
        if isinstance(self.search_alg, str) and self.search_alg.lower() not in SAMPLERS:
            raise ValueError(
                f"TuneConfig: search_alg={self.search_alg!r} must be one of {', '.join(map(repr, SAMPLERS))}, or a searcher"
            )
        if self.scheduler is not None and not isinstance(self.scheduler, Scheduler):
            raise TypeError(f"TuneConfig: scheduler must be a scheduler such as ASHAScheduler(), not {self.scheduler!r}")


class ResultGrid:
    """The results of a study: a list of `Result`, with the best."""

    def __init__(self, results: list[Result], trials: list[TrialState], metric: str | None, mode: str | None, path: str) -> None:
        self._results, self._trials, self._metric, self._mode = results, trials, metric, mode
        self.experiment_path = path

    def __len__(self) -> int:
        return len(self._results)

    def __getitem__(self, index: int) -> Result:
        return self._results[index]

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    @property
    def errors(self) -> list[BaseException]:
        return [one.error for one in self._results if one.error is not None]

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    @property
    def num_terminated(self) -> int:
        return sum(trial.state == "TERMINATED" for trial in self._trials)

    def get_best_result(self, metric: str | None = None, mode: str | None = None, scope: str = "last") -> Result:
        """The best trial.

        Args:
            scope: "last": by its last report; "all": by its best one.

        Raises:
            TuneError: No trial reported the metric.
        """
        metric, mode = metric or self._metric, mode or self._mode
        if metric is None or mode not in ("min", "max"):
            raise ValueError("get_best_result: say what is best: metric=…, mode='min' or 'max' (here or in TuneConfig)")
        best = max if mode == "max" else min
        scored = []
        for result in self._results:
            rows = result.metrics_history if scope == "all" else [result.metrics]
            values = [row[metric] for row in rows if isinstance(row.get(metric), int | float) and not math.isnan(row[metric])]
            if values:
                scored.append((best(values), result))
        if not scored:
            names = sorted({name for result in self._results for name in result.metrics})
            first = f", the first: {str(self.errors[0]).splitlines()[0]}" if self.errors else ""
            raise TuneError(
                f"no trial reported {metric!r} as a number; reported: {', '.join(names) or 'nothing'}; failed trials: {self.num_errors}{first}"
            )
        return best(scored, key=lambda pair: pair[0])[1]

    def get_dataframe(self) -> Any:
        """One row per trial: its last metrics, and its configuration as columns "config/…"."""
        import pandas

        rows = []
        for result, trial in zip(self._results, self._trials, strict=True):
            config = {f"config/{path}": value for path, value in spaces.walk(result.config)}
            rows.append({"trial_id": trial.trial_id, "state": trial.state, **result.metrics, **config})
        return pandas.DataFrame(rows)

    def __repr__(self) -> str:
        return f"ResultGrid({len(self)} trials, {self.num_errors} failed, {self.experiment_path})"


@with_suggestions
class Tuner:
    """Searches over the settings of a trainable.

    ```python
    def trial(config):
        for step in range(20):
            tune.report({"loss": (config["x"] - 3) ** 2 / (step + 1)})

    results = Tuner(trial, param_space={"x": tune.uniform(0, 10)}, tune_config=TuneConfig("loss", "min", num_samples=20)).fit()
    print(results.get_best_result().config)
    ```

    Args:
        trainable: A function of the configuration, a subclass of `Trainable`, or a trainer of `skate.train`.
        param_space: Nested dict of constants and domains. For a trainer: {"train_loop_config": {…}}.
        run_config: Name, storage, `stop`, failures (each trial may fail so often), checkpoints. A study of a name that did not end is resumed.
    """

    def __init__(
        self,
        trainable: Any,
        *,
        param_space: Mapping[str, Any] | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
    ) -> None:
        if not callable(trainable) and not hasattr(trainable, "with_config"):
            raise TypeError(f"Tuner: the trainable must be a function, a class or a trainer, not {trainable!r}")
        if param_space is not None and not isinstance(param_space, Mapping):
            raise TypeError(
                f"Tuner: param_space must be a dict, such as {{'lr': tune.uniform(0, 1)}}, not {type(param_space).__name__}"
            )
        _check_trainable(unwrap_resources(trainable)[0])
        for argument, value, kind in (("tune_config", tune_config, TuneConfig), ("run_config", run_config, RunConfig)):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"Tuner: {argument} must be a {kind.__name__}, not {type(value).__name__}")
        self._trainable = trainable
        self._space = dict(param_space or {})
        self._tune = tune_config or TuneConfig()
        self._run = run_config or RunConfig()

    @classmethod
    def restore(cls, path: str | Path, trainable: Any, **_of_ray: Any) -> Tuner:
        """The tuner of a study in `path`, with this trainable; `fit()` goes on with it.

        Raises:
            ValueError: There is no study.
        """
        path = Path(path).expanduser().absolute()
        if not (path / "tuner.pkl").exists():
            raise ValueError(f"Tuner.restore: there is no study in {path}")
        space, config, run = cloudpickle.loads((path / "tuner.pkl").read_bytes())
        return cls(trainable, param_space=space, tune_config=config, run_config=_renamed(run, path))

    @classmethod
    def can_restore(cls, path: str | Path) -> bool:
        return (Path(path).expanduser() / "tuner.pkl").exists()

    def fit(self) -> ResultGrid:
        """Run the study.

        Returns:
            All trials; a trial that failed has an `error`.

        Raises:
            ValueError: Something of the settings makes no sense, or there will never be room for a trial.
        """
        config, run = self._tune, self._run
        name, directory, seed = self._open()
        trainable, resources = unwrap_resources(self._trainable)
        scheduler = config.scheduler or FIFOScheduler()
        scheduler.set_up(config.metric, config.mode, self._space)
        searcher, wants_feedback = self._searcher(seed)
        searcher.set_up(self._space, config.num_samples, config.metric, config.mode or "min")
        options, concurrency = _placement(trainable, resources)
        study = Study(
            name=name,
            directory=directory,
            work=Work(trainable, scheduler.asks, scheduler.needs_checkpoints, run.stop, run.checkpoint_config),
            searcher=searcher,
            scheduler=scheduler,
            metric=config.metric,
            mode=config.mode,
            run=run,
            runner_options=options,
            concurrency=min(concurrency, config.max_concurrent_trials or concurrency),
            wants_feedback=wants_feedback,
            time_budget_s=config.time_budget_s,
        )
        done = study.resume()
        if study.trials and run.verbose:
            sys.stderr.write(f"[tune] resuming study {name!r}: {done} of its {len(study.trials)} trials had ended\n")
        study.run()
        write_json(directory / "study.json", {"state": "FINISHED", "seed": seed})
        trials = list(study.trials.values())
        return ResultGrid([_result(trial, directory) for trial in trials], trials, config.metric, config.mode, str(directory))

    def _open(self) -> tuple[str, Path, int]:
        run = self._run
        name = run.name or f"tune_{time.strftime('%Y-%m-%d_%H-%M-%S')}_{time.time_ns() % 1_000_000:06d}"
        directory = run.storage / name
        seed = self._tune.seed if self._tune.seed is not None else time.time_ns() % (1 << 30)
        if (directory / "study.json").exists():
            before = json.loads((directory / "study.json").read_text(encoding="utf-8"))
            if before["state"] == "FINISHED":
                number = 1
                while (aside := directory.with_name(f"{name}~{number}")).exists():
                    number += 1
                shutil.move(directory, aside)
            else:
                seed = before["seed"]
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / "study.json", {"state": "RUNNING", "seed": seed})
        try:
            (directory / "tuner.pkl").write_bytes(cloudpickle.dumps((self._space, self._tune, run)))
        except Exception as error:
            raise ValueError(
                f"Tuner: param_space and configs must be picklable, so that the study can be resumed: {error}"
            ) from error
        return name, directory, seed

    def _searcher(self, seed: int) -> tuple[Searcher, bool]:
        found = self._tune.search_alg
        if isinstance(found, str):
            found = OptunaSearch(sampler=found, seed=self._tune.seed)
        if found is None:
            found = GridAndRandom(seed)
        return found, not isinstance(found, GridAndRandom)


def read_settings(directory: Path) -> tuple[str | None, str | None]:
    """Metric and mode of a study on disk; (None, None) when they can't be read."""
    try:
        _space, config, _run = cloudpickle.loads((directory / "tuner.pkl").read_bytes())
    except Exception:  # It needs modules that are not there.
        return None, None
    return config.metric, config.mode


def _renamed(run: RunConfig, path: Path) -> RunConfig:
    from dataclasses import replace

    return replace(run, name=path.name, storage_path=path.parent)


def _result(trial: TrialState, directory: Path) -> Result:
    return Result(
        metrics=dict(trial.row),
        checkpoint=Checkpoint(trial.checkpoint) if trial.checkpoint else None,
        path=str(directory / trial.trial_id),
        error=TuneError(f"{trial.trial_id} failed: {trial.error}") if trial.error else None,
        metrics_history=trial.rows,
        failures=trial.failures,
        config=trial.config,
    )


# ---------------------------------------------------------------- resources


@dataclass
class WithResources:
    """A trainable and what one trial of it holds."""

    trainable: Any
    resources: dict[str, float]

    def __call__(self, config: Any) -> Any:
        return self.trainable(config)


def with_resources(trainable: Any, resources: Mapping[str, float]) -> WithResources:
    """Say what a trial needs: `with_resources(train, {"cpu": 2, "gpu": 0.5})`."""
    names = {"cpu": "CPU", "gpu": "GPU", "num_cpus": "CPU", "num_gpus": "GPU"}
    return WithResources(trainable, {names.get(name.lower(), name): float(amount) for name, amount in resources.items()})


def with_parameters(trainable: Any, **parameters: Any) -> Any:
    """Give a trainable large values by the object store: put once, not sent with each trial."""
    refs = {name: skate.put(value) for name, value in parameters.items()}
    if isinstance(trainable, type):
        raise TypeError("with_parameters takes a function; give a class its values by param_space")

    def with_values(config: Any) -> Any:
        return trainable(config, **{name: skate.get(ref) for name, ref in refs.items()})

    return with_values


def unwrap_resources(trainable: Any) -> tuple[Any, dict[str, float] | None]:
    return (trainable.trainable, trainable.resources) if isinstance(trainable, WithResources) else (trainable, None)


def _check_trainable(trainable: Any) -> None:
    """Raise TypeError for what could not run, before anything starts."""
    if isinstance(trainable, type):
        if hasattr(trainable, "with_config"):
            raise TypeError(
                f"Tuner: {trainable.__name__} is a class: make the trainer first, {trainable.__name__}(train_loop, …)"
            )
        if not hasattr(trainable, "step"):
            raise TypeError(f"Tuner: the class {trainable.__name__} must derive from tune.Trainable, and have a method step()")
    elif not hasattr(trainable, "with_config") and not takes_config(trainable):
        raise TypeError(f"Tuner: the trial {getattr(trainable, '__name__', trainable)}() must take one argument, the config")


def _placement(trainable: Any, resources: dict[str, float] | None) -> tuple[dict[str, Any], int]:
    """Options of a runner, and how many of them there is room for."""
    total = skate.cluster_resources()
    if hasattr(trainable, "with_config"):  # A trainer: its workers hold the resources, the runner none.
        least = trainable.scaling_config.bounds[0]
        needed = {name: amount * least for name, amount in trainable.scaling_config.worker_resources.items()}
        options: dict[str, Any] = {"num_cpus": 0}
    else:
        needed = {"CPU": 1.0, **(resources or {})}
        others = {name: amount for name, amount in needed.items() if name not in ("CPU", "GPU")}
        options = {
            "num_cpus": needed["CPU"],
            **({"num_gpus": needed["GPU"]} if needed.get("GPU") else {}),
            **({"resources": others} if others else {}),
        }
    room = min((math.floor(total.get(name, 0.0) / amount + 1e-6) for name, amount in needed.items() if amount > 0), default=1_000)
    if room < 1:
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in needed.items())
        there = ", ".join(f"{total.get(name, 0):g} {name}" for name in needed)
        raise ValueError(
            f"Tuner: a trial needs {wanted}, but there are {there} in all: use with_resources(…), or skate.init(num_cpus=…, num_gpus=…)"
        )
    return options, min(room, 64)


def run(trainable: Callable[..., Any] | Any, *, config: Mapping[str, Any] | None = None, **options: Any) -> ResultGrid:
    """Ray's older form: `tune.run(train, config={…}, num_samples=10, metric="loss", mode="min", stop={…})`."""
    of_run = {
        name: options.pop(name)
        for name in ("name", "storage_path", "stop", "verbose", "failure_config", "checkpoint_config")
        if name in options
    }
    resources = options.pop("resources_per_trial", None)
    return Tuner(
        with_resources(trainable, resources) if resources else trainable,
        param_space=config,
        tune_config=TuneConfig(**options),
        run_config=RunConfig(**of_run),
    ).fit()
