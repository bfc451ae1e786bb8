"""A parameter server: workers get the weights, send back gradients; sync (all workers in step) and async (each at its own pace)."""

import numpy as np
from sklearn.datasets import load_digits

import skate

images, labels = load_digits(return_X_y=True)
X, Y = images / 16, np.eye(10)[labels]


@skate.remote(num_cpus=0)
class ParameterServer:
    def __init__(self, lr: float) -> None:
        self.weights, self.lr = np.zeros((64, 10)), lr

    def apply(self, *gradients: np.ndarray) -> np.ndarray:
        self.weights = self.weights - self.lr * np.mean(gradients, axis=0)
        return self.weights

    def get(self) -> np.ndarray:
        return self.weights


@skate.remote(num_cpus=0.5)
class Worker:
    def __init__(self, rank: int, workers: int) -> None:
        self.x, self.y = X[rank::workers], Y[rank::workers]
        self.dice = np.random.default_rng(rank)

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        rows = self.dice.choice(len(self.x), 128)
        scores = self.x[rows] @ weights
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return self.x[rows].T @ (scores / scores.sum(1, keepdims=True) - self.y[rows]) / len(rows)


def accuracy(weights: np.ndarray) -> float:
    return float(((X @ weights).argmax(1) == labels).mean())


workers = [Worker.remote(rank, 2) for rank in range(2)]

server = ParameterServer.remote(lr=0.5)
weights = server.get.remote()
for _ in range(200):  # Refs are passed on: the driver never sees a gradient.
    weights = server.apply.remote(*[worker.gradient.remote(weights) for worker in workers])
print(f"sync: accuracy above 0.9: {accuracy(skate.get(weights)) > 0.9}")

server = ParameterServer.remote(lr=0.5)
running = {worker.gradient.remote(server.get.remote()): worker for worker in workers}
for _ in range(400):
    (ready,), _ = skate.wait(list(running))
    worker = running.pop(ready)
    running[worker.gradient.remote(server.apply.remote(ready))] = worker
print(f"async: accuracy above 0.9: {accuracy(skate.get(server.get.remote())) > 0.9}")
