"""What all algorithms can be told. Each algorithm's own settings stand in its file, with the names of its paper."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Args:
        num_workers: Actors that step environments; 0: this process does it.
        num_envs: Environments in all, shared out over the workers.
        lr: Learning rate of Adam.
        gamma: Discount.
        hidden: Units of the layers of each network.
        activation: "tanh" or "relu".
        framework: "numpy", "torch" or "auto": see `skate.rl.networks`.
        device: For Torch: "cpu", "cuda", or "auto" (a GPU when there is one).
        network: `(observation_shape) -> torch.nn.Module`, a body of your own with a flat output.
        runner_cpus: CPUs each runner holds, and the threads it uses; 0: none held, one thread.
        runner_timeout_s: A runner that takes longer for one rollout is reported as hanging.
    """

    num_workers: int = 0
    num_envs: int = 8
    lr: float = 1e-3
    gamma: float = 0.99
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    framework: str = "auto"
    device: str = "auto"
    network: Callable[[tuple[int, ...]], Any] | None = None
    runner_cpus: float = 0.0
    runner_timeout_s: float = 300.0

    def __post_init__(self) -> None:
        if self.num_workers < 0 or self.num_envs < 1:
            raise ValueError(f"num_workers={self.num_workers} must be 0 or more and num_envs={self.num_envs} at least 1")
        if self.num_workers and self.num_envs % self.num_workers:
            raise ValueError(
                f"num_envs={self.num_envs} can't be shared out over num_workers={self.num_workers}: "
                f"take a multiple, such as {self.num_workers * max(1, round(self.num_envs / self.num_workers))}"
            )
        if self.lr < 0 or not 0 <= self.gamma <= 1:
            raise ValueError(f"lr={self.lr} must not be negative, and gamma={self.gamma} must be from 0 to 1")

    @property
    def envs_per_runner(self) -> int:
        return self.num_envs // max(1, self.num_workers)


def change(settings: S, changes: Mapping[str, Any]) -> S:
    """
    Raises:
        TypeError: A name that is not a setting; says which is meant.
    """
    known = [field.name for field in fields(settings)]
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise TypeError(f"{name!r} is not a setting of {type(settings).__name__}{hint}")
    return replace(settings, **changes)
