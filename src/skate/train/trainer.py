"""Trainers: what the user makes, and calls `fit()` on. `FunctionTrainer` is the plain one; the frameworks' derive from it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import skate
from skate.train.checkpoint import Checkpoint
from skate.train.collective import SharedMemoryFramework
from skate.train.config import RunConfig, ScalingConfig
from skate.train.controller import Controller
from skate.train.framework import Framework
from skate.train.options import refuse_unknown
from skate.train.result import Result
from skate.train.worker import takes_config


class FunctionTrainer:
    """Runs a training loop on N workers.

    ```python
    def loop(config):
        context = train.get_context()
        for step in range(100):
            …
            train.report({"loss": loss})

    result = FunctionTrainer(loop, train_loop_config={"lr": 0.1}, scaling_config=ScalingConfig(num_workers=2)).fit()
    ```

    Args:
        train_loop_per_worker: Takes the config, or nothing. Runs once on each worker.
        train_loop_config: What the loop is called with.
        datasets: Name → Arrow table, pandas or skate.pandas frame, dict of NumPy arrays, or what `skate.blocks.shards` reads from Parquet and CSV files; the
            loop gets its rows by `get_dataset_shard(name)`.
        resume_from_checkpoint: What `get_checkpoint()` gives the loop at first.
    """

    framework_class: ClassVar[type[Framework]] = SharedMemoryFramework

    def __init__(
        self,
        train_loop_per_worker: Callable[..., Any],
        *,
        train_loop_config: Mapping[str, Any] | None = None,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: Mapping[str, Any] | None = None,
        resume_from_checkpoint: Checkpoint | None = None,
        **of_framework: Any,
    ) -> None:
        name = type(self).__name__
        if not callable(train_loop_per_worker):
            raise TypeError(f"{name}: the first argument is the training loop, a function, not {train_loop_per_worker!r}")
        takes_config(train_loop_per_worker)
        for argument, value, kind in (
            ("scaling_config", scaling_config, ScalingConfig),
            ("run_config", run_config, RunConfig),
            ("resume_from_checkpoint", resume_from_checkpoint, Checkpoint),
        ):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name}: {argument} must be a {kind.__name__}, not {type(value).__name__}")
        if train_loop_config is not None and not isinstance(train_loop_config, Mapping):
            raise TypeError(f"{name}: train_loop_config must be a dict, not {type(train_loop_config).__name__}")
        if datasets is not None and not isinstance(datasets, Mapping):
            raise TypeError(f"{name}: datasets must be a dict, such as {{'train': data}}, not {type(datasets).__name__}")
        self.train_loop_per_worker = train_loop_per_worker
        self.train_loop_config = dict(train_loop_config or {})
        self.scaling_config = scaling_config or ScalingConfig()
        self.run_config = run_config or RunConfig()
        self.datasets = dict(datasets or {})
        self.resume_from_checkpoint = resume_from_checkpoint
        self._framework = self._make_framework(of_framework)

    def _make_framework(self, options: dict[str, Any]) -> Framework:
        """Turn the framework's own arguments into its object.

        Raises:
            TypeError: An argument that does not exist.
        """
        _refuse_unknown(type(self).__name__, options)
        return self.framework_class()

    def with_config(
        self, config: Mapping[str, Any], run_config: RunConfig, resume_from: Checkpoint | None = None
    ) -> FunctionTrainer:
        """The same trainer with another config: what `skate.tune` runs as a trial."""
        import copy

        other = copy.copy(self)
        other.train_loop_config = {**self.train_loop_config, **config}
        other.run_config = run_config
        other.resume_from_checkpoint = resume_from or self.resume_from_checkpoint
        return other

    def fit(self) -> Result:
        """Train.

        Returns:
            The result, with the last metrics, the checkpoints and the history.

        Raises:
            TrainingFailedError: A worker failed, and training may not start again; its `result` has what was reached.
            ValueError: There will never be room for the workers; or a dataset has fewer rows than there are workers.
        """
        from skate.blocks.shards import as_sharded

        name, directory = self._directory()
        self._framework.check(self.scaling_config)
        _start_engine(self._framework)
        _check_room(type(self).__name__, self.scaling_config)
        most = self.scaling_config.bounds[1]
        datasets = {key: as_sharded(key, data, least_rows=most) for key, data in self.datasets.items()}
        controller = Controller(
            loop=self.train_loop_per_worker,
            config=self.train_loop_config,
            scaling=self.scaling_config,
            run=self.run_config,
            framework=self._framework,
            datasets=datasets,
            name=name,
            directory=directory,
            resume_from=self.resume_from_checkpoint,
        )
        return controller.fit()

    def _directory(self) -> tuple[str, Path]:
        """The run's name and directory. One of a run that has ended is moved aside."""
        run = self.run_config
        name = run.name or f"{type(self).__name__}_{time.strftime('%Y-%m-%d_%H-%M-%S')}_{time.time_ns() % 1_000_000:06d}"
        directory = run.storage / name
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"RunConfig: storage_path={str(run.storage)!r} can't be used: {error.strerror}") from error
        try:
            state = json.loads((directory / "run.json").read_text(encoding="utf-8")).get("state")
        except FileNotFoundError:
            return name, directory
        except (ValueError, OSError) as error:
            raise ValueError(f"RunConfig: storage_path={str(run.storage)!r} can't be used: {error}") from error
        if state == "FINISHED":
            number = 1
            while (aside := directory.with_name(f"{name}~{number}")).exists():
                number += 1
            shutil.move(directory, aside)
            directory.mkdir()
            if run.verbose:
                sys.stderr.write(f"[train] run {name!r} had ended; its results are in {aside} now\n")
        return name, directory


def _start_engine(framework: Framework) -> None:
    """Where the trainer is the first to need an engine: let it import the framework once, before it forks the workers."""
    is_named = os.environ.get("SKATE_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if framework.preload and not is_named and not skate.is_initialized():
        skate.init(_preload=list(framework.preload))


_ARGUMENTS = (
    "train_loop_per_worker", "train_loop_config", "scaling_config", "run_config", "datasets", "resume_from_checkpoint",
)  # fmt: skip


def _refuse_unknown(trainer: str, options: Mapping[str, Any], known: tuple[str, ...] = ()) -> None:
    refuse_unknown(trainer, (name for name in options if name not in known), (*_ARGUMENTS, *known))


def _check_room(trainer: str, scaling: ScalingConfig) -> None:
    """Nothing of this machine or cluster would ever have room: say so instead of waiting."""
    least = scaling.bounds[0]
    total = skate.cluster_resources()
    for resource, amount in scaling.worker_resources.items():
        there = total.get(resource, 0.0)
        if amount * least > there + 1e-6:
            advice = {
                "GPU": "write use_gpu=False to train on CPUs, or skate.init(num_gpus=…) when they are not found by themselves",
                "CPU": "use fewer workers, resources_per_worker={'CPU': 0.5}, or skate.init(num_cpus=…)",
            }.get(resource, f"add it by skate.init(resources={{{resource!r}: …}})")
            raise ValueError(
                f"{trainer}: {least} worker(s) with {amount:g} {resource} each need {amount * least:g}, but there {'is' if there == 1 else 'are'} "
                f"{there:g}: {advice}"
            )


def updated(run: RunConfig, **changes: Any) -> RunConfig:
    """A RunConfig with some values changed."""
    return replace(run, **changes)
