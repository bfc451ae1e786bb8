"""What a run is told: how many workers, what happens when one fails, which checkpoints are kept, where the results lie.

Names and defaults are Ray Train's where they mean the same. Each class checks its own values when it is made, so that a wrong
one is reported at the line that wrote it. Seconds end in `_s`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skate.train.options import with_suggestions

if TYPE_CHECKING:
    from skate.train.callbacks import Callback

NAN_POLICIES = ("warn", "raise", "restore", "ignore")
_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


@with_suggestions
@dataclass(frozen=True)
class ScalingConfig:
    """How many workers train, and what each may use.

    Attributes:
        num_workers: A number, or `(least, most)`: elastic. Training then starts with as many as there is room for, goes on with fewer
            when one is lost for good, and grows back at a checkpoint.
        use_gpu: Each worker gets a GPU of its own (CUDA_VISIBLE_DEVICES).
        resources_per_worker: For instance `{"CPU": 2, "GPU": 0.5, "license": 1}`; default one CPU, and one GPU with `use_gpu`.
        placement_strategy: "PACK" or "SPREAD": means something on a cluster.
        accelerator_type: A kind of GPU, on clusters that have several.
    """

    num_workers: int | tuple[int, int] = 1
    use_gpu: bool = False
    resources_per_worker: Mapping[str, float] | None = None
    placement_strategy: str = "PACK"
    accelerator_type: str | None = None

    def __post_init__(self) -> None:
        least, most = self.bounds
        if least < 1 or most < least:
            raise ValueError(
                f"ScalingConfig: num_workers={self.num_workers!r} must be a positive int, or (least, most) with 1 ≤ least ≤ most"
            )
        if not isinstance(self.use_gpu, bool):
            raise TypeError(
                f"ScalingConfig: use_gpu={self.use_gpu!r} must be True or False; a share of a GPU is resources_per_worker={{'GPU': 0.5}}"
            )
        if self.placement_strategy not in _STRATEGIES:
            raise ValueError(
                f"ScalingConfig: placement_strategy={self.placement_strategy!r} must be one of {', '.join(_STRATEGIES)}"
            )
        for name, amount in (self.resources_per_worker or {}).items():
            if isinstance(amount, bool) or not isinstance(amount, int | float) or amount < 0:
                raise ValueError(
                    f"ScalingConfig: resources_per_worker[{name!r}]={amount!r} must be a number that is not negative"
                )
            if name in ("num_cpus", "num_gpus", "cpu", "gpu"):
                wanted = "CPU" if "cpu" in name else "GPU"
                raise ValueError(f"ScalingConfig: resources_per_worker names resources: write {wanted!r} instead of {name!r}")
        gpus = (self.resources_per_worker or {}).get("GPU")
        if gpus and not self.use_gpu:
            raise ValueError(
                f"ScalingConfig: resources_per_worker asks for {gpus:g} GPU, but use_gpu is False: write use_gpu=True"
            )
        if self.use_gpu and gpus == 0:
            raise ValueError("ScalingConfig: use_gpu=True, but resources_per_worker asks for 0 GPUs")

    @property
    def bounds(self) -> tuple[int, int]:
        """Least and most workers."""
        number = self.num_workers
        pair = number if isinstance(number, tuple | list) else (number, number)
        if len(pair) != 2 or any(isinstance(one, bool) or not isinstance(one, int) for one in pair):
            raise TypeError(f"ScalingConfig: num_workers={number!r} must be an int, or a pair (least, most) of ints")
        return pair[0], pair[1]

    @property
    def worker_resources(self) -> dict[str, float]:
        """Resource → amount for one worker."""
        wanted = {"CPU": 1.0, **({"GPU": 1.0} if self.use_gpu else {})}
        return {**wanted, **{name: float(amount) for name, amount in (self.resources_per_worker or {}).items()}}


@with_suggestions
@dataclass(frozen=True)
class FailureConfig:
    """What happens when a worker dies, raises or hangs.

    Attributes:
        max_failures: How often training starts again from the last checkpoint; -1 always, 0 never.
        hang_timeout_s: A worker that reports nothing for so long counts as failed; None: never. The first report has ten times as long.
        nan_policy: When a reported metric is NaN or infinite: "warn" once and go on; "raise": a failure that is not tried again;
            "restore": a failure, so training starts again from the last checkpoint, which has finite metrics; "ignore".
        spare_workers: Workers that are kept ready (imports done) so that a killed one is replaced at once. Only with max_failures ≠ 0; they take
            memory, and no CPU.
    """

    max_failures: int = 0
    hang_timeout_s: float | None = None
    nan_policy: str = "warn"
    spare_workers: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.max_failures, bool) or not isinstance(self.max_failures, int) or self.max_failures < -1:
            raise ValueError(
                f"FailureConfig: max_failures={self.max_failures!r} must be -1 (always), 0 (never) or a positive int"
            )
        if self.hang_timeout_s is not None and not self.hang_timeout_s > 0:
            raise ValueError(
                f"FailureConfig: hang_timeout_s={self.hang_timeout_s!r} must be a positive number of seconds, or None"
            )
        if self.nan_policy not in NAN_POLICIES:
            raise ValueError(f"FailureConfig: nan_policy={self.nan_policy!r} must be one of {', '.join(map(repr, NAN_POLICIES))}")
        if self.spare_workers < 0:
            raise ValueError(f"FailureConfig: spare_workers={self.spare_workers!r} can't be negative")


@with_suggestions
@dataclass(frozen=True)
class CheckpointConfig:
    """Which checkpoints are kept.

    Attributes:
        num_to_keep: The best so many (the latest, without a score); None: all. The latest one is always kept: training resumes from it.
        checkpoint_score_attribute: The metric that says which is best.
        checkpoint_score_order: "max" or "min".
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: str = "max"

    def __post_init__(self) -> None:
        if self.num_to_keep is not None and self.num_to_keep < 1:
            raise ValueError(f"CheckpointConfig: num_to_keep={self.num_to_keep!r} must be at least 1, or None for all")
        if self.checkpoint_score_order not in ("max", "min"):
            raise ValueError(f"CheckpointConfig: checkpoint_score_order={self.checkpoint_score_order!r} must be 'max' or 'min'")


