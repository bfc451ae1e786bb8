"""Torch, Keras, TensorFlow and JAX on two workers: the curve is that of one worker, also after a kill. Real data: scikit-learn's digits."""

from __future__ import annotations

import os
import tempfile
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
    TorchTrainer,
)
from skate.train.torch import TorchConfig


@pytest.fixture(autouse=True, scope="module")
def engine() -> Iterator[None]:
    with skate.init(num_cpus=4, num_gpus=2):
        yield


def _run(path: Path, **options: Any) -> RunConfig:
    return RunConfig(storage_path=path, verbose=0, **options)


def _torch_digits(config: dict[str, Any]) -> None:
    """Global batches of 64, whatever the number of workers; saves every 5 steps."""
    import torch
    from sklearn.datasets import load_digits

    context, checkpoint = train.get_context(), train.get_checkpoint()
    rank, share = context.get_world_rank(), 64 // context.get_world_size()
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    state = torch.load(os.path.join(checkpoint.path, "state.pt")) if checkpoint else None
    if state:
        net.load_state_dict(state["net"])
    model = train.torch.prepare_model(
        net, parallel_strategy=config.get("strategy", "ddp"), mixed_precision=config.get("precision")
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if state:
        optimizer.load_state_dict(state["optimizer"])
    for step in range(state["step"] if state else 0, config.get("steps", 20)):
        if step == config.get("kill_at") and rank == 1 and context.get_attempt() == 0:
            os.kill(os.getpid(), 9)
        start = step * 64 % 1024 + rank * share
        loss = torch.nn.functional.cross_entropy(model(x[start : start + share]).float(), y[start : start + share])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.detach().clone()
        if context.get_world_size() > 1:
            torch.distributed.all_reduce(mean)
            mean /= context.get_world_size()
        with tempfile.TemporaryDirectory() as directory:
            kept = None
            if step % 5 == 4 and rank == 0 and config.get("strategy") != "fsdp":
                whole = {"step": step + 1, "net": net.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(whole, os.path.join(directory, "state.pt"))
                kept = train.Checkpoint.from_directory(directory)
            train.report({"loss": mean, "attempt": context.get_attempt(), "pid": os.getpid()}, checkpoint=kept)


def _torch(path: Path, workers: int, config: dict[str, Any], **options: Any) -> train.Result:
    scaling = ScalingConfig(num_workers=workers)
    return TorchTrainer(_torch_digits, train_loop_config=config, scaling_config=scaling, run_config=_run(path, **options)).fit()


def _losses(result: train.Result) -> list[float]:
    return [row["loss"] for row in result.metrics_history]


def test_torch_two_workers_equal_one_also_after_a_kill_and_with_fsdp(tmp_path: Path) -> None:
    one = _torch(tmp_path, 1, {})
    killed = _torch(tmp_path, 2, {"kill_at": 13}, failure_config=FailureConfig(max_failures=1))
    assert killed.failures == 1
    assert len(_losses(one)) == 20
    np.testing.assert_allclose(_losses(killed), _losses(one), rtol=1e-4)
    # Rank 0 lived on: it left its broken group, and joined the next one.
    assert len({row["pid"] for row in killed.metrics_history}) == 1
    assert {row["attempt"] for row in killed.metrics_history} == {0, 1}
    sharded = _torch(tmp_path, 2, {"strategy": "fsdp"})
    np.testing.assert_allclose(_losses(sharded), _losses(one), rtol=1e-3)


def test_torch_mixed_precision_and_a_prepared_loader(tmp_path: Path) -> None:
    def loop() -> list[int]:
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        rows = TensorDataset(torch.arange(20))
        loader = train.torch.prepare_data_loader(DataLoader(rows, batch_size=5, shuffle=True))
        model = train.torch.prepare_model(torch.nn.Linear(4, 2), mixed_precision="bf16")
        assert model(torch.ones(1, 4)).dtype == torch.bfloat16
        epochs = [[int(one) for (batch,) in loader for one in batch] for _ in range(2)]
        assert epochs[0] != epochs[1]
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, str(train.get_context().get_world_rank())).write_text(" ".join(map(str, epochs[0])))
            train.report({}, checkpoint=train.Checkpoint.from_directory(directory))
        return epochs[0]

    result = TorchTrainer(loop, scaling_config=ScalingConfig(num_workers=2), run_config=_run(tmp_path)).fit()
    assert result.checkpoint is not None
    seen = " ".join(Path(result.checkpoint.path, rank).read_text() for rank in "01").split()
    assert sorted(map(int, seen)) == list(range(20))


def test_torch_without_a_gpu_says_so(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    scaling = ScalingConfig(num_workers=1, use_gpu=True)
    with pytest.raises(train.TrainingFailedError, match="Torch sees no CUDA device in this worker"):
        TorchTrainer(_torch_digits, scaling_config=scaling, run_config=_run(tmp_path)).fit()
    with pytest.raises(ValueError, match="backend='gluu'"):
        TorchConfig(backend="gluu")


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
            with pytest.raises(ValueError, match=r"rank 0 has 32 bytes and rank 1 has 40"):
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
        report = train.keras.ReportCheckpointCallback()
        model.fit(x[rows], y[rows], batch_size=share, shuffle=False, epochs=2, verbose=0, callbacks=[report])
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
        _keras_digits, backend=backend, train_loop_config={"kind": "own"}, scaling_config=scaling, run_config=_run(tmp_path)
    ).fit()
    assert result.returned < 1e-5
    assert result.metrics["epoch"] == 1
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


def test_jax_sees_the_devices_of_all_workers(tmp_path: Path) -> None:
    def loop() -> Any:
        import jax
        from jax.experimental import multihost_utils

        rank = train.get_context().get_world_rank()
        everything = multihost_utils.process_allgather(np.array([rank + 1.0]))
        return jax.process_count(), float(everything.sum())

    result = JaxTrainer(loop, scaling_config=ScalingConfig(num_workers=2), run_config=_run(tmp_path)).fit()
    assert result.returned == (2, 3.0)
