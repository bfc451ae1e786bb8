"""TensorFlow: each worker finds TF_CONFIG, so `tf.distribute.MultiWorkerMirroredStrategy()` in the loop joins them.

A process joins such a cluster once: after a failure all workers are started anew. `KerasTrainer` has no such limit, and is faster on one
machine (docs/train/): it keeps gradients in step by skate's own all-reduce.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from skate.train.framework import Framework
from skate.train.ports import HeldPort
from skate.train.trainer import FunctionTrainer

if TYPE_CHECKING:
    from skate.train.config import ScalingConfig
    from skate.train.context import Session

__all__ = ["TensorFlowTrainer", "TensorflowTrainer", "prepare_dataset_shard"]


class TensorFlowFramework(Framework):
    """TF_CONFIG, and Keras repaired for it."""

    name = "tensorflow"
    can_start_again = False

    def check(self, scaling: ScalingConfig) -> None:
        need("tensorflow", "TensorFlowTrainer")

    def prepare(self, rank: int, world_size: int, address: str) -> dict[str, Any]:
        global _port
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        _port = HeldPort(address)
        return {"port": _port.number}

    def set_up(self, session: Session) -> None:
        one = session.assignment
        if one.world_size > 1:
            addresses = [f"{peer['address']}:{peer['port']}" for peer in one.rendezvous["peers"]]
            os.environ["TF_CONFIG"] = json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": one.rank}}
            )
        if _port is not None:
            _port.release()
        if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
            from skate.train.keras_repair import repair

            repair()


_port: HeldPort | None = None  # Between prepare and set_up.


class TensorFlowTrainer(FunctionTrainer):
    """Runs a TensorFlow training loop on N workers. See `FunctionTrainer` for the arguments."""

    framework_class = TensorFlowFramework


TensorflowTrainer = TensorFlowTrainer  # Ray's spelling.


def prepare_dataset_shard(dataset: Any, strategy: Any = None) -> Any:
    """For a dataset of this worker's rows, batched by what this worker takes in a step: hand it to MultiWorkerMirroredStrategy as it is.

    Without it the strategy takes the dataset for one of all rows: it divides the batches again, and rows are left out.

    Args:
        strategy: Default: the one whose scope this is called in.

    Raises:
        ValueError: There is none.
    """
    import tensorflow as tf

    if strategy is None:
        if not tf.distribute.has_strategy():
            raise ValueError("prepare_dataset_shard: call it in strategy.scope(), or pass the strategy")
        strategy = tf.distribute.get_strategy()
    return strategy.distribute_datasets_from_function(lambda context: dataset)


def need(module: str, trainer: str) -> None:
    """Raise ImportError when a framework is not installed, before any process is started."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        extra = {"tensorflow": "skate[tensorflow]", "keras": "skate[tensorflow]", "torch": "skate[train]"}.get(module, module)
        raise ImportError(f"{trainer} needs {module}: pip install '{extra}'")
