"""Shared memory, Keras, TensorFlow and JAX on two workers: the same as one worker. Real data: scikit-learn's digits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from skate import train
from skate.train import (
    FailureConfig,
    FunctionTrainer,
    JaxTrainer,
    KerasTrainer,
    RunConfig,
    ScalingConfig,
    TensorFlowTrainer,
)


@pytest.fixture(autouse=True, scope="module")
def engine() -> Iterator[None]:
    # Once in the node, instead of in each worker. Not TensorFlow: a process that has imported it must not fork.
    with skate.init(num_cpus=4, num_gpus=2, _preload=["torch", "torch._dynamo", "jax", "sklearn.datasets", "h5py", "optree"]):
        yield


def _run(path: Path, **options: Any) -> RunConfig:
    return RunConfig(storage_path=path, verbose=0, **options)


def test_all_reduce_in_shared_memory(tmp_path: Path) -> None:
    def loop() -> Any:
        from skate.train import collective

        rank = train.get_context().get_world_rank()
        for size in (0, 1, 7, 1000, 3_000_001):
            for dtype in (np.float32, np.float64, np.int64):
                mine = (np.arange(size) % 97 + rank).astype(dtype)
                collective.all_reduce(mine)
                assert (mine == (np.arange(size) % 97) * 3 + 3).all(), (size, dtype)
        assert collective.all_reduce(np.full(5, rank + 1.0), "mean").tolist() == [2.0] * 5
        assert collective.all_reduce(np.array([rank]), "max").tolist() == [2]
        assert collective.broadcast(np.full(9, rank), 1).tolist() == [1] * 9
        with pytest.raises(ValueError, match="contiguous and writable"):
            collective.all_reduce(np.ones((4, 4))[:, ::2])
        collective.barrier()
        if rank == 0:
            with pytest.raises(
                ValueError, match=r"rank 0 is in all_reduce of float64\[4\] and rank 1 in all_reduce of float64\[5\]"
            ):
                collective.all_reduce(np.ones(4))
        else:
            collective.all_reduce(np.ones(5))

    # Ranks that disagree: at least one hears of it; the run fails, and says so.
    with pytest.raises(train.TrainingFailedError, match=r"all ranks must make the same calls|is gone"):
        FunctionTrainer(loop, scaling_config=ScalingConfig(num_workers=3), run_config=_run(tmp_path)).fit()


def test_a_peers_death_ends_an_all_reduce_at_once(tmp_path: Path) -> None:
    def loop() -> float:
        from skate.train import collective

        context = train.get_context()
        if context.get_attempt() == 0 and context.get_world_rank() == 1:
            os.kill(os.getpid(), 9)
        return float(collective.all_reduce(np.ones(10))[0])

    run = _run(tmp_path, failure_config=FailureConfig(max_failures=1))
    result = FunctionTrainer(loop, scaling_config=ScalingConfig(num_workers=2), run_config=run).fit()
    assert (result.failures, result.returned) == (1, 2.0)


def _keras_digits(config: dict[str, Any]) -> Any:
    """Trains on this worker's part of each global batch, and then, by itself, on whole ones; returns how far the weights are apart.

    Both in one process, because importing TensorFlow takes seconds.
    """
    strategy = None
    if config["kind"] == "strategy":
        import tensorflow as tf

        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import keras
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = (images / 16).astype("float32")[:512], labels[:512].astype("int32")
    context = train.get_context()
    share, rank = 64 // context.get_world_size(), context.get_world_rank()
    rows = np.arange(512).reshape(-1, 64)[:, rank * share : (rank + 1) * share].reshape(-1)

    def make() -> Any:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
        return model

    if strategy is not None:
        with strategy.scope():
            model = make()
        part = tf.data.Dataset.from_tensor_slices((x[rows], y[rows])).batch(share)
        history = model.fit(train.tensorflow.prepare_dataset_shard(part, strategy), epochs=2, verbose=0)
        train.report({"epoch": 1, "loss": history.history["loss"][-1]})
    else:
        model = train.keras.prepare_model(make())
        # Saving a model imports TensorFlow, whatever the backend: once is enough.
        report = train.keras.ReportCheckpointCallback(checkpoint_every_epochs=config["saves_every"])
        model.fit(x[rows], y[rows], batch_size=share, shuffle=False, epochs=2, verbose=0, callbacks=[report])
    if rank > 0:
        return None
    alone = make()
    alone.fit(x, y, batch_size=64, shuffle=False, epochs=2, verbose=0)
    pairs = zip(model.get_weights(), alone.get_weights(), strict=True)
    return max(float(np.abs(mine - theirs).max()) for mine, theirs in pairs)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_keras_fit_on_two_workers_equals_one_on_the_global_batch(tmp_path: Path, backend: str) -> None:
    scaling = ScalingConfig(num_workers=2)
    result = KerasTrainer(
        _keras_digits,
        backend=backend,
        train_loop_config={"kind": "own", "saves_every": int(backend == "tensorflow")},
        scaling_config=scaling,
        run_config=_run(tmp_path),
    ).fit()
    assert result.returned < 1e-5
    assert result.metrics["epoch"] == 1
    if backend == "tensorflow":
        assert result.checkpoint is not None
        assert os.path.exists(os.path.join(result.checkpoint.path, "model.keras"))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_keras_fit_works_under_multi_worker_mirrored_strategy(tmp_path: Path) -> None:
    scaling = ScalingConfig(num_workers=2)
    result = TensorFlowTrainer(
        _keras_digits, train_loop_config={"kind": "strategy"}, scaling_config=scaling, run_config=_run(tmp_path)
    ).fit()
    assert result.metrics["epoch"] == 1
    assert np.isfinite(result.metrics["loss"])
    assert result.returned < 1e-4


def test_jax_on_two_workers_has_the_losses_of_one(tmp_path: Path) -> None:
    """A jitted step over an array that lies on all workers' devices: JAX adds the gradients up across them."""

    def loop() -> Any:
        import jax
        import jax.numpy as jnp
        from jax.sharding import Mesh, NamedSharding, PartitionSpec
        from sklearn.datasets import load_digits

        context = train.get_context()
        rank, world = context.get_world_rank(), context.get_world_size()
        images, labels = load_digits(return_X_y=True)
        x, y = (images / 16).astype(np.float32), labels.astype(np.int32)
        mesh = Mesh(np.array(jax.devices()), ("rows",))
        by_rows = NamedSharding(mesh, PartitionSpec("rows"))

        @jax.jit
        def step(weights: Any, images: Any, labels: Any) -> Any:
            def loss_of(weights: Any) -> Any:
                scores = jax.nn.log_softmax(images @ weights)
                return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

            loss, gradient = jax.value_and_grad(loss_of)(weights)
            return weights - gradient, loss

        def curve(pick: Any) -> list[float]:
            weights, losses = np.zeros((64, 10), np.float32), []
            for number in range(10):
                rows = slice(number * 64, (number + 1) * 64)
                weights, loss = step(weights, pick(x[rows]), pick(y[rows]))
                losses.append(float(loss))
            return losses

        share = 64 // world
        together = curve(lambda part: jax.make_array_from_process_local_data(by_rows, part[rank * share : (rank + 1) * share]))
        for loss in together:
            train.report({"loss": loss})
        return jax.process_count(), together, curve(lambda part: part)

    result = JaxTrainer(loop, scaling_config=ScalingConfig(num_workers=2), run_config=_run(tmp_path)).fit()
    processes, together, alone = result.returned
    assert processes == 2
    assert together[-1] < 0.7 * together[0]
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    assert [row["loss"] for row in result.metrics_history] == together
