"""Digits with PyTorch on two workers: gradients in step, a checkpoint per epoch, and a worker that dies on the way."""

import os
import tempfile

import torch
from sklearn.datasets import load_digits

from skate import train
from skate.train.torch import TorchTrainer


def loop(config: dict) -> None:
    context, checkpoint = train.get_context(), train.get_checkpoint()
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    start = 0
    if checkpoint:  # A worker had died: go on from the last epoch.
        state = torch.load(os.path.join(checkpoint.path, "state.pt"))
        net.load_state_dict(state["net"])
        start = state["epoch"]
    model = train.torch.prepare_model(net)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    shard = train.get_dataset_shard("train")
    shard.load_state_dict({"epoch": start, "position": 0})
    for epoch in range(start, 4):
        right = seen = 0
        for batch in shard.iter_torch_batches(global_batch_size=64):
            answers = model(batch["x"])
            loss = torch.nn.functional.cross_entropy(answers, batch["y"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += int((answers.argmax(1) == batch["y"]).sum())
            seen += len(batch["y"])
        if epoch == 2 and context.get_attempt() == 0 and context.get_world_rank() == 1:
            os.kill(os.getpid(), 9)
        with tempfile.TemporaryDirectory() as directory:
            torch.save({"epoch": epoch + 1, "net": net.state_dict()}, os.path.join(directory, "state.pt"))
            kept = train.Checkpoint.from_directory(directory) if context.get_world_rank() == 0 else None
            train.report({"accuracy": right / seen}, checkpoint=kept)


if __name__ == "__main__":
    images, labels = load_digits(return_X_y=True)
    with tempfile.TemporaryDirectory() as storage:
        result = TorchTrainer(
            loop,
            train_loop_config={"lr": 0.005},
            scaling_config=train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
            datasets={"train": {"x": (images / 16).astype("float32"), "y": labels}},
            run_config=train.RunConfig(storage_path=storage, verbose=0, failure_config=train.FailureConfig(max_failures=1)),
        ).fit()
    print(
        f"{len(result.metrics_history)} epochs, {result.failures} failure, accuracy above 0.9: {result.metrics['accuracy'] > 0.9}"
    )
