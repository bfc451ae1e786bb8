"""Keras 3 on TensorFlow, Torch or JAX: `fit` on several workers, gradients in step by skate's shared-memory all-reduce.

`prepare_model(model)`, after `compile`, makes all workers start from the weights of rank 0, and averages gradients before the optimizer applies
them. With equal batches N workers then do the same as one worker with the batches put together. Backend-independent: what is changed is
`optimizer.apply`, which all three of Keras' trainers call.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from skate.train import context
from skate.train.checkpoint import Checkpoint
from skate.train.collective import SharedMemoryFramework, group
from skate.train.framework import Framework
from skate.train.tensorflow import need
from skate.train.trainer import FunctionTrainer, _refuse_unknown

if TYPE_CHECKING:
    from skate.train.config import ScalingConfig
    from skate.train.context import Session

__all__ = [
    "KerasTrainer",
    "ReportCheckpointCallback",  # noqa: F822
    "average_gradients",
    "prepare_model",
]

BACKENDS = ("tensorflow", "torch", "jax")


class KerasFramework(SharedMemoryFramework):
    """Shared memory, and KERAS_BACKEND."""

    name = "keras"
    is_warm_up_worthwhile = True

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def check(self, scaling: ScalingConfig) -> None:
        need("keras", "KerasTrainer")
        need(self.backend, f"KerasTrainer(backend={self.backend!r})")

    def prepare(self, rank: int, world_size: int, address: str) -> dict[str, Any]:
        self._set_environment()
        return super().prepare(rank, world_size, address)

    def warm_up(self) -> None:
        self._set_environment()
        import keras

        keras.backend.backend()

    def set_up(self, session: Session) -> None:
        super().set_up(session)
        _share_out_cores(self.backend, session.assignment.local_world_size)

    def _set_environment(self) -> None:
        os.environ["KERAS_BACKEND"] = self.backend
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _share_out_cores(backend: str, workers: int) -> None:
    cores = max(1, len(os.sched_getaffinity(0)) // workers)
    if backend == "torch" and "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(cores)
    elif backend == "tensorflow":
        import tensorflow as tf

        try:
            tf.config.threading.set_intra_op_parallelism_threads(cores)
        except RuntimeError:  # A survivor of an earlier attempt: it has been set.
            pass


class KerasTrainer(FunctionTrainer):
    """Runs a loop with Keras 3 on N workers.

    Args:
        backend: "tensorflow", "torch" or "jax".
        Others: see `FunctionTrainer`.
    """

    def _make_framework(self, options: dict[str, Any]) -> Framework:
        backend = options.pop("backend", "tensorflow")
        _refuse_unknown("KerasTrainer", options, ("backend",))
        if backend not in BACKENDS:
            raise ValueError(f"KerasTrainer: backend={backend!r} must be one of {', '.join(map(repr, BACKENDS))}")
        return KerasFramework(backend)


# ---------------------------------------------------------------- inside the loop


def prepare_model(model: Any) -> Any:
    """Keep a compiled model in step with those of the other workers.

    Raises:
        ValueError: It is not compiled, or has no weights yet.
    """
    import keras

    if getattr(model, "optimizer", None) is None:
        raise ValueError("prepare_model: compile the model first: model.compile(optimizer=…, loss=…)")
    if not model.built:
        raise ValueError("prepare_model: the model has no weights yet: give it a keras.Input, or call model.build(input_shape)")
    members = group()
    if members.world_size == 1:
        return model
    model.set_weights([members.broadcast(np.array(weight, order="C")) for weight in model.get_weights()])
    if keras.backend.backend() == "tensorflow":
        model.jit_compile = False  # XLA can't call back into Python.
    average_gradients(model.optimizer)
    return model


def average_gradients(optimizer: Any) -> Any:
    """Make an optimizer average its gradients over all workers before it applies them."""
    import keras

    average = {"tensorflow": _average_tensorflow, "torch": _average_torch, "jax": _average_jax}[keras.backend.backend()]
    apply = optimizer.apply

    def apply_average(grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        return apply(average(grads), trainable_variables)

    optimizer.apply = apply_average
    return optimizer


def _mean_of_all(flat: Any) -> Any:
    """One vector of all gradients: a single all-reduce."""
    return group().all_reduce(np.array(flat), "mean")


def _average_tensorflow(grads: Sequence[Any]) -> list[Any]:
    import tensorflow as tf

    dense = [tf.convert_to_tensor(grad) if grad is not None else None for grad in grads]
    there = [grad for grad in dense if grad is not None]
    flat = tf.concat([tf.reshape(tf.cast(grad, tf.float32), [-1]) for grad in there], 0)
    mean = tf.numpy_function(_mean_of_all, [flat], tf.float32, stateful=True)
    mean.set_shape(flat.shape)
    parts = iter(tf.split(mean, [int(np.prod(grad.shape)) for grad in there]))
    return [None if grad is None else tf.cast(tf.reshape(next(parts), grad.shape), grad.dtype) for grad in dense]


def _average_torch(grads: Sequence[Any]) -> list[Any]:
    import torch

    there = [grad for grad in grads if grad is not None]
    flat = torch.cat([grad.detach().reshape(-1).to("cpu", torch.float32) for grad in there]).contiguous()
    group().all_reduce(flat.numpy(), "mean")
    parts = iter(torch.split(flat, [grad.numel() for grad in there]))
    return [None if grad is None else next(parts).reshape(grad.shape).to(grad.device, grad.dtype) for grad in grads]


def _average_jax(grads: Sequence[Any]) -> list[Any]:
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    io_callback = import_module("jax.experimental").io_callback
    flat = jnp.concatenate([jnp.ravel(grad).astype(jnp.float32) for grad in grads])
    mean = io_callback(_mean_of_all, jax.ShapeDtypeStruct(flat.shape, flat.dtype), flat, ordered=True)
    found, start = [], 0
    for grad in grads:
        found.append(mean[start : start + grad.size].reshape(grad.shape).astype(grad.dtype))
        start += grad.size
    return found


def _make_callback_class() -> Any:
    """Keras is imported in workers only, after KERAS_BACKEND has been set: so the class is made when it is asked for."""
    import keras

    class ReportCheckpointCallback(keras.callbacks.Callback):  # type: ignore[misc]
        """Reports the logs of each epoch, averaged over the workers, with a checkpoint of the whole model ("model.keras")."""

        def __init__(self, *, checkpoint_every_epochs: int = 1, initial_epoch: int = 0) -> None:
            """
            Args:
                checkpoint_every_epochs: 0: no checkpoints.
                initial_epoch: What `fit` was called with.
            """
            super().__init__()
            self._every = checkpoint_every_epochs

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            names = sorted(logs or {})
            values = np.array([float(logs[name]) for name in names], np.float64)
            if names and context.session().framework.get("group") is not None:
                group().all_reduce(values, "mean")
            metrics = {**dict(zip(names, values.tolist(), strict=True)), "epoch": epoch}
            if not self._every or (epoch + 1) % self._every or context.get_context().get_world_rank() != 0:
                context.report(metrics)
                return
            with tempfile.TemporaryDirectory() as directory:
                self.model.save(os.path.join(directory, "model.keras"))
                with open(os.path.join(directory, "epoch"), "w", encoding="utf-8") as file:
                    file.write(str(epoch + 1))
                context.report(metrics, Checkpoint.from_directory(directory))

    return ReportCheckpointCallback


def __getattr__(name: str) -> Any:
    if name == "ReportCheckpointCallback":
        globals()[name] = _make_callback_class()
        return globals()[name]
    raise AttributeError(f"module 'skate.train.keras' has no attribute {name!r}")
