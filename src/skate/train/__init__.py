"""Distributed training: a loop runs on N workers with gradients in step, and survives the loss of some.

    from skate import train
    from skate.train.tensorflow import TensorFlowTrainer as TensorFlowTrainer
    from skate.train.torch import TorchTrainer

    def loop(config):
        model = train.torch.prepare_model(Net())
        for epoch in range(config["epochs"]):
            …
            train.report({"loss": loss}, checkpoint=train.Checkpoint.from_directory(path))

    result = TorchTrainer(loop, train_loop_config={"epochs": 3}, scaling_config=train.ScalingConfig(num_workers=2)).fit()

Ray Train's names, where they mean the same. Frameworks are imported when they are used. Explained in docs/train/.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skate.train import (
        callbacks as callbacks,
        collective as collective,
        jax as jax,
        keras as keras,
        tensorflow as tensorflow,
        torch as torch,
    )
    from skate.train.checkpoint import Checkpoint as Checkpoint
    from skate.train.config import (
        CheckpointConfig as CheckpointConfig,
        FailureConfig as FailureConfig,
        RunConfig as RunConfig,
        ScalingConfig as ScalingConfig,
    )
    from skate.train.context import (
        TrainContext as TrainContext,
        get_checkpoint as get_checkpoint,
        get_context as get_context,
        get_dataset_shard as get_dataset_shard,
        report as report,
    )
    from skate.train.errors import (
        CheckpointError as CheckpointError,
        NonFiniteMetricError as NonFiniteMetricError,
        PeerLostError as PeerLostError,
        TrainingFailedError as TrainingFailedError,
        WorkerHungError as WorkerHungError,
    )
    from skate.train.jax import JaxTrainer as JaxTrainer
    from skate.train.keras import KerasTrainer as KerasTrainer
    from skate.train.result import Result as Result
    from skate.train.tensorflow import TensorFlowTrainer as TensorFlowTrainer
    from skate.train.torch import TorchTrainer as TorchTrainer
    from skate.train.trainer import FunctionTrainer as FunctionTrainer

_MODULE_OF = {
    "Checkpoint": "checkpoint",
    "CheckpointConfig": "config", "FailureConfig": "config", "RunConfig": "config", "ScalingConfig": "config",
    "TrainContext": "context", "get_checkpoint": "context", "get_context": "context", "get_dataset_shard": "context", "report": "context",
    "CheckpointError": "errors", "NonFiniteMetricError": "errors", "PeerLostError": "errors", "TrainingFailedError": "errors",
    "WorkerHungError": "errors",
    "Result": "result", "FunctionTrainer": "trainer", "TorchTrainer": "torch", "TensorFlowTrainer": "tensorflow",
    "TensorflowTrainer": "tensorflow", "KerasTrainer": "keras", "JaxTrainer": "jax",
}  # fmt: skip
_MODULES = frozenset({"callbacks", "collective", "jax", "keras", "tensorflow", "torch"})

__all__ = [
    "Checkpoint", "CheckpointConfig", "CheckpointError", "FailureConfig", "FunctionTrainer", "JaxTrainer", "KerasTrainer", "NonFiniteMetricError",
    "PeerLostError", "Result", "RunConfig", "ScalingConfig", "TensorFlowTrainer", "TorchTrainer", "TrainContext", "TrainingFailedError", "WorkerHungError",
    "get_checkpoint", "get_context", "get_dataset_shard", "report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"skate.train.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'skate.train' has no attribute {name!r}")
    value = getattr(import_module(f"skate.train.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
