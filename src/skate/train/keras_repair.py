"""Makes Keras 3's `fit` work under `tf.distribute.MultiWorkerMirroredStrategy`.

Two private functions of `keras.src.backend.tensorflow.trainer` fail there (keras issue 20585):
  * `_maybe_symbolic_build` reduces the first batch over the workers eagerly, which raises. It needs shapes only: the local batch has them.
  * `reduce_per_replica` reduces metrics with axis=0, which scalars do not have.

Guarded: it is applied for Keras versions that were tested, when the functions have the parameters that are expected, and never twice. Otherwise
Keras is left as it is, and a warning says so.
"""

from __future__ import annotations

import warnings
from typing import Any

TESTED = ("3.15",)


def repair() -> bool:
    """Apply it. Returns whether it is in force."""
    import inspect

    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    from keras.src.backend.tensorflow import trainer as module

    if getattr(module, "_skate_repaired", False):
        return True
    version = ".".join(keras.__version__.split(".")[:2])
    build = getattr(module.TensorFlowTrainer, "_maybe_symbolic_build", None)
    reduce = getattr(module, "reduce_per_replica", None)
    is_known = (
        build is not None
        and reduce is not None
        and list(inspect.signature(build).parameters) == ["self", "iterator", "data_batch"]
        and list(inspect.signature(reduce).parameters) == ["values", "strategy", "reduction"]
    )
    if version not in TESTED or not is_known:
        warnings.warn(
            f"Keras {keras.__version__} is not one that skate was tested with ({', '.join(TESTED)}): its fit() under MultiWorkerMirroredStrategy is left "
            "as it is, and may fail; KerasTrainer does not need that strategy",
            stacklevel=2,
        )
        return False
    module.TensorFlowTrainer._maybe_symbolic_build = _maybe_symbolic_build
    module.reduce_per_replica = _make_reduce(reduce)
    module._skate_repaired = True
    return True


def _maybe_symbolic_build(self: Any, iterator: Any = None, data_batch: Any = None) -> None:
    import tensorflow as tf
    from keras.src import tree

    strategy = self._distribute_strategy
    if strategy is None:
        return
    if iterator is not None:
        for _, _, batches in iterator:
            data_batch = tree.map_structure(
                lambda value: (
                    strategy.experimental_local_results(value)[0] if isinstance(value, tf.distribute.DistributedValues) else value
                ),
                next(batches),
            )
            break
    with strategy.scope():
        self._symbolic_build(data_batch=data_batch)


def _make_reduce(original: Any) -> Any:
    def reduce_per_replica(values: Any, strategy: Any, reduction: str) -> Any:
        import tensorflow as tf
        from keras.src import tree

        is_multi_worker = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        if not is_multi_worker or reduction not in ("auto", "mean"):
            return original(values, strategy, reduction)

        def reduce_one(value: Any) -> Any:
            is_scalar = all(len(part.shape) == 0 for part in strategy.experimental_local_results(value))
            return strategy.reduce("MEAN", value, axis=None if is_scalar else 0)

        return tree.map_structure(reduce_one, values)

    return reduce_per_replica
