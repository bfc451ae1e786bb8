"""A tuned model: learning rate and width of a net for scikit-learn's digits; bad trials end early (ASHA)."""

import tempfile

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from skate import tune


def trial(config: dict) -> None:
    x, y = load_digits(return_X_y=True)
    net = MLPClassifier((config["width"],), learning_rate_init=config["lr"], random_state=0)
    for _ in range(20):
        net.partial_fit(x[:1200] / 16, y[:1200], classes=np.arange(10))
        tune.report({"accuracy": net.score(x[1200:] / 16, y[1200:])})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as storage:
        results = tune.Tuner(
            trial,
            param_space={"lr": tune.loguniform(1e-4, 1e-1), "width": tune.choice([16, 32, 64])},
            tune_config=tune.TuneConfig(
                "accuracy", "max", num_samples=16, scheduler=tune.ASHAScheduler(max_t=20, grace_period=2), seed=0
            ),
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()
    best = results.get_best_result()
    steps = sum(result.metrics["training_iteration"] for result in results)
    print(f"best accuracy above 0.9: {best.metrics['accuracy'] > 0.9}; steps saved: {steps < 16 * 20}")
