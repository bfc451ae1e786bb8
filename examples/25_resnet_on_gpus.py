"""A small ResNet with DDP and mixed precision: on a GPU per worker where there are any, and small on CPUs."""

import tempfile

import torch
from torch import nn

from skate import train
from skate.train.torch import TorchTrainer


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.layers(x))


def loop(config: dict) -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rows = torch.utils.data.TensorDataset(torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels))
    loader = train.torch.prepare_data_loader(torch.utils.data.DataLoader(rows, batch_size=64, shuffle=True))
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        Block(16),
        nn.MaxPool2d(2),
        Block(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    model = train.torch.prepare_model(net, mixed_precision=config["precision"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(config["epochs"]):
        right = seen = 0
        for x, y in loader:
            answers = model(x).float()
            loss = nn.functional.cross_entropy(answers, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right, seen = right + int((answers.argmax(1) == y).sum()), seen + len(y)
        train.report({"accuracy": right / seen})


if __name__ == "__main__":
    gpus = torch.cuda.device_count()
    with tempfile.TemporaryDirectory() as storage:
        result = TorchTrainer(
            loop,
            train_loop_config={"epochs": 3, "precision": "bf16" if gpus else None},
            scaling_config=train.ScalingConfig(num_workers=gpus or 2, use_gpu=gpus > 0, resources_per_worker={"CPU": 0.5}),
            run_config=train.RunConfig(storage_path=storage, verbose=0),
        ).fit()
    print(f"accuracy above 0.9: {result.metrics['accuracy'] > 0.9}")
