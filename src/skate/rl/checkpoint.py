"""Checkpoints: one file, written whole or not at all, from which a training goes on.

Without workers it also holds the environments and the random states, so that the resumed run equals the uninterrupted one bit for bit. Environments
that can't be pickled, and those of runners that are actors, start new episodes with new seeds.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from skate.rl.algorithm import Algorithm
from skate.rl.callbacks import Callback
from skate.rl.settings import change

A = TypeVar("A", bound=Algorithm[Any])


def write(algorithm: Algorithm[Any], path: Path) -> None:
    import cloudpickle

    state: dict[str, Any] = {
        "algorithm": algorithm.name,
        "env": algorithm.env,
        "env_kwargs": algorithm.env_kwargs,
        "seed": algorithm.seed,
        "settings": algorithm.settings,
        "weights": algorithm.model.flat.copy(),
        "optimizer": algorithm.optimizer.state(),
        "rng": algorithm.rng,
        "runner": _pickled_or_none(algorithm.runners.here),
        **{name: getattr(algorithm, name) for name in _COUNTERS},
        "extra": algorithm.extra_state(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        cloudpickle.dump(state, file, 5)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


_COUNTERS = ("steps", "iterations", "version", "recent_returns", "recent_lengths")


def _pickled_or_none(runner: Any) -> bytes | None:
    if runner is None:
        return None
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(runner, 5)
    except Exception:
        return None  # A window, a simulator's handle: this environment starts anew.
    return data


def read(cls: type[A], path: Path, callbacks: Sequence[Callback], changes: Mapping[str, Any]) -> A:
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    state = pickle.loads(path.read_bytes())
    if cls.name and state["algorithm"] != cls.name:
        raise ValueError(f"{path} is a checkpoint of {state['algorithm']}: load it with skate.rl.load, or with that class")
    algorithm = cls(
        state["env"],
        seed=state["seed"],
        settings=change(state["settings"], changes),
        callbacks=callbacks,
        env_kwargs=state["env_kwargs"],
    )
    algorithm.model.flat = state["weights"]
    algorithm.rng = state["rng"]
    for name in _COUNTERS:
        setattr(algorithm, name, state[name])
    algorithm.optimizer.load_state(state["optimizer"])
    algorithm.load_extra_state(state["extra"])
    if state["runner"] is not None and algorithm.runners.here is not None:
        algorithm.runners.here = pickle.loads(state["runner"])
    return algorithm
