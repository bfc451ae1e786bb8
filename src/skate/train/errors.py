"""What can go wrong in training, as exceptions.

SkateError
├─ TrainingFailedError       `fit()` gave up: says which worker failed, how, and what to try; `__cause__` is that worker's error
├─ WorkerHungError           a worker reported nothing for `FailureConfig.hang_timeout_s`
├─ NonFiniteMetricError      a reported metric is NaN or infinite, and the policy is "raise"
├─ CheckpointError           a checkpoint could not be written or read (disk full, …)
└─ PeerLostError             inside a worker: another worker of the group is gone, so a collective operation can't end
"""

from __future__ import annotations

from typing import Any

from skate.exceptions import RayError


class TrainingFailedError(RayError):
    """`fit()` gave up. Attributes: `result`, what was reached until then (its last checkpoint can be trained on)."""

    result: Any = None


class WorkerHungError(RayError):
    """A worker reported nothing for longer than `FailureConfig.hang_timeout_s`."""


class NonFiniteMetricError(RayError, ArithmeticError):
    """A metric is NaN or infinite, and `FailureConfig.nan_policy` says that this is a failure."""


class CheckpointError(RayError, OSError):
    """A checkpoint could not be written or read."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else self.summary


class PeerLostError(RayError, ConnectionError):
    """Another worker of the group is gone; this one's collective operation was given up."""


class GroupStopped(BaseException):
    """Raised inside a training loop by `report`, when the group is to start again. Not an Exception: `except Exception` in a loop must not stop it."""
