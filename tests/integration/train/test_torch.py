"""Torch on two workers: the curve is that of one worker, also after a kill. Real data: scikit-learn's digits."""

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
from skate.train import FailureConfig, RunConfig, ScalingConfig, TorchTrainer
from skate.train.torch import TorchConfig, TorchFramework


@pytest.fixture(autouse=True, scope="module")
def engine() -> Iterator[None]:
    # As a trainer does that starts the engine by itself: Torch is imported once, workers are forked with it.
    with skate.init(num_cpus=4, num_gpus=2, _preload=[*TorchFramework.preload, "torch.distributed.fsdp", "sklearn.datasets"]):
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
    if config.get("precision") == "fp16":
        optimizer = train.torch.prepare_optimizer(optimizer)
    if state:
        optimizer.load_state_dict(state["optimizer"])
    for step in range(state["step"] if state else 0, config.get("steps", 20)):
        if step == config.get("kill_at") and rank == 1 and context.get_attempt() == 0:
            os.kill(os.getpid(), 9)
        start = step * 64 % 1024 + rank * share
        loss = torch.nn.functional.cross_entropy(model(x[start : start + share]).float(), y[start : start + share])
        optimizer.zero_grad()
        if config.get("precision") == "fp16":  # Half precision's gradients would vanish: the loss is scaled.
            train.torch.backward(loss)
        else:
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
    if os.path.exists("/dev/nvidia0"):
        pytest.skip("this machine has a GPU")
    scaling = ScalingConfig(num_workers=1, use_gpu=True)
    with pytest.raises(train.TrainingFailedError, match="Torch sees no CUDA device in this worker"):
        TorchTrainer(_torch_digits, scaling_config=scaling, run_config=_run(tmp_path)).fit()
    with pytest.raises(ValueError, match="backend='gluu'"):
        TorchConfig(backend="gluu")


def test_the_store_is_open_to_this_machine_only_and_the_cores_are_shared_out(tmp_path: Path) -> None:
    def loop() -> tuple[set[str], int]:
        import psutil
        import torch

        train.report({})
        connections = psutil.Process().net_connections()
        return {one.laddr.ip for one in connections if one.status == "LISTEN"}, torch.get_num_threads()

    result = TorchTrainer(loop, scaling_config=ScalingConfig(num_workers=2), run_config=_run(tmp_path)).fit()
    listening, threads = result.returned
    assert listening == {"127.0.0.1"}
    assert threads == max(1, len(os.sched_getaffinity(0)) // 2)


def test_models_of_different_shapes_are_told(tmp_path: Path) -> None:
    def loop() -> None:
        import torch

        train.torch.prepare_model(torch.nn.Linear(4, 2 + train.get_context().get_world_rank()))

    with pytest.raises(train.TrainingFailedError, match=r"(?i)verifies|shape|size"):
        TorchTrainer(loop, scaling_config=ScalingConfig(num_workers=2), run_config=_run(tmp_path)).fit()


def test_a_killed_worker_is_replaced_within_three_seconds(tmp_path: Path) -> None:
    killed = _torch(tmp_path, 2, {"kill_at": 13}, failure_config=FailureConfig(max_failures=1))
    before, after = (
        [row["timestamp"] for row in killed.metrics_history if row["attempt"] == 0],
        [row["timestamp"] for row in killed.metrics_history if row["attempt"] == 1],
    )
    assert min(after) - max(before) < 3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_the_digits(tmp_path: Path, precision: str) -> None:
    """Autocast on the CPU, whose half precision is that of GPUs."""
    whole = _losses(_torch(tmp_path, 2, {"steps": 15}))
    half = _losses(_torch(tmp_path, 2, {"steps": 15, "precision": precision}))
    assert half != whole
    np.testing.assert_allclose(half, whole, rtol=0.1)