@with_suggestions
@dataclass(frozen=True)
class RunConfig:
    """Where a run's results lie, and what follows it.

    Attributes:
        name: The run's directory in `storage_path`. A run of the same name that did not end is resumed from its last checkpoint; one that ended is
            moved aside. None: a new name from the time.
        storage_path: Default `~/skate_results`. On a cluster: a directory that all machines share.
        failure_config, checkpoint_config: See there.
        callbacks: Objects that are told of each report: progress, TensorBoard, CSV, …; see `skate.train.callbacks`.
        verbose: 0 prints nothing, 1 failures and resumes.
        stop: For `skate.tune`: metric → value at which a trial ends.
    """

    name: str | None = None
    storage_path: str | Path | None = None
    failure_config: FailureConfig = field(default_factory=FailureConfig)
    checkpoint_config: CheckpointConfig = field(default_factory=CheckpointConfig)
    callbacks: Sequence[Callback] = ()
    verbose: int = 1
    stop: Any = None

    def __post_init__(self) -> None:
        if self.name is not None and (not self.name or "/" in self.name or self.name in (".", "..")):
            raise ValueError(f"RunConfig: name={self.name!r} is the name of a directory: it can't be empty or contain '/'")
        for name, kind in (("failure_config", FailureConfig), ("checkpoint_config", CheckpointConfig)):
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, kind())
            elif not isinstance(value, kind):
                raise TypeError(f"RunConfig: {name} must be a {kind.__name__}, not {type(value).__name__}")

        callbacks: Any = self.callbacks  # Whatever the user gave.
        if callbacks is None:
            object.__setattr__(self, "callbacks", ())
        elif not isinstance(callbacks, list | tuple):
            raise TypeError(f"RunConfig: callbacks must be a list, such as [ProgressBar()], not {type(self.callbacks).__name__}")
        for callback in callbacks or ():
            if isinstance(callback, type) or not hasattr(callback, "on_report"):
                hint = f"; write {callback.__name__}()" if isinstance(callback, type) else ""
                raise TypeError(
                    f"RunConfig: callbacks has {callback!r}, which is not an object of a class derived from Callback{hint}"
                )

    @property
    def storage(self) -> Path:
        return Path(self.storage_path).expanduser().absolute() if self.storage_path else Path.home() / "skate_results"
