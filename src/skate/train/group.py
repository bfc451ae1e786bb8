"""The workers of a run: starting them, keeping a spare one, replacing those that are lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import skate
from skate.train.worker import THREADS, TrainWorker

if TYPE_CHECKING:
    from skate.train.framework import Framework


class WorkerGroup:
    """Actors by rank. Ranks are given anew for each attempt: survivors first, then spares, then new ones."""

    def __init__(
        self, framework: Framework, resources: Mapping[str, float], spares: int, accelerator_type: str | None, strategy: str
    ) -> None:
        self._framework = framework
        self._resources = dict(resources)
        self._spares_wanted = spares
        self._options = _options(resources, accelerator_type, strategy)
        self._spare_options = {**self._options, "num_cpus": 0}
        self._spares: list[Any] = []
        self.workers: list[Any] = []

    def form(self, size: int) -> None:
        """Have `size` workers."""
        for worker in self.workers[size:]:
            _end(worker)
        del self.workers[size:]
        while len(self.workers) < size and self._spares:
            self.workers.append(self._spares.pop())
        while len(self.workers) < size:
            self.workers.append(skate.remote(**self._options)(TrainWorker).remote())

    def start_spares(self) -> None:
        """Called when training is under way, so that a spare's imports do not delay the first step."""
        while len(self._spares) < self._spares_wanted:
            worker = skate.remote(**self._spare_options)(TrainWorker).remote()
            worker.warm_up.remote(self._framework)
            self._spares.append(worker)

    def lose(self, worker: Any) -> None:
        """End a worker, or note that it has ended."""
        _end(worker)
        if worker in self.workers:
            self.workers.remove(worker)

    def end(self) -> None:
        for worker in (*self.workers, *self._spares):
            _end(worker)
        self.workers, self._spares = [], []


def _options(resources: Mapping[str, float], accelerator_type: str | None, strategy: str) -> dict[str, Any]:
    others = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU", "memory")}
    options: dict[str, Any] = {"num_cpus": resources.get("CPU", 0), "max_concurrency": THREADS, "max_restarts": 0}
    if resources.get("GPU"):
        options["num_gpus"] = resources["GPU"]
    if resources.get("memory"):
        options["memory"] = resources["memory"]
    if others:
        options["resources"] = others
    if accelerator_type:
        options["accelerator_type"] = accelerator_type
    if strategy in ("SPREAD", "STRICT_SPREAD"):
        options["scheduling_strategy"] = "SPREAD"
    return options


def _end(worker: Any) -> None:
    try:
        skate.kill(worker)
    except (skate.exceptions.RayError, RuntimeError):  # It is dead already, or the session is.
        pass
