"""L-BFGS over data that lies with the workers: each evaluation of the loss is one all-reduce in shared memory."""

import tempfile

import numpy as np
from scipy.optimize import fmin_l_bfgs_b
from sklearn.datasets import load_digits

from skate import train
from skate.train import FunctionTrainer, collective


def loop() -> float:
    images, labels = load_digits(return_X_y=True)
    context = train.get_context()
    mine = slice(context.get_world_rank(), None, context.get_world_size())
    x, y = images[mine] / 16, np.eye(10)[labels[mine]]

    def loss_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = x @ weights.reshape(64, 10)
        scores -= scores.max(1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        sums = np.concatenate([[-(logs * y).sum()], (x.T @ (np.exp(logs) - y)).ravel()])
        collective.all_reduce(sums)  # Every worker gets the same sums, and so takes the same step.
        return sums[0] / len(images), sums[1:] / len(images)

    weights, loss, _ = fmin_l_bfgs_b(loss_and_gradient, np.zeros(640), maxiter=50)
    train.report({"loss": loss, "accuracy": ((images @ weights.reshape(64, 10)).argmax(1) == labels).mean()})
    return float(loss)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as storage:
        result = FunctionTrainer(
            loop,
            scaling_config=train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
            run_config=train.RunConfig(storage_path=storage, verbose=0),
        ).fit()
    print(f"loss below 0.05: {result.metrics['loss'] < 0.05}, accuracy above 0.97: {result.metrics['accuracy'] > 0.97}")
